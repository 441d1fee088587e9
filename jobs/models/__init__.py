"""Rows and their constraints. Run.state is written by `jobs.store` alone."""

from jobs.models.apply import Apply, StagedJob
from jobs.models.history import Attempt, OutputChunk, OutputStore, Transition
from jobs.models.job import Definition, Job, Project
from jobs.models.limits import Backfill, Gate, Queue
from jobs.models.rejected import RejectedMessages
from jobs.models.run import Run
from jobs.models.schedule import FormerSchedule, Schedule
from jobs.models.throttle import Throttle

__all__ = [
    "Apply",
    "Attempt",
    "Backfill",
    "Definition",
    "FormerSchedule",
    "Gate",
    "Job",
    "OutputChunk",
    "OutputStore",
    "Project",
    "Queue",
    "RejectedMessages",
    "Run",
    "Schedule",
    "StagedJob",
    "Throttle",
    "Transition",
]
