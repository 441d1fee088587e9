"""Receive the body of a request, within limits of time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from config.serving.limits import Limits

Receive = Callable[[], Awaitable[dict[str, Any]]]


class Refused(Exception):
    """The body is not accepted; the client is answered with `status` and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class ClientLeft(Exception):
    """The connection ended before the request was complete, so no response can be sent."""


class Bodies:
    """Counts the bytes that are held for all requests of this process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Give one request its share of the memory, until the block ends."""
        share = Share(self)
        try:
            yield share
        finally:
            self._held -= share.size

    def take(self, size: int) -> None:
        """Count `size` more bytes. Raises Refused when there would be too many."""
        if self._held + size > self._limits.bodies:
            raise Refused(503, "The server is receiving as much as it can at the moment; try again in a moment.")
        self._held += size


class Share:
    """The memory of one request."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0

    def take(self, size: int) -> None:
        """Count `size` more bytes for this request. Raises Refused."""
        self._bodies.take(size)
        self.size += size


async def receive_body(receive: Receive, share: Share, limits: Limits) -> bytes:
    """Return the whole body. Raises Refused for one that is too long or too slow, ClientLeft for one that ends."""
    loop = asyncio.get_running_loop()
    started, chunks, more = loop.time(), [], True
    while more:
        try:
            async with asyncio.timeout_at(started + limits.seconds_for(share.size)):
                message = await receive()
        except TimeoutError:
            raise Refused(408, "The request took too long to arrive.") from None
        if message["type"] != "http.request":
            raise ClientLeft
        chunk, more = message.get("body", b""), message.get("more_body", False)
        if share.size + len(chunk) > limits.longest_body:
            raise Refused(413, f"The request is longer than {limits.longest_body // 2**20} MiB; send less at once.")
        share.take(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)
