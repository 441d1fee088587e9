"""The `jobsched` command: the REST API from a terminal.

Imports are few and late: `jobsched --help` should not wait for what only some commands need.
"""

from __future__ import annotations

import io
import os
import sys

from jobsched.shim import libc

SUCCESS = 0
FAILURE = 1
"""The command, or the run that was followed, did not succeed; or whoever read the output has gone."""
UNAVAILABLE = 3
"""The server could not be reached. 2 is click's own, for a command line that makes no sense."""
INTERRUPTED = 130
"""Ended by Ctrl-C, as shells count."""


def main() -> None:
    """Run the command and exit with its status. Never shows a trace for a user's mistake, Ctrl-C or a closed pipe."""
    libc.set_dumpable(False)  # it may have a token, which /proc shows to other processes of its user
    try:
        status = _run()
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more at its end; that must not fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FAILURE
    sys.exit(status)


def _run() -> int:
    import click

    from jobsched.cli.program import program
    from jobsched.cli.terminal import complain
    from jobsched.domain.errors import JobschedError, Unavailable

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal cannot show must not end the command
    try:
        return program.main(prog_name="jobsched", standalone_mode=False) or SUCCESS
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except JobschedError as error:
        complain(str(error))
        return UNAVAILABLE if isinstance(error, Unavailable) else FAILURE
