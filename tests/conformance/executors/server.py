"""A real HTTP server in a process of its own, for what an `http` job may meet."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    """Each path is one behaviour."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        told = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match parts.path:
            case "/hello":
                self._answer(200, b"hello\n")
            case "/echo":
                length = int(self.headers.get("Content-Length") or 0)
                lines = [f"{self.command} {name}: {value}" for name, value in self.headers.items()]
                self._answer(200, "\n".join(lines).encode() + b"\n\n" + self.rfile.read(length))
            case "/status":
                headers = {"Retry-After": told["retry_after"]} if "retry_after" in told else {}
                self._answer(int(told["code"]), b"", headers)
            case "/redirect":
                self._answer(int(told.get("code", "302")), b"", {"Location": told["to"]})
            case "/loop":
                self._answer(302, b"", {"Location": "/loop"})
            case "/drip":
                self._drip(headers_first=told["what"] == "body")
            case "/big":
                self._answer(200, b"x" * int(told["bytes"]))
            case "/silent":
                time.sleep(30)

    do_POST = do_PUT = do_GET

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, *, headers_first: bool) -> None:
        """Send a byte every now and then, for longer than anybody should wait."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if headers_first else b"X-Slow: "))
        try:
            for _ in range(300):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            return


def _serve(answer: Any) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answer.send(server.server_address[1])
    server.serve_forever()


@contextmanager
def running() -> Iterator[str]:
    """Run the server; yield its address."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()
