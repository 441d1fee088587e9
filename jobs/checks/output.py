"""The storage of output: nobody may read in it who is not allowed to see the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error

from jobs import output_storage


def check_output_storage(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a storage that serves the output of runs to others, or that only one process can read."""
    problem = output_storage.problem()
    return [] if problem is None else [Error(problem, id="jobs.E006")]
