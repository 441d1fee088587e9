"""What is wrong with the servers, asked of the web process."""

from __future__ import annotations

import click

from jobsched.cli.options import connect, json_option
from jobsched.cli.terminal import counted, plain, print_json


@click.command()
@click.option("--all", "everything", is_flag=True, help="Show also what is fine.")
@json_option
def doctor(everything: bool, as_json: bool) -> int:
    """Look at PostgreSQL, RabbitMQ, queues and beats, as the web process sees them, and say what to mend.

    The exit status is 1 if anything is wrong. If the web process itself cannot answer, use `manage.py doctor` on its
    host or in its container.
    """
    report = connect().doctor()
    findings = report["findings"]
    if as_json:
        print_json(report)
    else:
        from jobsched.cli.tables import table

        shown = [finding for finding in findings if everything or finding["level"] != "fine"]
        if shown:
            table(
                ["level", "about", "finding"],
                [(finding["level"], finding["about"], finding["sentence"]) for finding in shown],
            )
        fine = sum(finding["level"] == "fine" for finding in findings)
        click.echo(plain(f"{fine} of {counted(len(findings), 'check')} fine."))
    return 0 if report["healthy"] else 1


COMMANDS = (doctor,)
