"""Run one command beside a PostgreSQL and a RabbitMQ of its own: what tests and benchmarks stand on."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from jobsched.local.confine import listen
from jobsched.local.rabbitmq import rabbitmq_program
from jobsched.local.reach import public_temporary_folder
from jobsched.local.servers import Server, postgres, rabbitmq
from jobsched.secretfiles import resolved

_NOT_FOUND = 127
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_with_servers(command: Sequence[str], *, data: Path | None, with_broker: bool) -> int:
    """Run `command` and return its exit status, 128 + n when signal n ended it.

    Where RabbitMQ is not installed the command runs without JOBSCHED_BROKER_URL, and it is said.
    """
    for number in _ENDING:
        signal.signal(number, _leave_once)
    listen()
    with ExitStack() as stack:
        folder = data or Path(stack.enter_context(_temporary_folder()))
        urls = stack.enter_context(_servers(folder, with_broker=with_broker))
        environ = resolved(os.environ)
        env = {
            **environ,
            **urls,
            "JOBSCHED_SECRET_KEY": environ.get("JOBSCHED_SECRET_KEY", secrets.token_urlsafe(48)),
            "JOBSCHED_DATA_DIR": str(folder.absolute()),
        }
        return _run(command, env)


def _leave_once(number: int, _frame: FrameType | None) -> NoReturn:
    for again in _ENDING:
        signal.signal(again, signal.SIG_IGN)
    sys.exit(128 + number)


@contextmanager
def _temporary_folder() -> Iterator[str]:
    # A command that is stopped may leave files that are still being written: that is not worth a stack trace.
    where = public_temporary_folder()
    with tempfile.TemporaryDirectory(prefix="jobsched-", dir=where, ignore_cleanup_errors=True) as folder:
        yield folder


@contextmanager
def _servers(folder: Path, *, with_broker: bool) -> Iterator[dict[str, str]]:
    """Start both at once: RabbitMQ takes a while. Their threads live as long as they do."""
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:

        def start(server: AbstractContextManager[Server]) -> Future[Server]:
            return pool.submit(stack.enter_context, server)

        urls = {"JOBSCHED_DATABASE_URL": start(postgres(folder))}
        if with_broker and rabbitmq_program():
            urls["JOBSCHED_BROKER_URL"] = start(rabbitmq(folder))
        elif with_broker:
            click.echo("RabbitMQ is not installed: `apt-get install rabbitmq-server` enables what needs it.")
        try:
            yield {name: server.result().url for name, server in urls.items()}
        finally:
            # While its thread lives, a server can still be stopped in order.
            wait(urls.values())
            stack.close()


def _run(command: Sequence[str], env: dict[str, str]) -> int:
    try:
        process = subprocess.Popen(command, env=env)
    except OSError as error:
        click.echo(f"Error: {command[0]} cannot be run: {error.strerror}.", err=True)
        return _NOT_FOUND

    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    # A terminal sends Ctrl-C to the command itself too; twice would make pytest skip its own tidying up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    code = process.wait()
    return code if code >= 0 else 128 - code
