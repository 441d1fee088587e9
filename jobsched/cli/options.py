"""Options and arguments that several commands share, and the way to the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from jobsched.client import Client

F = TypeVar("F", bound=Callable[..., Any])


def connect() -> Client:
    """Return a client for the server that the environment or the folder names. Raises InvalidInput."""
    from jobsched.client import Client  # urllib3 takes a while to load, and --help does without

    return Client.local()


def project_option(command: F) -> F:
    return click.option("--project", default="default", show_default=True, help="Project of the job.")(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print what the server answers, as JSON.")(command)


def job_argument(command: F) -> F:
    return click.argument("job")(command)


def run_argument(command: F) -> F:
    return click.argument("run_id", metavar="RUN", type=click.IntRange(min=1))(command)
