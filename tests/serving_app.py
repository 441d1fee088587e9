"""A small WSGI application behind the real web server, with limits that a test can wait for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from config.serving.bridge import Bridge
from config.serving.limits import Limits
from config.serving.worker import BoundedWorker

LIMITS = Limits(
    threads=2,
    header_seconds=1.0,
    patience_seconds=1.0,
    slowest_bytes_per_second=8 * 1024 * 1024,
    longest_body=1024 * 1024,
    bodies=3 * 1024 * 1024,
    unfinished=300,
)
LARGE = 16 * 1024 * 1024


class Worker(BoundedWorker):
    """The web process with the limits above."""

    limits = LIMITS


# What gunicorn reads of this module as its configuration.
worker_class = Worker
asgi_lifespan = "off"
keepalive = 1
graceful_timeout = 10
control_socket_disable = True


def django(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Stand in for Django: echo, wait for a file, or answer more than socket buffers hold."""
    path = environ["PATH_INFO"]
    if path == "/wait":
        while not Path(os.environ["TEST_GATE"]).exists():
            time.sleep(0.01)
    if path == "/fail":
        raise RuntimeError("a defect of the application")
    answer = environ["wsgi.input"].read() if path == "/echo" else b"ok"
    if path == "/large":
        answer = b"x" * LARGE
    if path == "/environ":
        answer = repr({k: v for k, v in environ.items() if isinstance(v, str)}).encode()
    start_response("200 OK", [("Content-Length", str(len(answer))), ("Content-Type", "text/plain")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer]


application = Bridge(django, LIMITS)
