"""The slot's end of its conversation with a run: JSON lines that never block it."""

from __future__ import annotations

import json
import socket
from typing import Any, Final

from jobsched.domain.storable import storable

_LONGEST: Final = 4 * 1024 * 1024


class Garbled(Exception):
    """The run sent what is no message; it, or somebody in its name, wrote into the conversation."""


class Listener:
    """Buffers what cannot be sent or understood yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self._unsent = b""
        self._unread = b""
        self.ended = False

    def say(self, message: dict[str, Any]) -> None:
        self._unsent += json.dumps(message).encode() + b"\n"
        self.push()

    def push(self) -> None:
        """Send what is waiting, as far as the run takes it now."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # the run has ended; its exit is reported elsewhere
            self._unsent = b""

    @property
    def wants_to_send(self) -> bool:
        return bool(self._unsent)

    def messages(self) -> list[dict[str, Any]] | None:
        """Return the messages that have come, or None when there is nothing to read. Raises `Garbled`."""
        try:
            chunk = self.sock.recv(65536)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            self.ended = True
            return None
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        if len(self._unread) > _LONGEST:
            raise Garbled
        try:
            return [_checked(json.loads(storable(line.decode()))) for line in lines]
        except (ValueError, RecursionError) as error:
            raise Garbled from error


def _checked(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise Garbled
    return message
