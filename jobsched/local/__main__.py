"""`python -m jobsched.local`: the commands behind `make up`, `make demo` and `make test`."""

from __future__ import annotations

import signal

# Before the slow imports, and before anything has been started: Ctrl-C ends us without a stack trace.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from jobsched.shim import libc

# This process has the secrets of the stack in its memory, which /proc shows to other processes of its user.
libc.set_dumpable(False)

# ruff: noqa: E402 - for that reason
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from jobsched.domain.errors import JobschedError
from jobsched.local.account import choose_user
from jobsched.local.brokers import BrokerKind, choose_broker
from jobsched.local.causes import sentence
from jobsched.local.confine import end_with
from jobsched.local.demo import demonstrate
from jobsched.local.foreground import INTERRUPTED, run_stack, until_interrupted
from jobsched.local.sandbox import run_with_servers
from jobsched.local.stack import Plan, Stack
from jobsched.local.start import run_confined
from jobsched.local.state import FOLDER_NAME, DataFolder, StackInfo
from jobsched.secretfiles import resolved

_STOP_WITHIN_SECONDS = 90.0

broker_option = click.option(
    "--broker",
    type=click.Choice([BrokerKind.RABBITMQ.value, BrokerKind.POSTGRES.value]),
    help="What carries the messages; default: RabbitMQ where it is installed, else PostgreSQL.",
)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=lambda: os.environ.get("JOBSCHED_DATA_DIR", FOLDER_NAME),
    help=f"The data folder; default: JOBSCHED_DATA_DIR, else {FOLDER_NAME} here.",
)
concurrency_option = click.option(
    "--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Runs at a time."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--with-parent", type=int, metavar="PID", help="Stop when process PID, which started this one, ends.")
def main(with_parent: int | None) -> None:
    """The local stack: PostgreSQL, a broker, web, beat, a worker and Flower on this machine."""
    choose_user(os.environ)
    if with_parent is not None:
        end_with(with_parent)


@main.command()
@broker_option
@data_option
@concurrency_option
def up(broker: str | None, data: Path, concurrency: int) -> None:
    """Run the stack in the foreground until Ctrl-C; the data stays."""
    _leave_with_stack(data, broker, concurrency, until_interrupted)


@main.command()
@broker_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(FOLDER_NAME) / "demo",
    show_default=True,
    help="The data folder.",
)
@concurrency_option
def demo(broker: str | None, data: Path, concurrency: int) -> None:
    """Run the examples on a stack of their own, and check how each of them ended."""
    _leave_with_stack(data, broker, concurrency, demonstrate)


@main.command("exec", context_settings={"ignore_unknown_options": True})
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the servers' data in this folder; default: a temporary one.",
)
@click.option("--without-broker", is_flag=True, help="Start PostgreSQL only.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(data: Path | None, without_broker: bool, command: tuple[str, ...]) -> None:
    """Run COMMAND with a fresh PostgreSQL and RabbitMQ, named to it in its environment."""
    if data is not None:
        DataFolder(data).create()
    _leave(partial(run_with_servers, command, data=data, with_broker=not without_broker), data=data)


@main.command()
@data_option
def down(data: Path) -> None:
    """Stop the stack that runs in the data folder."""
    folder = DataFolder(Path(data))
    stack = folder.stack()
    if stack is None or not folder.is_claimed():
        say(f"No stack is running in {folder.root}.")
        return
    try:
        os.kill(stack.pid, signal.SIGTERM)
    except PermissionError:
        _refuse(f"The stack (process {stack.pid}) was started by another user: stop it as that user, or with sudo.")
    deadline = time.monotonic() + _STOP_WITHIN_SECONDS
    while folder.is_claimed():
        if time.monotonic() > deadline:
            _refuse(f"The stack (process {stack.pid}) has not stopped within {_STOP_WITHIN_SECONDS:g} s.")
        time.sleep(0.1)
    say("Everything has stopped.")


def say(line: str) -> None:
    """Show one line to the user, now. One who has closed the terminal or the pipe must not keep us from stopping."""
    with suppress(OSError):
        click.echo(line)


def _leave_with_stack(
    data: Path, broker: str | None, concurrency: int, use: Callable[[Stack, StackInfo], Awaitable[int]]
) -> None:
    folder = DataFolder(Path(data))
    environ = resolved(os.environ)
    choice = choose_broker(broker, environ)
    folder.create()
    pid = os.getpid()

    def work() -> int:
        # PATH changes where other users cannot enter its folders.
        inherited = {**environ, "PATH": os.environ.get("PATH", os.defpath)}
        plan = Plan(folder=folder, broker=choice, environ=inherited, concurrency=concurrency, pid=pid)
        return run_stack(plan, say, use)

    _leave(work, data=folder.root)


def _leave(work: Callable[[], int], *, data: Path | None) -> None:
    began = time.time()

    def explained() -> int:
        try:
            return work()
        except (JobschedError, OSError) as error:
            click.echo(f"Error: {sentence(error, data, since=began)}", err=True)
            return 1
        except KeyboardInterrupt:
            return INTERRUPTED

    sys.exit(run_confined(explained, data=data))


def _refuse(sentence: str) -> None:
    raise click.ClickException(sentence)


if __name__ == "__main__":
    try:
        main()
    except (JobschedError, OSError) as error:
        click.echo(f"Error: {sentence(error, None)}", err=True)
        sys.exit(1)
