"""A TCP proxy before a server, whose wire can be torn, go silent, and be mended.

`cut` is what a restarted host or a firewall that rejects looks like: connections are reset, new ones refused.
`silence` is what a pulled cable looks like: the kernel throws away every packet that comes in, so nothing is even
acknowledged, and only time limits (keepalives, tcp_user_timeout, heartbeats) can tell.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Final, Protocol, Self
from urllib.parse import urlsplit

LOOPBACK: Final = "127.0.0.1"
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_DROP_ALL: Final = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
"""The shortest filter there is: `return 0`, keep no byte of any packet."""
_CHUNK: Final = 65536


class Wire(Protocol):
    """Sees what goes by on one connection, and decides about it."""

    def from_client(self, data: bytes) -> bytes | None:
        """Return what is to be sent to the server, or None to reset the connection."""

    def from_server(self, data: bytes) -> bytes | None:
        """Return what is to be sent to the client, or None to reset the connection."""


class _Plain:
    def from_client(self, data: bytes) -> bytes | None:
        return data

    def from_server(self, data: bytes) -> bytes | None:
        return data


class Proxy:
    """Listens on a free port of `address` and passes everything on to the server of `url`.

    `url` of the proxy is the same address with the proxy's host and port. `inside` is entered while the listening
    socket is made, for one in another network namespace. Use it as a context manager.
    """

    def __init__(
        self, url: str, *, address: str = LOOPBACK, inside: AbstractContextManager[None] | None = None
    ) -> None:
        server = urlsplit(url)
        if server.hostname is None or server.port is None:
            raise ValueError("The proxy needs an address with a host and a port.")
        self._server = (server.hostname, server.port)
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._silent = False
        self._closed = False
        with inside or nullcontext():
            self._listener = socket.create_server((address, 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        credentials = server.netloc.rpartition("@")[0]
        self.url = server._replace(netloc=f"{credentials}@{address}:{self.port}").geturl()
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._links)

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._end_listener()
        # Bound but not listening: the port stays ours, and who tries it is refused.
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((LOOPBACK, self.port))
        self.reset()

    def reset(self) -> None:
        """Reset all connections. New ones are served."""
        for link in self._copy_of_links():
            link.reset()

    def strand(self) -> None:
        """Reset all connections to clients and keep those to the server open, which notices nothing.

        It is what a server sees whose client's host or wire is gone.
        """
        for link in self._copy_of_links():
            link.strand()

    def silence(self) -> None:
        """Swallow everything, also attempts to connect, without a word."""
        with self._lock:
            self._silent = True
            _drop_packets(self._listener)
            for link in self._links:
                link.silence()

    def mend(self) -> None:
        """Serve again. Connections that outlived a silence go on."""
        with self._lock:
            self._silent = False
            _take_packets(self._listener)
            for link in self._links:
                link.speak()
        if not self._listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self._listener.listen(512)
            self._listen()

    def close(self) -> None:
        """End everything. May be called twice."""
        self._closed = True
        self._end_listener()
        self.reset()

    def _wire(self) -> Wire:
        """Make what looks into one connection."""
        return _Plain()

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _end_listener(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server, timeout=5)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            link = _Link(client, server, self._wire(), gone=self._links.discard)
            with self._lock:
                self._links.add(link)
                if self._silent:
                    link.silence()
            if self._closed or listener is not self._listener:
                link.reset()
            link.start()

    def _copy_of_links(self) -> list[_Link]:
        with self._lock:
            return list(self._links)


class _Link:
    """One connection of a client and the one that is made to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket, wire: Wire, *, gone: _Gone) -> None:
        self._client, self._server, self._wire, self._gone = client, server, wire, gone
        self._open_ways = ["there", "back"]
        self._stranded = False
        self._may_speak = threading.Event()
        self._may_speak.set()
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for source, sink, look in (
            (self._client, self._server, self._wire.from_client),
            (self._server, self._client, self._wire.from_server),
        ):
            threading.Thread(target=self._pump, args=(source, sink, look), daemon=True).start()

    def reset(self) -> None:
        self._may_speak.set()
        for end in (self._client, self._server):
            _reset(end)

    def strand(self) -> None:
        self._stranded = True
        _reset(self._client)

    def silence(self) -> None:
        self._may_speak.clear()
        _drop_packets(self._client)

    def speak(self) -> None:
        _take_packets(self._client)
        self._may_speak.set()

    def _pump(self, source: socket.socket, sink: socket.socket, look: _Look) -> None:
        try:
            while data := source.recv(_CHUNK):
                self._may_speak.wait()
                passed = look(data)
                if passed is None:
                    raise ConnectionResetError
                sink.sendall(passed)
            if not self._stranded:
                sink.shutdown(socket.SHUT_WR)
        except OSError:  # reset by either side, or by us
            self._open_ways.clear()
        if self._stranded:  # `reset` ends what is left of it
            return
        if self._open_ways:
            self._open_ways.pop()
        if not self._open_ways:
            self._gone(self)
            self.reset()


class _Gone(Protocol):
    def __call__(self, link: _Link, /) -> None: ...


class _Look(Protocol):
    def __call__(self, data: bytes, /) -> bytes | None: ...


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RD)  # wakes the thread that waits in it
    end.close()


def _drop_packets(end: socket.socket) -> None:
    with suppress(OSError):
        program = struct.pack("HxxxxxxP", 1, ctypes.addressof(_DROP_ALL))
        end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _take_packets(end: socket.socket) -> None:
    with suppress(OSError):  # there was no filter
        end.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
