"""Random messages, most of them malformed, as anybody who may publish to the broker can send them."""

from __future__ import annotations

import json
import random
import struct
import uuid
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import amqp
from amqp.exceptions import AMQPError
from kombu import Connection

from jobs.conf import WORK_TASK

HARMLESS_TASK: Final = "celery.accumulate"
"""A task that every Celery worker knows, and that does nothing."""
_TASKS: Final = (WORK_TASK, HARMLESS_TASK, "no.such.task")
_CONTENT_TYPES: Final = (
    "application/json",
    "application/json",
    "application/json",
    "application/data",
    "application/x-python-serialize",
    "application/x-yaml",
    "text/plain",
    "",
    "x" * 200,
    "\ud800",
)
_ENCODINGS: Final = ("utf-8", "utf-8", "utf-8", "binary", "ascii", "utf-16", "base64", "no-such-encoding", "", "\ud800")
_COMPRESSIONS: Final = (
    "application/x-gzip",
    "gzip",
    "bzip2",
    "application/x-lzma",
    "no-such-compression",
    "",
    5,
    ["x"],
)


@dataclass(frozen=True, kw_only=True)
class HostileMessage:
    """One message, and where it goes. `raw` are its properties in the format of AMQP, in place of the others."""

    exchange: str = ""
    routing_key: str | bytes
    body: bytes
    properties: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    raw: bytes | None = None


class _RawMessage(amqp.Message):  # type: ignore[misc]
    """A message whose properties are given in the format of AMQP."""

    raw = b""

    def _serialize_properties(self) -> bytes:
        return self.raw


