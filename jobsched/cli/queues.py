"""Commands about queues."""

from __future__ import annotations

import click

from jobsched.cli.options import connect, json_option
from jobsched.cli.terminal import counted, plain, print_json


@click.command("queues")
@json_option
def list_queues(as_json: bool) -> None:
    """List queues: their rates, the runs that wait, and how many of those are held by a rate or a limit."""
    found = connect().queues()
    if as_json:
        return print_json(found)
    from jobsched.cli.tables import table

    table(
        ["queue", "rate", "waiting", "held"],
        [(queue["name"], queue["rate"], queue["waiting"], queue["held"]) for queue in found],
    )


@click.command()
@click.argument("queue")
@click.argument("rate", metavar="RATE|none")
def rate(queue: str, rate: str) -> None:
    """Let at most so many runs of a queue start in a time, over all workers: 10/s, 100/m, 5/h, 1/d, or none."""
    shown = connect().set_rate(queue, None if rate == "none" else rate)
    limit = f"at most {shown['rate']}" if shown["rate"] else "no rate"
    click.echo(plain(f"{shown['name']}: {limit}; {counted(shown['waiting'], 'waiting run')}, {shown['held']} held"))


COMMANDS = (list_queues, rate)
