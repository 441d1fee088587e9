"""Commands about jobs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from jobsched.cli.options import connect, files_option, job_argument, json_option, project_option
from jobsched.cli.terminal import full_name, plain, print_json, say
from jobsched.domain.errors import InvalidInput

if TYPE_CHECKING:
    from jobsched.cli.files import CheckedFile
    from jobsched.client import Client


@click.command()
@files_option
@click.option("--dry-run", is_flag=True, help="Check the files and show when their jobs would run; send nothing.")
def apply(files: tuple[str, ...], dry_run: bool) -> None:
    """Create or update the jobs of YAML files.

    Every file is checked here first; if anything is wrong in any of them, nothing is sent. The server then takes a
    file as a whole or not at all. Clock changes that move an instant of a job within two years are told on the
    standard error.
    """
    try:
        from jobsched.cli.files import read_all

        checked = read_all(files)
    except InvalidInput as error:
        raise InvalidInput(f"{error}\nNothing was applied.") from error
    except KeyboardInterrupt:
        say("\nInterrupted; nothing was applied.")
        raise
    if dry_run:
        return _show(checked)
    client = connect()
    for file in checked:
        _apply(client, file)


def _apply(client: Client, file: CheckedFile) -> None:
    from jobsched.cli.applying import ProgressLine, warnings_meanwhile
    from jobsched.client import ApplyInterrupted

    warnings = warnings_meanwhile(file)
    try:
        with ProgressLine(file.name) as progress:
            outcomes = client.apply(file.text, filename=file.name, progress=progress)
    except ApplyInterrupted as interrupted:
        say(f"{file.name}: {interrupted}")
        raise
    for outcome in outcomes:
        click.echo(f"{outcome['result']:<9}  {full_name(outcome['project'], outcome['name'])}")
    for sentence in warnings():
        say(sentence)


def _show(checked: list[CheckedFile]) -> None:
    from jobsched.cli.fires import print_schedule
    from jobsched.cli.preview import preview

    now = datetime.now(UTC)
    for file in checked:
        for job in file.jobs:
            shown = preview(job, now=now, count=3)
            print_schedule(shown, name=full_name(file.project, job.name), zone=job.timezone)
    say("Nothing was applied: this was a check.")


@click.command("jobs")
@click.option("--project", help="Only this project's jobs.")
@json_option
def list_jobs(project: str | None, as_json: bool) -> None:
    """List jobs and when they run."""
    found = connect().jobs(project=project)
    if as_json:
        return print_json(found)
    from jobsched.cli.tables import moment, table

    table(
        ["job", "kind", "schedule", "next run (UTC)", "queue", "priority", ""],
        [
            (
                full_name(job["project"], job["name"]),
                job["kind"],
                job["words"],
                moment(job["next_fire_at"]),
                job["queue"],
                job["priority"],
                "paused" if job["paused"] else "",
            )
            for job in found
        ],
    )


@click.command()
@job_argument
@project_option
def pause(job: str, project: str) -> None:
    """Hold a job's schedule. Runs can still be requested."""
    connect().pause(job, project=project)
    click.echo(plain(f"{full_name(project, job)} is paused"))


@click.command()
@job_argument
@project_option
def resume(job: str, project: str) -> None:
    """Let a job's schedule fire again."""
    connect().resume(job, project=project)
    click.echo(plain(f"{full_name(project, job)} is not paused"))


@click.command()
def schema() -> None:
    """Print the JSON Schema of the YAML format. Needs no server."""
    from jobsched.domain import manifest

    print_json(manifest.json_schema())


COMMANDS = (apply, list_jobs, pause, resume, schema)
