"""Commands about jobs."""

from __future__ import annotations

import click

from jobsched.cli.options import connect, job_argument, json_option, project_option
from jobsched.cli.terminal import plain, print_json


@click.command()
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="A YAML file of jobs; may be given several times. - is the standard input.",
)
def apply(files: tuple[str, ...]) -> None:
    """Create or update the jobs of YAML files.

    Every file is checked here first; if anything is wrong in any of them, nothing is sent. The server then takes a
    file as a whole or not at all.
    """
    from jobsched.cli.files import read_all

    checked = read_all(files)
    client = connect()
    for file in checked:
        for outcome in client.apply(file.text, filename=file.name):
            click.echo(f"{outcome['result']:<9}  {_full_name(outcome['project'], outcome['name'])}")


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
                _full_name(job["project"], job["name"]),
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
    click.echo(plain(f"{_full_name(project, job)} is paused"))


@click.command()
@job_argument
@project_option
def resume(job: str, project: str) -> None:
    """Let a job's schedule fire again."""
    connect().resume(job, project=project)
    click.echo(plain(f"{_full_name(project, job)} is not paused"))


@click.command("next")
@job_argument
@project_option
@click.option("--count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many instants.")
@json_option
def next_fires(job: str, project: str, count: int, as_json: bool) -> None:
    """Show a job's schedule in words and its next instants."""
    shown = connect().next(job, count=count, project=project)
    if as_json:
        return print_json(shown)
    from jobsched.cli.tables import moment

    click.echo(plain(shown["words"]))
    for fire in shown["fires"]:
        click.echo(f"  {moment(fire)} UTC")


@click.command()
def schema() -> None:
    """Print the JSON Schema of the YAML format. Needs no server."""
    from jobsched.domain import manifest

    print_json(manifest.json_schema())


def _full_name(project: str, job: str) -> str:
    return plain(job if project == "default" else f"{project}/{job}")


COMMANDS = (apply, list_jobs, pause, resume, next_fires, schema)
