"""Rows and their constraints. Run.state is written by `jobs.store` alone."""

from jobs.models.history import Attempt, OutputChunk, Transition
from jobs.models.job import Definition, Job, Project
from jobs.models.run import Run
from jobs.models.schedule import Schedule

__all__ = ["Attempt", "Definition", "Job", "OutputChunk", "Project", "Run", "Schedule", "Transition"]
