"""Perform runs: claim, perform, decide, record — and claim the next in the same commit."""

from jobs.services.running.turn import work

__all__ = ["work"]
