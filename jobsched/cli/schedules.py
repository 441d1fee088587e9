"""Commands about time: what is to come, what became of what was due, and runs for the past."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from jobsched.cli import FAILURE, SUCCESS
from jobsched.cli.options import (
    connect,
    count_option,
    files_option,
    job_argument,
    json_option,
    period_options,
    project_option,
)
from jobsched.cli.terminal import complain, counted, full_name, print_json


@click.command()
@files_option
@count_option
@json_option
def preview(files: tuple[str, ...], count: int, as_json: bool) -> None:
    """Show when the jobs of YAML files would run. Needs no server.

    Instants are shown in UTC and in the job's own time zone, with a warning of each clock change that moves one
    within the next two years.
    """
    from jobsched.cli.files import read_all
    from jobsched.cli.preview import preview as preview_of

    now = datetime.now(UTC)
    shown = [
        {"project": file.project, "name": job.name, "timezone": job.timezone, **preview_of(job, now=now, count=count)}
        for file in read_all(files)
        for job in file.jobs
    ]
    if as_json:
        return print_json(shown)
    from jobsched.cli.fires import print_schedule

    for job in shown:
        print_schedule(job, name=full_name(job["project"], job["name"]), zone=job["timezone"])


@click.command("next")
@job_argument
@project_option
@count_option
@json_option
def next_fires(job: str, project: str, count: int, as_json: bool) -> None:
    """Show a job's schedule in words and its next instants."""
    shown = connect().next(job, count=count, project=project)
    if as_json:
        return print_json(shown)
    from jobsched.cli.fires import print_schedule

    print_schedule(shown)


@click.command()
@job_argument
@period_options
@click.option("--gaps", is_flag=True, help="Only instants that led to no run.")
@project_option
@json_option
def fires(job: str, start: str, end: str, gaps: bool, project: str, as_json: bool) -> int:
    """Show what became of each instant of a schedule: expected against actual.

    The exit status is 1 if anything is unexplained: if an instant has neither a run nor a reason.
    """
    if gaps and as_json:
        raise click.UsageError("--gaps and --json do not go together.")
    account = connect().fires(job, start, end, project=project)
    if as_json:
        print_json(account)
    else:
        _print_account(account, gaps=gaps)
    if unexplained := account["counts"]["unexplained"]:
        complain(f"{unexplained} unexplained: the record does not tell what became of them.")
        return FAILURE
    return SUCCESS


def _print_account(account: dict[str, Any], *, gaps: bool) -> None:
    from jobsched.cli.tables import moment, table

    rows = [instant for instant in account["instants"] if not (gaps and instant["became"] == "run")]
    if rows:
        table(
            ["expected (UTC)", "became", "run", "state", "reason"],
            [line for row in rows for line in _records(row)],
        )
    counts = ", ".join(f"{count} {became}" for became, count in account["counts"].items())
    click.echo(f"{counted(len(account['instants']), 'instant')}: {counts}")
    if account["unexpected"]:
        runs = ", ".join(str(run) for run in account["unexpected"])
        click.echo(f"runs for moments that the schedule did not name then: {runs}")
    for deletion in account["deletions"]:
        outside = ", outside of jobsched" if deletion["outside"] else ""
        click.echo(f"the schedule was deleted at {moment(deletion['at'])} UTC by {deletion['by']}{outside}")


def _records(instant: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return a line for each record of an instant: mostly one."""
    from jobsched.cli.tables import moment

    at = moment(instant["at"])
    first = (at, instant["became"], instant["run"], instant["state"], instant["reason"])
    return [first, *((at, "also", run["run"], run["state"], run["reason"]) for run in instant.get("also", ()))]


@click.command()
@job_argument
@period_options
@click.option("--max-running", type=click.IntRange(1, 10_000), help="At most so many of these runs at once.")
@click.option("--dry-run", is_flag=True, help="Only count what would be made.")
@project_option
@json_option
def backfill(
    job: str, start: str, end: str, max_running: int | None, dry_run: bool, project: str, as_json: bool
) -> None:
    """Make a run for each past instant of a job's schedule that has none.

    The schedule counts as it reads now. Instants that were skipped are run; none is run twice.
    """
    filled = connect().backfill(job, start, end, max_running=max_running, dry_run=dry_run, project=project)
    if as_json:
        return print_json(filled)
    verb = "would be made" if dry_run else "made"
    click.echo(
        f"{counted(filled['made'], 'run')} {verb} for {counted(filled['instants'], 'instant')}; "
        f"{filled['already']} had theirs already, {filled['excluded']} more excluded by the schedule"
    )


@click.command()
@click.option("--hours", type=click.IntRange(1, 366 * 24), default=24, show_default=True, help="How far ahead.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="The next so many.")
@click.option("--each", type=click.IntRange(1, 1000), default=5, show_default=True, help="Of one job at most so many.")
@click.option("--project", help="Only this project's jobs.")
@json_option
def upcoming(hours: int, limit: int, each: int, project: str | None, as_json: bool) -> None:
    """List the next fires of all jobs."""
    found = connect().upcoming(hours=hours, limit=limit, of_each=each, project=project)
    if as_json:
        return print_json(found)
    from jobsched.cli.tables import moment, table

    table(
        ["at (UTC)", "job", "schedule"],
        [(moment(fire["at"]), full_name(fire["project"], fire["job"]), fire["words"]) for fire in found],
    )


COMMANDS = (preview, next_fires, fires, backfill, upcoming)
