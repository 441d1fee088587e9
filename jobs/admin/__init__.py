"""Pages for people. Each translates: read what was sent, call one service verb, show what came of it."""

from jobs.admin import definitions, jobs, periodic_tasks, projects, runs

__all__ = ["definitions", "jobs", "periodic_tasks", "projects", "runs"]
