"""gunicorn's asgi worker with limits on connections that have not sent a request."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from config.serving.limits import Limits

LIMITS: Final = Limits()


class BoundedProtocol(ASGIProtocol):  # type: ignore[misc]  # gunicorn has no types
    """One connection. It counts as unfinished until it has sent the headers of a request, and between requests.

    gunicorn itself limits only the time between two requests of one connection (`keepalive`).
    """

    worker: BoundedWorker

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start to count the time of the first headers, and close the oldest connection when there are too many."""
        self._lost = False
        self._late: asyncio.TimerHandle | None = self.worker.loop.call_later(
            self.worker.limits.header_seconds, self.cut_off
        )
        super().connection_made(transport)
        unfinished = self.worker.unfinished
        unfinished[self] = None
        if len(unfinished) > self.worker.limits.unfinished:
            next(iter(unfinished)).cut_off()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._lost = True
        self._arrived()
        super().connection_lost(exc)

    def cut_off(self) -> None:
        """Close the connection at once."""
        self._arrived()
        if self.transport is not None:
            self.transport.abort()

    def _arrived(self) -> None:
        self.worker.unfinished.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    async def _serve_http_request(self, *request: Any) -> bool:
        self._arrived()
        try:
            return bool(await super()._serve_http_request(*request))
        finally:
            if not self._lost:
                self.worker.unfinished[self] = None
                if self.transport.get_write_buffer_size():
                    self.worker.loop.call_later(self.worker.limits.patience_seconds, self._end_if_stuck)

    def _end_if_stuck(self) -> None:
        """Close the connection of a client that has not read the end of its response: a flush would wait for ever."""
        if not self._lost and (self.transport.is_closing() or self.transport.get_write_buffer_size()):
            self.cut_off()


class BoundedWorker(gasgi.ASGIWorker):  # type: ignore[misc]
    """A web process: `worker_class` in config/gunicorn.py."""

    limits: ClassVar[Limits] = LIMITS

    def init_process(self) -> None:
        """Start to serve."""
        self.unfinished: dict[BoundedProtocol, None] = {}
        # The worker names the class of its connections nowhere else.
        gasgi.ASGIProtocol = BoundedProtocol
        super().init_process()

    async def _shutdown(self) -> None:
        """Stop in order. Who has sent no request is not waited for."""
        for server in self.servers:
            server.close()
        for connection in list(self.unfinished):
            connection.cut_off()
        await super()._shutdown()
