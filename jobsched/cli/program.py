"""The group of commands."""

from __future__ import annotations

from pathlib import Path

import click

from jobsched.cli import doctor, jobs, queues, runs, schedules
from jobsched.cli.options import data_option


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="jobsched", message="%(prog)s %(version)s")
@data_option
def program(data: Path | None) -> None:
    """Work with jobs and their runs.

    The server is the local stack in the folder of --data; else the one of JOBSCHED_URL, with the token of
    JOBSCHED_TOKEN or JOBSCHED_TOKEN_FILE; else the local stack that was started in this folder or in one above it
    (`make up`).
    """


for command in (*jobs.COMMANDS, *schedules.COMMANDS, *runs.COMMANDS, *queues.COMMANDS, *doctor.COMMANDS):
    program.add_command(command)
