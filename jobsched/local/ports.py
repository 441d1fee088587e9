"""Free TCP ports on the loopback interface. Standard ports are never assumed: another server may own them."""

from __future__ import annotations

import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Tell whether nothing listens on `port`, on the loopback address or on all addresses."""
    with socket.socket() as probe:
        # What a server does too: ports of connections that have just ended do not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(*, prefer: int | None = None) -> int:
    """Return `prefer` when it is free, else any free port."""
    if prefer is not None and is_free(prefer):
        return prefer
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports."""
    with ExitStack() as held:
        ports = []
        for _ in range(count):
            probe = held.enter_context(socket.socket())
            probe.bind((LOOPBACK, 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


def answers(port: int, *, greeting: bytes = b"", expect: bytes = b"", timeout_seconds: float = 1.0) -> bool:
    """Tell whether a server on `port` accepts a connection and replies to `greeting` with `expect`."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout_seconds) as connection:
            connection.sendall(greeting)
            return not expect or connection.recv(len(expect)) == expect
    except OSError:
        return False
