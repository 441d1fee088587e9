"""A connection to RabbitMQ that survives messages which py-amqp cannot decode.

RabbitMQ passes on properties and names as bytes. py-amqp raises at text that is no UTF-8, at dates beyond the year 9999
and at tables nested too deep, from within its reading of the connection: the worker would end, and the next one too,
as the message is delivered again. Here such properties are left out, and the message reaches the consumer as one that
names no task.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, cast

from amqp import spec
from amqp.basic_message import Message
from amqp.method_framing import frame_handler
from amqp.serialization import dumps
from kombu.transport import pyamqp

_HEADER_FRAME: Final = 2
_HEADER_START: Final = 12
"""Bytes of class, weight and body size. Two bytes of flags follow: which properties there are."""
_METHOD_START: Final = 4
"""Bytes that name the method, before its arguments."""

Frame = tuple[int, int, Any]


def keep_reading(connection: Any) -> None:
    """Make a Kombu connection that is not connected yet one that survives such messages, if it is one to RabbitMQ."""
    chosen: Callable[[], type[Any]] = connection.get_transport_cls
    connection.get_transport_cls = lambda: _tolerant(chosen())  # also after it has switched to another address


def _tolerant(transport: type[Any]) -> type[Any]:
    if not issubclass(transport, pyamqp.Transport):
        return transport
    return type(transport.__name__, (transport,), {"Connection": _Connection})


def _tolerant_frame_handler(connection: Any, callback: Callable[..., Any]) -> Callable[[Frame], Any]:
    handle: Callable[[Frame], Any] = frame_handler(connection, callback)

    def on_frame(frame: Frame) -> Any:
        kind, channel, buffer = frame
        if kind == _HEADER_FRAME and not _readable(buffer):
            frame = (kind, channel, bytes(buffer[:_HEADER_START]) + b"\0\0")
        return handle(frame)

    return on_frame


def _readable(header: Any) -> bool:
    try:
        cast(Any, Message()).inbound_header(header)
    except Exception:  # of several kinds, RecursionError among them
        return False
    return True


class _Channel(pyamqp.Channel):
    def dispatch_method(self, method_sig: tuple[int, int], payload: Any, content: Any) -> Any:
        if method_sig == spec.Basic.Deliver:
            payload = _with_names_in_text(payload)
        return super().dispatch_method(method_sig, payload, content)


class _Connection(pyamqp.Connection):
    Channel = _Channel

    def __init__(self, **options: Any) -> None:
        super().__init__(frame_handler=_tolerant_frame_handler, **options)


def _with_names_in_text(payload: Any) -> Any:
    """Return the arguments of a delivery with names that are UTF-8: a publisher chooses the routing key."""
    data = bytes(payload)
    try:
        data[_METHOD_START:].decode("ascii")
        return payload
    except UnicodeDecodeError:
        pass
    tag, at = _short_text(data, _METHOD_START)
    delivery, redelivered = struct.unpack_from(">QB", data, at)
    exchange, at = _short_text(data, at + 9)
    key, _ = _short_text(data, at)
    return data[:_METHOD_START] + dumps("sLbss", (tag, delivery, bool(redelivered), exchange, key))


def _short_text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    # Each byte that is no UTF-8 is shown as an escape of four characters, and a name has 255 bytes at most.
    return data[at + 1 : end].decode("utf-8", "backslashreplace")[:60], end
