"""Perform runs: claim, perform, decide, record — and claim the next in the same commit."""

from jobs.services.running.privileges import give_up as give_up_privileges
from jobs.services.running.protection import note as note_protection
from jobs.services.running.protection import present as present_protection
from jobs.services.running.session_names import name_sessions_of_worker
from jobs.services.running.turn import work

__all__ = ["give_up_privileges", "name_sessions_of_worker", "note_protection", "present_protection", "work"]