class Fuzzer:
    """Makes messages for the queue of a worker, and for what workers and operators send each other."""

    def __init__(self, chance: random.Random, *, queue: str) -> None:
        self._chance = chance
        self._queue = queue
        self._kinds: Sequence[Callable[[], HostileMessage]] = (
            self._garbage,
            self._json,
            self._second_protocol,
            self._second_protocol,
            self._second_protocol,
            self._first_protocol,
            self._first_protocol,
            self._raw_properties,
            self._command,
            self._event,
        )

    def messages(self, count: int) -> Iterator[HostileMessage]:
        for _ in range(count):
            yield self._chance.choice(self._kinds)()

    # -- kinds of messages -----------------------------------------------------------------------------------

    def _garbage(self) -> HostileMessage:
        headers = {"task": self._chance.choice(_TASKS), "id": "1"} if self._often() else {}
        if self._often():
            headers["compression"] = self._chance.choice(_COMPRESSIONS)
        body = self._chance.choice(
            [self._chance.randbytes(50), zlib.compress(b"[[], {}, {}]"), b"[" * 60_000, b"", b"\xff"]
        )
        return HostileMessage(routing_key=self._queue, body=body, headers=headers, properties=self._properties())

    def _json(self) -> HostileMessage:
        headers = self._table() if self._often() else {}
        return HostileMessage(
            routing_key=self._queue, body=self._written(self._value()), headers=headers, properties=self._properties()
        )

    def _second_protocol(self) -> HostileMessage:
        described = self._described()
        embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        body: Any = [[self._queue] if described["task"] == WORK_TASK else [], {}, self._spoilt(embedded)]
        if self._seldom():
            body = self._value()
        elif self._seldom():
            body[self._chance.randrange(3)] = self._value()
        properties = self._properties() if self._seldom() else _JSON
        return HostileMessage(
            routing_key=self._queue, body=self._written(body), headers=self._sendable(described), properties=properties
        )

    def _first_protocol(self) -> HostileMessage:
        body = {**self._described(), "args": [self._queue], "kwargs": {}, "utc": True}
        headers = self._table() if self._seldom() else {}
        return HostileMessage(
            routing_key=self._queue, body=self._written(self._spoilt(body)), headers=headers, properties=_JSON
        )

    def _raw_properties(self) -> HostileMessage:
        """Properties that RabbitMQ passes on, and of which no client can make anything."""
        flags_of_headers, flags_of_type = 1 << 13, 1 << 15
        late = b"\x04lateT" + struct.pack(">Q", self._chance.choice([2**40, 2**62, 2**64 - 1]))
        deep = b"V"
        for _ in range(self._chance.choice([3, 5_000])):
            deep = b"F" + struct.pack(">I", len(deep) + 2) + b"\x01k" + deep
        table = self._chance.choice(
            [late, b"\x04deep" + deep, b"\x01\xffV", b"\x01aS\x00\x00\x00\x01\xff", b"\x01ax\0\0\0\1\0"]
        )
        raw = self._chance.choice(
            [
                struct.pack(">H", flags_of_type) + b"\x02\xff\xfe",
                struct.pack(">HI", flags_of_headers, len(table)) + table,
            ]
        )
        return HostileMessage(routing_key=self._queue, body=self._written([[self._queue], {}, {}]), raw=raw)

    def _command(self) -> HostileMessage:
        body = {
            "method": self._chance.choice(["ping", "stats", "jobs_look", "report", "revoke", "rate_limit", "no_such"]),
            "arguments": {},
            "destination": None,
            "pattern": None,
            "matcher": None,
        }
        headers = {"clock": self._chance.choice([1, -1, 2**62, "now", None, 1.5, [1]])}
        return HostileMessage(
            exchange="celery.pidbox",
            routing_key=self._chance.choice(["", "x", b"\xff\xfe"]),
            body=self._written(self._spoilt(body)),
            headers=headers,
            properties=self._properties() if self._seldom() else _JSON,
        )

    def _event(self) -> HostileMessage:
        kind = self._chance.choice(
            ["worker-heartbeat", "worker-online", "worker-offline", "worker-elect", "worker-elect-ack"]
        )
        body = {
            "type": kind,
            "hostname": "elsewhere",
            "clock": 1,
            "timestamp": 1.0,
            "utcoffset": 0,
            "pid": 1,
            "freq": 2,
        }
        headers = {"hostname": "elsewhere"} if self._often() else {}
        return HostileMessage(
            exchange="celeryev",
            routing_key=self._chance.choice([kind.replace("-", "."), b"worker.\xff"]),
            body=self._written(self._spoilt(body)),
            headers=headers,
            properties=self._properties() if self._seldom() else _JSON,
        )

    # -- their parts -----------------------------------------------------------------------------------------

    def _described(self) -> dict[str, Any]:
        described = {
            "lang": "py",
            "task": self._chance.choice(_TASKS),
            "id": str(uuid.UUID(int=self._chance.getrandbits(128))),
            "root_id": None,
            "parent_id": None,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "origin": "somewhere",
            "ignore_result": True,
            "stamped_headers": None,
            "stamps": {},
        }
        return self._spoilt(described)

    def _spoilt(self, described: dict[str, Any]) -> dict[str, Any]:
        """Return the mapping with some of its values replaced or missing."""
        spoilt = dict(described)
        for name in self._chance.sample(sorted(described), k=min(len(described), self._chance.choice([0, 1, 1, 2, 5]))):
            if self._seldom():
                del spoilt[name]
            else:
                spoilt[name] = self._chance.choice([self._value(), *_OF_NAME.get(name, ())])
        return {"task": HARMLESS_TASK, **spoilt} if "task" in described else spoilt

    def _value(self, depth: int = 0) -> Any:
        simple: list[Any] = [
            None,
            True,
            False,
            0,
            -1,
            2**31,
            1.5,
            "",
            "x",
            "words",
            "\ud800",
            "\0",
            "2026-01-01T00:00:00",
        ]
        if depth > 2 or self._often():
            return self._chance.choice([*simple, [], {}, [[]], float("nan"), float("inf")])
        inner = [self._value(depth + 1) for _ in range(self._chance.randrange(4))]
        return inner if self._often() else {f"k{number}": value for number, value in enumerate(inner)}

    def _table(self) -> dict[str, Any]:
        names = ["task", "id", "timelimit", "eta", "compression", "clock", "hostname", "x"]
        table = {name: self._value() for name in self._chance.sample(names, k=self._chance.randrange(4))}
        return self._sendable(table)

    def _sendable(self, value: Any) -> Any:
        """Return what py-amqp can write of it."""
        if isinstance(value, dict):
            return {key: self._sendable(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self._sendable(one) for one in value]
        return "" if isinstance(value, str) and any(0xD800 <= ord(letter) < 0xE000 for letter in value) else value

    def _properties(self) -> dict[str, Any]:
        texts = ("correlation_id", "reply_to", "message_id", "type", "app_id")
        return {
            "content_type": self._chance.choice(_CONTENT_TYPES),
            "content_encoding": self._chance.choice(_ENCODINGS),
            **(
                {self._chance.choice(texts): self._chance.choice(["", "x", "\ud800", "y" * 200])}
                if self._often()
                else {}
            ),
            **({"priority": self._chance.choice([0, 9, 255])} if self._seldom() else {}),
            **({"delivery_mode": self._chance.choice([0, 1, 2, 200])} if self._seldom() else {}),
        }

    @staticmethod
    def _written(value: Any) -> bytes:
        return json.dumps(value).encode()

    def _often(self) -> bool:
        return self._chance.random() < 0.5

    def _seldom(self) -> bool:
        return self._chance.random() < 0.15


_JSON: Final = {"content_type": "application/json", "content_encoding": "utf-8"}
_OF_NAME: Final[dict[str, tuple[Any, ...]]] = {
    "timelimit": (
        [1, 1],
        ["soon", None],
        [None, "words"],
        [-1, None],
        [[], {}],
        5,
        [1e300, 1e300],
        [float("nan"), None],
    ),
    "eta": ("2026-01-01T00:00:00+00:00", "0001-01-01T00:00:00+14:00", 5),
    "expires": ("2020-01-01T00:00:00", "0001-01-01T00:00:00-14:00", 10, -1),
    "id": ({}, [], 5, None, "x" * 70_000),
    "task": ([], {}, 5, None, "x" * 300, "celery.backend_cleanup"),
    "retries": (-1, "many", 2**40),
    "callbacks": ([{"task": HARMLESS_TASK}], [[]], {"task": 5}),
    "errbacks": ([{"task": HARMLESS_TASK}], [[]], 5),
    "stamped_headers": ([[]], ["a"], 5),
    "stamps": ([[]], {"a": []}, 5),
    "clock": (2**62, -1, "now", 1e300),
    "reply_to": ({"exchange": "reply.celery.pidbox", "routing_key": "x"}, "x", [], {"exchange": 5}),
    "destination": (["elsewhere"], "x", 5),
    "arguments": ([], 5, {"x": 1}),
}


def send(url: str, messages: Iterable[HostileMessage]) -> int:
    """Publish messages, each confirmed by RabbitMQ. Return how many it took: it closes the connection at some."""
    sent = 0
    waiting = deque(messages)
    while waiting:
        with Connection(url, transport_options={"confirm_publish": True}) as connection:
            channel: Any = connection.channel()
            try:
                while waiting:
                    publish(channel, waiting.popleft())
                    sent += 1
            except (AMQPError, OSError):
                connection.collect()
    return sent


def publish(channel: Any, message: HostileMessage) -> None:
    """Publish one message on a channel of py-amqp."""
    if message.raw is not None:
        made = _RawMessage(message.body)
        made.raw = message.raw
    else:
        made = amqp.Message(message.body, application_headers=message.headers, **message.properties)
    channel.basic_publish(made, exchange=message.exchange, routing_key=message.routing_key)
