"""Options and arguments that several commands share, and the way to the server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from jobsched.client import Client

F = TypeVar("F", bound=Callable[..., Any])


class Moment(click.ParamType[str]):
    """A moment as ISO 8601 has it, or a day, which stands for its beginning. Without a zone it is UTC.

    Becomes text that the API understands.
    """

    name = "moment"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            moment = datetime.fromisoformat(value)
            utc = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"'{value}' is not a moment; write 2026-11-01, 2026-11-01T03:00 (UTC) or 2026-11-01T03:00+01:00.",
                param,
                ctx,
            )
        return utc.isoformat().replace("+00:00", "Z")


def connect() -> Client:
    """Return a client for the server that the environment or the folder names. Raises InvalidInput."""
    from jobsched.client import Client  # urllib3 takes a while to load, and --help does without

    return Client.local()


def project_option(command: F) -> F:
    return click.option("--project", default="default", show_default=True, help="Project of the job.")(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print what the server answers, as JSON.")(command)


def files_option(command: F) -> F:
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        required=True,
        metavar="FILE",
        help="A YAML file of jobs; may be given several times. - is the standard input.",
    )(command)


def count_option(command: F) -> F:
    return click.option(
        "--count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many instants."
    )(command)


def period_options(command: F) -> F:
    """`--from` and `--to`, both needed and both included, as `start` and `end`."""
    last = click.option(
        "--to", "end", type=Moment(), required=True, metavar="TIME", help="To this moment; a day is its beginning."
    )
    first = click.option(
        "--from", "start", type=Moment(), required=True, metavar="TIME", help="From this moment; UTC without a zone."
    )
    return first(last(command))


def job_argument(command: F) -> F:
    return click.argument("job")(command)


def run_argument(command: F) -> F:
    return click.argument("run_id", metavar="RUN", type=click.IntRange(min=1))(command)
