"""The run's end of its conversation with the slot: JSON lines over a socket."""

from __future__ import annotations

import json
import os
import socket
from typing import Any, Final

from jobsched.domain.nesting import DEEPEST, is_too_deep
from jobsched.domain.outcomes import Outcome, Verdict

RESULT_LIMIT_BYTES: Final = 1024 * 1024


class Control:
    """Messages from the slot to the run, and from the run to the slot."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unread = b""

    def receive(self) -> dict[str, Any]:
        """Wait for the next line. Raises EOFError when the slot is gone."""
        while b"\n" not in self._unread:
            chunk = os.read(self._descriptor, 65536)
            if not chunk:
                raise EOFError("the worker is gone")
            self._unread += chunk
        line, self._unread = self._unread.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def send(self, message: dict[str, Any]) -> None:
        self._write(json.dumps(message, allow_nan=False))

    def ask(self, message: dict[str, Any]) -> None:
        """Send a message and wait until the slot has taken all output written before it."""
        self.send(message)
        while not self.receive().get("go"):
            pass

    def tell(self, outcome: Outcome) -> None:
        """Send the outcome, its texts cut. A result that is no JSON, or too large, makes it a failure that says so."""
        outcome = outcome.with_texts_cut()
        try:
            line = json.dumps({"outcome": outcome.to_json()}, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            outcome = unstorable(f"its result cannot be stored as JSON: {error}")
            line = json.dumps({"outcome": outcome.to_json()})
        if problem := beyond_limits(line):
            outcome = unstorable(problem)
            line = json.dumps({"outcome": outcome.to_json()})
        self._write(line)

    def _write(self, line: str) -> None:
        left = line.encode() + b"\n"
        while left:
            left = left[os.write(self._descriptor, left) :]

    def ending(self) -> Verdict | None:
        """Look, without taking anything or waiting, whether the slot has sent why the run is being ended.

        Safe in a signal handler that interrupts `receive`: what is only looked at is still there for it.
        """
        looking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=self._descriptor)
        try:
            seen = looking.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        finally:
            looking.detach()
        for line in seen.splitlines():
            message = json.loads(line)
            if "ending" in message:
                return Verdict(message["ending"])
        return None


def beyond_limits(result: str) -> str | None:
    """Return what is wrong with a result, given as JSON text: it is too large, or nested too deep to be read again."""
    if len(result) > RESULT_LIMIT_BYTES:
        return f"its result of {len(result)} bytes exceeds the limit of {RESULT_LIMIT_BYTES} bytes"
    if is_too_deep(result):
        return f"its result is nested more than {DEEPEST} levels deep"
    return None


def unstorable(reason: str) -> Outcome:
    """The failure of work whose result cannot be kept; trying again would not help."""
    return Outcome(verdict=Verdict.FAILED, reason=reason, no_retry=True)
