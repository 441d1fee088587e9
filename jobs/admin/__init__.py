"""Pages for people. Each translates: read what was sent, call one service verb, show what came of it."""

from __future__ import annotations

from jobs.admin import crontabs, jobs, periodic_tasks, projects, queues, runs, tokens

__all__ = ["crontabs", "jobs", "periodic_tasks", "projects", "queues", "runs", "tokens"]
