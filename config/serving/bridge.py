"""Serve a WSGI application over ASGI, so that slow clients hold no thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from config.serving.bodies import Bodies, ClientLeft, Receive, Refused, receive_body
from config.serving.environ import wsgi_environ
from config.serving.limits import Limits

Send = Callable[[dict[str, Any]], Awaitable[None]]
WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

HEALTH: Final = "/healthz"
_HEALTH_THREADS: Final = 2
_PIECE: Final = 64 * 1024
"""In bytes: how much of a response is sent at a time."""

_log: Final = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class _Response:
    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""


class Bridge:
    """An ASGI application that calls a WSGI application in a few threads, with whole requests only.

    Health is answered in threads of its own: it says whether the database answers, also while every other thread
    works. Responses are held in memory until they are sent, so the application must not stream without end.
    """

    def __init__(self, application: WsgiApp, limits: Limits) -> None:
        self._application = application
        self._limits = limits
        self._bodies = Bodies(limits)
        self._threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="request")
        self._health_threads = ThreadPoolExecutor(_HEALTH_THREADS, thread_name_prefix="health")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request. What arrives too slowly, or is too long, is refused before a thread sees it."""
        if scope["type"] != "http":
            await send({"type": f"{scope['type']}.close"})
            return
        try:
            with self._bodies.share() as share:
                body = await receive_body(receive, share, self._limits)
                response = await self._call(scope, body)
        except Refused as refusal:
            response = _refusal(refusal)
        except ClientLeft:
            return
        await self._send(response, send)

    async def _call(self, scope: Mapping[str, Any], body: bytes) -> _Response:
        threads = self._health_threads if scope["path"] == HEALTH else self._threads
        work = asyncio.get_running_loop().run_in_executor(threads, _respond, self._application, scope, body)
        return await work

    async def _send(self, response: _Response, send: Send) -> None:
        """Send the response in pieces. One that the client reads too slowly is cut off with its connection."""
        body = response.body
        async with asyncio.timeout(self._limits.seconds_for(len(body))):
            await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
            for start in range(0, len(body), _PIECE):
                piece = body[start : start + _PIECE]
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def _respond(application: WsgiApp, scope: Mapping[str, Any], body: bytes) -> _Response:
    """Call the application in this thread, and return all that it answers."""
    response = _Response()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        response.status = int(status.split(" ", 1)[0])
        response.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]

    chunks = application(wsgi_environ(scope, body), start_response)
    try:
        response.body = b"".join(chunks)
    finally:
        if close := getattr(chunks, "close", None):
            close()
    return response


def _refusal(refusal: Refused) -> _Response:
    _log.warning("request refused status=%d reason=%s", refusal.status, refusal)
    body = f"{refusal}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if refusal.status == 503:
        headers.append((b"retry-after", b"1"))
    return _Response(status=refusal.status, headers=headers, body=body)
