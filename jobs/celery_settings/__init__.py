"""What Celery's settings may do to the promises: each is without effect, overridden for our task, or refused.

A project sets Celery up for tasks of its own. `table` has a decision for every setting there is.
"""

from __future__ import annotations

from jobs.celery_settings.problems import OF_BEATS, Problem, broker_problem, problems
from jobs.celery_settings.queues import queue_of
from jobs.celery_settings.table import DECISIONS, Handling

__all__ = ["DECISIONS", "OF_BEATS", "Handling", "Problem", "broker_problem", "problems", "queue_of"]
