"""Follow a run: its output as it comes, through all its attempts, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from jobsched.cli import FAILURE, INTERRUPTED, SUCCESS
from jobsched.cli.tables import moment, remark, run_duration
from jobsched.cli.terminal import OutputWriter, say
from jobsched.client import Client
from jobsched.domain.errors import Unavailable
from jobsched.domain.states import FINISHED, State

LOOK_SECONDS: Final = 0.5
"""Output under way is kept twice a second; looking more often would show nothing sooner."""
PATIENCE_SECONDS: Final = 60.0
"""How long the server may be away, for a restart say, before following is given up."""

T = TypeVar("T")


def follow_run(client: Client, run: dict[str, Any]) -> int:
    """Print a run's output until it ends, then its state. Return the exit status."""
    try:
        return _Follower(client, run).follow()
    except KeyboardInterrupt:
        number = run["id"]
        say(
            f"\nStopped following; run {number} goes on. "
            f"`jobsched logs {number} --follow` takes it up again, `jobsched cancel {number}` ends it."
        )
        return INTERRUPTED


class _Follower:
    def __init__(self, client: Client, run: dict[str, Any]) -> None:
        self._client = client
        self._run = run
        self._writer = OutputWriter()
        self._shown = ""

    def follow(self) -> int:
        attempt = 0
        while True:
            while self._run["attempt"] > attempt:
                attempt += 1
                self._follow_attempt(attempt)
                self._look()
            self._show_state()
            if self._run["state"] in FINISHED:
                return SUCCESS if self._run["state"] == State.SUCCEEDED else FAILURE
            time.sleep(LOOK_SECONDS)
            self._look()

    def _look(self) -> None:
        self._run = self._patiently(lambda: self._client.run(self._run["id"]))

    def _follow_attempt(self, attempt: int) -> None:
        offset = 0
        while True:
            at = offset
            part = self._patiently(lambda: self._client.output(self._run["id"], attempt=attempt, offset=at))  # noqa: B023
            offset = part["offset"]
            self._writer.write(part["output"])
            if part["finished"]:
                return self._writer.end()
            if not part["output"]:
                time.sleep(LOOK_SECONDS)

    def _show_state(self) -> None:
        """Print the state of the run if it has changed."""
        line = _state_line(self._run)
        if line != self._shown:
            self._shown = line
            say(line)

    def _patiently(self, ask: Callable[[], T]) -> T:
        give_up = time.monotonic() + PATIENCE_SECONDS
        complained = False
        while True:
            try:
                return ask()
            except Unavailable as error:
                if time.monotonic() > give_up:
                    raise
                if not complained:
                    complained = True
                    say(f"{error} Trying for a minute.")
                time.sleep(LOOK_SECONDS)


def _state_line(run: dict[str, Any]) -> str:
    line = f"run {run['id']} of {run['job']}: {run['state'].replace('_', ' ')}"
    if run["state"] == State.SCHEDULED:
        line += f", not before {moment(run['run_at'])} UTC"
    elif run["state"] in FINISHED and (took := run_duration(run)):
        line += f" after {took}"
        if run["attempt"] > 1:
            line += f", attempt {run['attempt']}"
    return f"{line} ({text})" if (text := remark(run)) else line
