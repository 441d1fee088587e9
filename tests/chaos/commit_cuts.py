"""A proxy before PostgreSQL that cuts a connection between a commit and its answer.

It reads as much of the wire protocol as that takes: which statements a client has executed, and whether the server's
answer to them was an error.
"""

from __future__ import annotations

import random
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.chaos.proxies import Proxy, Wire

_ENCRYPTION_REQUESTS = {80877103, 80877104}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Statements to be cut off from their answer: those that hold `text` and none of `without`."""

    text: str
    without: str = "\0"

    def matches(self, statement: str) -> bool:
        return self.text in statement and self.without not in statement


@dataclass
class Cuts:
    """Which commits are cut, how often, and how often they already were. Shared by all connections.

    One in `one_in` commits of a target is cut, until it was cut `times` times after it had been committed. Besides,
    some are cut before they reach the server, so that a client cannot take the one for the other.
    """

    targets: Mapping[str, Target]
    times: int
    rng: random.Random
    one_in: int = 3
    lost_before_in: int = 5
    committed: Counter[str] = field(default_factory=Counter)
    """Cut after the server had committed, before the client knew."""
    lost: Counter[str] = field(default_factory=Counter)
    """Cut before the server had seen the whole of it."""
    on: bool = True
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def done(self) -> bool:
        """Tell whether every target was cut as often as asked for."""
        return all(self.committed[name] >= self.times for name in self.targets)

    def wants(self, statements: list[str]) -> tuple[str, bool] | None:
        """Return which target these executed statements fall under, and whether they are to reach the server."""
        for name, target in self.targets.items():
            if any(target.matches(statement) for statement in statements):
                with self._lock:
                    if not self.on or self.committed[name] >= self.times or self.rng.randrange(self.one_in):
                        return None
                    arrives = self.rng.randrange(self.lost_before_in) > 0
                    if not arrives:
                        self.lost[name] += 1
                return name, arrives
        return None

    def was_committed(self, name: str) -> None:
        with self._lock:
            self.committed[name] += 1


class CommitCutter(Proxy):
    """Passes everything on, except that it cuts what `cuts` says."""

    def __init__(self, url: str, cuts: Cuts) -> None:
        self._cuts = cuts
        super().__init__(url)

    def _wire(self) -> Wire:
        return _CommitWire(self._cuts)


class _CommitWire:
    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self._client = _Messages(greets=True)
        self._server = _Messages(greets=False)
        self._named: dict[bytes, str] = {}
        self._bound: dict[bytes, str] = {}
        self._executed: list[str] = []
        self._transaction: list[str] | None = None
        self._doomed: str | None = None
        self._held = b""
        self._failed = False

    def from_client(self, data: bytes) -> bytes | None:
        for kind, body in self._client.feed(data):
            self._heed(kind, body)
            if kind in b"SQ" and self._executed:
                executed, self._executed = self._executed, []
                wanted = self._commits(executed)
                if wanted is None:
                    continue
                name, arrives = wanted
                if not arrives:
                    return None
                self._doomed, self._failed, self._held = name, False, b""
        return data

    def from_server(self, data: bytes) -> bytes | None:
        doomed, ready = self._doomed, False
        for kind, _ in self._server.feed(data):
            self._failed |= kind == ord("E")
            ready |= kind == ord("Z")
        if doomed is None:
            return data
        self._held += data
        if not ready:
            return b""
        self._doomed = None
        if self._failed:  # nothing was committed: the client may know
            return self._held
        self._cuts.was_committed(doomed)
        return None

    def _heed(self, kind: int, body: bytes) -> None:
        match chr(kind):
            case "P":
                name, query, _ = body.split(b"\0", 2)
                self._named[name] = query.decode(errors="replace")
            case "B":
                portal, name, _ = body.split(b"\0", 2)
                self._bound[portal] = self._named.get(name, "")
            case "E":
                self._executed.append(self._bound.get(body.split(b"\0", 1)[0], ""))
            case "Q":
                self._executed.append(body.rstrip(b"\0").decode(errors="replace"))
            case _:
                pass

    def _commits(self, executed: list[str]) -> tuple[str, bool] | None:
        """Decide about statements that commit: by themselves, or by ending the transaction they were in."""
        first = executed[0].strip().upper()
        if first.startswith("BEGIN"):
            self._transaction = []
        elif first.startswith("ROLLBACK") and " TO " not in first:
            self._transaction = None
        elif first.startswith("COMMIT"):
            executed, self._transaction = self._transaction or [], None
            return self._cuts.wants(executed)
        elif self._transaction is not None:
            self._transaction += executed
        else:
            return self._cuts.wants(executed)
        return None


class _Messages:
    """Takes a stream apart. A client's begins with messages that have no kind; the server's with its single-byte
    answers to some of them, which no message of its own can be taken for."""

    def __init__(self, *, greets: bool) -> None:
        self._buffer = b""
        self._greets = greets
        self._begins = not greets

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._buffer += data
        if self._begins and self._buffer[:1] in (b"N", b"S") and len(self._buffer) == 1:
            self._buffer = b""  # the answer to a request for encryption comes alone: the client waits for it
            return
        while self._greets and len(self._buffer) >= 8:
            length, code = struct.unpack_from("!II", self._buffer)
            if len(self._buffer) < length:
                return
            self._buffer = self._buffer[length:]
            self._greets = code in _ENCRYPTION_REQUESTS
        if self._greets:
            return
        while len(self._buffer) >= 5:
            (length,) = struct.unpack_from("!I", self._buffer, 1)
            if len(self._buffer) < length + 1:
                return
            kind, body = self._buffer[0], self._buffer[5 : length + 1]
            self._buffer = self._buffer[length + 1 :]
            self._begins = False
            yield kind, body
