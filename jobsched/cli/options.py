"""Options and arguments that several commands share, and the way to the server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import reduce, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from jobsched.domain.states import State

if TYPE_CHECKING:
    from jobsched.client import Client, Which

DEAD_ENDS: Final = "failed,timed_out"

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


class States(click.ParamType[str]):
    """One state, or several with commas."""

    name = "states"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        known = [state.value for state in State]
        for part in value.split(","):
            if part not in known:
                self.fail(f"'{part}' is not a state; write one of {', '.join(known)}, or several with commas.")
        return value


_WHICH: Final = (
    click.option("--job", help="Of this job."),
    click.option("--project", help="Of this project."),
    click.option("--state", type=States(), metavar="STATES", help="In this state, or one of several: queued,running."),
    click.option("--failed", is_flag=True, help="Failed or timed out, and not retried yet."),
    click.option("--queue", help="Of this queue."),
    click.option("--reason", metavar="TEXT", help="With this text in their reason."),
    click.option("--exit-code", type=int, metavar="N", help="Whose last attempt ended with this code."),
    click.option("--signal", metavar="SIGNAL", help="Whose last attempt was ended by this signal, such as KILL or 9."),
    click.option("--error", metavar="CLASS", help="Whose last attempt ended with this exception."),
    click.option("--worker", help="Last performed by this worker."),
    click.option(
        "--trigger", type=click.Choice(["schedule", "request", "retry", "backfill"]), help="That came about so."
    ),
    click.option("--retried", type=click.Choice(["yes", "no"]), help="That were retried, or were not."),
    click.option("--since", metavar="DURATION", help="In this time up to now, such as 2h."),
    click.option("--from", "start", type=Moment(), metavar="TIME", help="From this moment; UTC without a zone."),
    click.option("--to", "end", type=Moment(), metavar="TIME", help="Up to this moment."),
    click.option(
        "--by",
        type=click.Choice(["created", "finished"]),
        help="What times are about. Left out: with --failed and in retry when they ended, else when they were made.",
    ),
)


def which_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say which runs are meant, given to the command as `which`: what the client takes."""

    @wraps(command)
    def gather(**given: Any) -> Any:
        said = {name: given.pop(name) for name in _NAMES}
        return command(which=_which(said), **given)

    return reduce(lambda wrapped, option: option(wrapped), reversed(_WHICH), gather)


_NAMES: Final = (
    *("job", "project", "state", "failed", "queue", "reason", "exit_code", "signal", "error", "worker"),
    *("trigger", "retried", "since", "start", "end", "by"),
)


def _which(said: dict[str, Any]) -> Which:
    if said["since"] and said["start"]:
        raise click.UsageError("--since and --from both say where to begin; leave one out.")
    if said.pop("failed"):
        if said["state"] or said["retried"]:
            raise click.UsageError("--failed says the states, and that they were not retried; leave the others out.")
        said |= {"state": DEAD_ENDS, "retried": "no", "by": said["by"] or "finished"}
    said["retried"] = {"yes": True, "no": False, None: None}[said["retried"]]
    which: Which = {name: value for name, value in said.items() if value is not None}  # type: ignore[assignment]
    return which


def connect() -> Client:
    """Return a client for the server that --data, the environment or the folder names. Raises InvalidInput."""
    from jobsched.client import Client  # urllib3 takes a while to load, and --help does without

    return Client.local(click.get_current_context().find_root().params.get("data"))


def data_option(command: F) -> F:
    """`--data` of the whole command line, which `connect` reads."""
    folder = click.Path(path_type=Path, file_okay=False)
    return click.option(
        "--data", type=folder, metavar="FOLDER", help="The data folder of a local stack, as `make up` was given it."
    )(command)


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


def runs_argument(command: F) -> F:
    return click.argument("run_ids", metavar="[RUN]...", type=click.IntRange(min=1), nargs=-1)(command)


def bulk_options(command: F) -> F:
    """`--yes` and `--dry-run`, for what is done to all runs that options describe."""
    dry = click.option("--dry-run", is_flag=True, help="Only say how many that would be.")
    return click.option("--yes", is_flag=True, help="Do not ask.")(dry(command))
