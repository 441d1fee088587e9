"""Commands about runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import click

from jobsched.cli import FAILURE, SUCCESS
from jobsched.cli.options import (
    Moment,
    bulk_options,
    connect,
    job_argument,
    json_option,
    project_option,
    run_argument,
    runs_argument,
    which_options,
)
from jobsched.cli.terminal import OutputWriter, complain, full_name, plain, print_json
from jobsched.domain.attempts import attempts_in_short
from jobsched.domain.errors import JobschedError
from jobsched.domain.states import State

if TYPE_CHECKING:
    from jobsched.client import Which


@click.command()
@job_argument
@project_option
@click.option("--param", "pairs", multiple=True, metavar="NAME=TEXT", help="A parameter, as text.")
@click.option("--params", "as_object", metavar="JSON", help='Parameters of any type: {"size": 3}.')
@click.option("--priority", type=click.IntRange(0, 9), help="9 goes first.")
@click.option("--at", type=Moment(), metavar="TIME", help="Not before this moment: 2026-12-01T03:00, in UTC.")
@click.option("--follow", is_flag=True, help="Print its output until it ends; exit 0 only if it succeeded.")
@json_option
def run(
    job: str,
    project: str,
    pairs: tuple[str, ...],
    as_object: str | None,
    priority: int | None,
    at: str | None,
    follow: bool,
    as_json: bool,
) -> int:
    """Request a run of a job."""
    if follow and as_json:
        raise click.UsageError("--follow and --json do not go together.")
    params = _params(pairs, as_object)
    client = connect()
    made = client.trigger(job, params, priority, at=at, project=project)
    if follow:
        from jobsched.cli.follow import follow_run

        return follow_run(client, made)
    if as_json:
        print_json(made)
    else:
        click.echo(_standing(made))
    return SUCCESS


def _standing(made: dict[str, Any]) -> str:
    line = f"run {made['id']} of {made['job']} is {made['state']}"
    if made["state"] == State.SCHEDULED:
        line += f", not before {datetime.fromisoformat(made['run_at']):%Y-%m-%d %H:%M:%S} UTC"
    return plain(f"{line} ({made['reason']})" if made["reason"] else line)


def _params(pairs: tuple[str, ...], as_object: str | None) -> dict[str, Any] | None:
    params: dict[str, Any] = {}
    if as_object is not None:
        try:
            given = json.loads(as_object)
        except ValueError as error:
            raise click.BadParameter(f"not JSON: {error}", param_hint="--params") from None
        if not isinstance(given, dict):
            raise click.BadParameter('a JSON object is needed, like {"size": 3}.', param_hint="--params")
        params |= given
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"'{pair}' is not NAME=TEXT.", param_hint="--param")
        params[name] = text
    return params or None


@click.command("runs")
@which_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="The newest so many.")
@json_option
def list_runs(which: Which, limit: int, as_json: bool) -> None:
    """List runs, newest first."""
    found = connect().runs(**which, limit=limit)
    if as_json:
        return print_json(found)
    from jobsched.cli.tables import ending, moment, remark, run_duration, table

    table(
        ["run", "job", "state", "attempt", "created (UTC)", "took", "ended with", "reason"],
        [
            (
                run["id"],
                full_name(run["project"], run["job"]),
                run["state"],
                attempts_in_short(run["attempt"], run["max_attempts"], between="/"),
                moment(run["created_at"]),
                run_duration(run),
                ending(run),
                remark(run),
            )
            for run in found
        ],
    )


@click.command()
@run_argument
@json_option
def show(run_id: int, as_json: bool) -> None:
    """Show a run with its attempts and its history."""
    story = connect().run(run_id)
    if as_json:
        return print_json(story)
    from jobsched.cli.story import print_story

    print_story(story)


@click.command()
@run_argument
@click.option("--attempt", type=click.IntRange(min=1), help="Which attempt; the latest if left out.")
@click.option("--follow", is_flag=True, help="Go on until the run ends; exit 0 only if it succeeded.")
def logs(run_id: int, attempt: int | None, follow: bool) -> int:
    """Print what a run printed.

    On a terminal, escape sequences and other control characters are taken out. Into a pipe or a file, output goes
    as it was kept: `jobsched logs 7 | less -R` shows colours.
    """
    if follow and attempt is not None:
        raise click.UsageError("--follow goes through all attempts; leave --attempt out.")
    client = connect()
    if follow:
        from jobsched.cli.follow import follow_run

        return follow_run(client, client.run(run_id))
    writer = OutputWriter()
    offset = 0
    while True:
        part = client.output(run_id, attempt=attempt, offset=offset)
        writer.write(part["output"])
        if part["finished"] or not part["output"]:
            break
        # Should another attempt begin meanwhile, this goes on with the one it began with.
        attempt, offset = part["attempt"] or attempt, part["offset"]
    writer.end()
    return SUCCESS


@click.command()
@runs_argument
@which_options
@bulk_options
def cancel(run_ids: tuple[int, ...], which: Which, yes: bool, dry_run: bool) -> int:
    """Cancel runs: those that are named, or all that the options describe and that have not ended.

    Those that are running end a moment later.
    """
    named = _named(run_ids, which, yes=yes, dry_run=dry_run)
    client = connect()
    if not named:
        from jobsched.cli.bulk import cancel_many

        return cancel_many(client, which, yes=yes, dry_run=dry_run)
    return _each(run_ids, lambda run_id: _cancelled(client.cancel(run_id)))


def _cancelled(run: dict[str, Any]) -> str:
    asked = run["state"] == State.RUNNING
    return f"run {run['id']}: {'asked to end: ' + run['cancelling'] if asked else run['state']}"


@click.command()
@runs_argument
@which_options
@click.option(
    "--definition",
    type=click.Choice(["then", "now"]),
    default="then",
    show_default=True,
    help="Of the job: as it was when the run was made, or as it is now.",
)
@bulk_options
def retry(run_ids: tuple[int, ...], which: Which, definition: Literal["then", "now"], yes: bool, dry_run: bool) -> int:
    """Request new runs like those that are named, or like all that the options describe.

    Without --state that is about runs that failed or timed out, and in any case about such as were not retried yet.
    """
    named = _named(run_ids, which, yes=yes, dry_run=dry_run)
    client = connect()
    if not named:
        from jobsched.cli.bulk import retry_many

        return retry_many(client, which, definition=definition, yes=yes, dry_run=dry_run)
    return _each(run_ids, lambda run_id: _standing(client.retry(run_id, definition=definition)))


def _named(run_ids: tuple[int, ...], which: Which, *, yes: bool, dry_run: bool) -> bool:
    """Tell whether runs are named, not described. Raises UsageError for both, and for neither."""
    if run_ids and (which or yes or dry_run):
        raise click.UsageError("Name runs, or describe them by options, but not both.")
    if not run_ids and not which:
        raise click.UsageError("Name runs by their numbers, or describe them by options such as --job.")
    return bool(run_ids)


def _each(run_ids: tuple[int, ...], act: Callable[[int], str]) -> int:
    """Do something to one run after the other, and go on after those that refuse."""
    status = SUCCESS
    for run_id in run_ids:
        try:
            line = act(run_id)
        except JobschedError as error:
            if error.transient:
                raise
            complain(str(error))
            status = FAILURE
        else:
            click.echo(plain(line))
    return status


COMMANDS = (run, list_runs, show, logs, cancel, retry)
