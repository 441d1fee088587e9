"""Slow clients, and many of them, do not block the web process."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from jobsched import net
from tests.processes import Process

HEADERS = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY = b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nusername="
IDLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(("begin", "count"), [(HEADERS, 60), (BODY, 60), (IDLE, 200), (HEADERS, 500)])
def test_health_and_pages_are_answered_beside_clients_that_do_not_finish(
    begin: bytes, count: int, start_web: Callable[..., Process]
) -> None:
    web = start_web()
    address = urlsplit(web.url)
    with ExitStack() as clients:
        for _ in range(count):
            client = clients.enter_context(socket.create_connection((str(address.hostname), address.port or 80)))
            client.sendall(begin)
        for path in ("/healthz", "/admin/login/", "/static/admin/css/base.css"):
            answer = net.fetch(f"{web.url}{path}", timeout_seconds=5)
            assert answer.status == 200, path
