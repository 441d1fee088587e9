"""The web server against slow and many clients, over real sockets: what it cuts off, and what it answers meanwhile."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from jobsched.local.ports import free_port
from tests.processes import wait_for
from tests.serving_app import LARGE, LIMITS

ROOT = Path(__file__).resolve().parents[2]
UNFINISHED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY_BEGUN = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nabc"

Connect = Callable[..., socket.socket]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that requests of /wait wait for."""
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def server(gate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A web server of one process; yields its port."""
    with running(gate, tmp_path_factory.mktemp("log")) as (port, _):
        yield port


class running:
    """Run the server, and kill it at the end if it has not stopped by then."""

    def __init__(self, gate: Path, folder: Path) -> None:
        self._gate, self._log = gate, folder / "web.log"

    def __enter__(self) -> tuple[int, subprocess.Popen[bytes]]:
        port = free_port()
        command = ["gunicorn", "--config", "python:tests.serving_app", "--bind", f"127.0.0.1:{port}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command, "tests.serving_app"],
                cwd=ROOT,
                env={**os.environ, "TEST_GATE": str(self._gate), "WEB_CONCURRENCY": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for(lambda: b"ASGI server listening" in self._log.read_bytes(), what="the start of the web server")
        return port, self._process

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(10)


@pytest.fixture
def connect(server: int) -> Iterator[Connect]:
    """Open connections that send some bytes: `connect(b"GET ", count=60)`. All are closed at the end of the test."""
    with ExitStack() as stack:

        def open_one(begin: bytes = b"") -> socket.socket:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server), timeout=10))
            client.sendall(begin)
            return client

        yield open_one


def ask(port: int, path: str = "/healthz", **request: object) -> tuple[int, bytes]:
    """Return the status and the body of an ordinary request, which has two seconds."""
    link = HTTPConnection("127.0.0.1", port, timeout=2)
    link.request(str(request.pop("method", "GET")), path, **request)  # type: ignore[arg-type]
    answer = link.getresponse()
    body = answer.read()
    link.close()
    return answer.status, body


def closed(client: socket.socket) -> bool:
    """Tell whether the server has closed the connection; what it sent before is thrown away."""
    client.setblocking(False)
    try:
        while client.recv(65536):
            continue
    except BlockingIOError:
        return False
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize("count", [60, 200])
@pytest.mark.parametrize("begin", [b"", UNFINISHED, BODY_BEGUN], ids=["nothing", "headers", "body"])
def test_unfinished_requests_neither_delay_others_nor_stay(
    begin: bytes, count: int, server: int, connect: Connect
) -> None:
    clients = [connect(begin) for _ in range(count)]
    assert ask(server) == (200, b"ok")
    assert ask(server, "/echo", method="POST", body=b"data") == (200, b"data")
    wait_for(lambda: all(map(closed, clients)), timeout=LIMITS.patience_seconds + 10, what="the end of the unfinished")


def test_the_oldest_of_too_many_connections_makes_way(server: int, connect: Connect) -> None:
    first = connect(UNFINISHED)
    clients = [connect(UNFINISHED) for _ in range(500)]
    assert ask(server) == (200, b"ok")
    assert closed(first)
    wait_for(lambda: all(map(closed, clients)), what="the end of the unfinished")


@pytest.mark.parametrize("begin", [UNFINISHED, BODY_BEGUN], ids=["headers", "body"])
def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(begin: bytes, server: int, connect: Connect) -> None:
    client = connect(begin)

    def one_more() -> bool:
        try:
            client.sendall(b"x")
        except OSError:
            return True
        client.setblocking(False)
        try:
            return client.recv(1) == b"" or not begin.startswith(b"GET")
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        finally:
            client.setblocking(True)

    wait_for(one_more, what="the end of a client that sends a byte now and then")


def test_a_body_that_comes_too_slowly_is_answered_408(server: int, connect: Connect) -> None:
    client = connect(BODY_BEGUN)
    assert client.recv(65536).startswith(b"HTTP/1.1 408 ")
    wait_for(lambda: closed(client), what="the end of the connection")


def test_a_body_that_is_too_long_is_answered_413(server: int, connect: Connect) -> None:
    client = connect(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 1_100_000)
    assert client.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_bodies_of_all_requests_together_are_bounded(server: int, connect: Connect) -> None:
    begin = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 900_000
    clients = [connect(begin) for _ in range(6)]
    answers = [client.recv(65536)[:12] for client in clients]
    assert b"HTTP/1.1 503" in answers
    assert ask(server, "/echo", method="POST", body=b"data") == (200, b"data")


def test_a_chunked_body_arrives_whole(server: int) -> None:
    pieces = iter([b"one ", b"two ", b"three"])
    assert ask(server, "/echo", method="POST", body=pieces, encode_chunked=True) == (200, b"one two three")


def test_slow_readers_hold_no_thread(server: int, connect: Connect) -> None:
    clients = [connect(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(6)]
    for client in clients:
        assert client.recv(15).startswith(b"HTTP/1.1 200")
    assert ask(server, "/echo", method="POST", body=b"data") == (200, b"data")
    status, body = ask(server, "/large")
    assert (status, len(body)) == (200, LARGE)


def test_a_client_that_does_not_read_its_response_is_cut_off(server: int) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        # The kernel holds a reset back behind what was not read, so the server's side is looked at.
        allowed = LIMITS.seconds_for(LARGE) + LIMITS.patience_seconds
        local = client.getsockname()[1]
        wait_for(lambda: not is_established(server, local), timeout=allowed + 10, what="the end of the connection")


def is_established(port: int, peer_port: int) -> bool:
    """Tell whether the kernel knows an established connection from `port` to `peer_port` on this host."""
    wanted = (f"0100007F:{port:04X}", f"0100007F:{peer_port:04X}", "01")
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(tuple(row[1:4]) == wanted for row in rows)


@pytest.mark.parametrize("count", [200, 500])
def test_idle_connections_that_are_kept_alive_do_not_delay_others(count: int, server: int, connect: Connect) -> None:
    clients = [connect(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(count)]
    assert ask(server) == (200, b"ok")
    wait_for(lambda: all(map(closed, clients)), what="the end of the idle connections")


def test_health_is_answered_while_every_thread_works(server: int, connect: Connect, gate: Path) -> None:
    try:
        waiting = [connect(b"GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") for _ in range(20)]
        assert ask(server) == (200, b"ok")
        gate.touch()
        # None of them is cut off for the time that the application takes.
        assert [client.recv(15)[:12] for client in waiting] == [b"HTTP/1.1 200"] * 20
    finally:
        gate.unlink(missing_ok=True)


def test_work_that_takes_longer_than_headers_may_is_not_cut_off(server: int, connect: Connect, gate: Path) -> None:
    client = connect(b"GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    later = [connect(UNFINISHED), connect(BODY_BEGUN)]
    wait_for(lambda: all(map(closed, later)), what="the end of requests that began later")
    assert not closed(client)
    client.setblocking(True)
    gate.touch()
    try:
        assert client.recv(15).startswith(b"HTTP/1.1 200")
    finally:
        gate.unlink()


def test_a_failure_of_the_application_is_a_500(server: int) -> None:
    assert ask(server, "/fail")[0] == 500
    assert ask(server) == (200, b"ok")


def test_the_application_is_called_as_wsgi_demands(server: int, connect: Connect) -> None:
    client = connect(
        b"POST /environ?q=%E4&r=%2F HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\nX_Under: no\r\n"
        b"X-Twice: 1\r\nX-Twice: 2\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    )
    answer = b"".join(iter(lambda: client.recv(65536), b""))
    environ = ast.literal_eval(answer.partition(b"\r\n\r\n")[2].decode())
    expected = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/environ",
        "QUERY_STRING": "q=%E4&r=%2F",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_X_TWICE": "1,2",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "2",
        "REMOTE_ADDR": "127.0.0.1",
    }
    assert {name: environ.get(name) for name in expected} == expected
    assert "HTTP_X_UNDER" not in environ


def test_a_path_is_decoded_once_whatever_bytes_it_has(server: int) -> None:
    assert ask(server, "/%65cho", method="POST", body=b"data") == (200, b"data")
    assert ask(server, "/%ff%00")[0] == 200


def test_head_is_answered_without_a_body(server: int) -> None:
    assert ask(server, "/large", method="HEAD") == (200, b"")


def test_it_stops_at_once_though_clients_have_sent_no_request(gate: Path, tmp_path: Path) -> None:
    with running(gate, tmp_path) as (port, process), ExitStack() as stack:
        for begin in (b"", UNFINISHED, BODY_BEGUN, b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(begin)
        assert ask(port) == (200, b"ok")
        process.send_signal(signal.SIGTERM)
        assert process.wait(8) == 0
