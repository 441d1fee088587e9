"""The one outbound HTTP client: a limit on the whole time, on the size and on redirects; no retries.

A time-out of a socket counts from one byte to the next, so a server that drips can hold a client for ever. Here a
watchdog cuts the connections of a request when its time is up, whatever it is waiting for.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urljoin

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, LocationParseError, SSLError
from urllib3.util import Url, make_headers, parse_url

from jobsched.domain.errors import InvalidInput, JobschedError

MIB: Final = 1024 * 1024
_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PRIVATE_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class RequestFailed(JobschedError):
    """No answer came, or not a whole one. Another try may fare better."""

    transient = True


class NotConnected(RequestFailed):
    """No connection was made: nothing of the request was sent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a server answered. `truncated`: there was more of `body` than was allowed."""

    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes
    truncated: bool
    seconds: float
    url: str
    """Where the answer came from after redirects, without credentials and query."""


class _Deadline:
    """Cuts every connection it was told of when the time is up."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.until = time.monotonic() + seconds
        self.expired = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._done = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def left(self) -> float:
        """Return the seconds left. Raises TimeoutError when there are none."""
        left = self.until - time.monotonic()
        if left <= 0 or self.expired:
            self.expired = True
            raise TimeoutError
        return left

    def guard(self, sock: socket.socket) -> None:
        # A duplicate, because TLS takes the descriptor away from the object it is given.
        duplicate = sock.dup()
        with self._lock:
            self._sockets.append(duplicate)
            if self.expired:
                _cut(duplicate)

    @property
    def connected(self) -> bool:
        """Whether any connection was made."""
        return bool(self._sockets)

    def finish(self) -> None:
        self._done.set()
        with self._lock:
            for sock in self._sockets:
                sock.close()
            self._sockets.clear()

    def _watch(self) -> None:
        if self._done.wait(max(0.0, self.until - time.monotonic())):
            return
        with self._lock:
            self.expired = True
            for sock in self._sockets:
                _cut(sock)


def _cut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


_deadline: ContextVar[_Deadline] = ContextVar("_deadline")


def _connect(host: str, port: int) -> socket.socket:
    deadline = _deadline.get()
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, address in _addresses(host, port, deadline):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(deadline.left())
            sock.connect(address)
            deadline.guard(sock)
            return sock
        except OSError as error:
            sock.close()
            problem = error
    raise problem


def _addresses(host: str, port: int, deadline: _Deadline) -> list[tuple[int, int, int, Any]]:
    """Look a name up. The resolver cannot be interrupted, so it works in a thread that may be abandoned."""
    found: list[tuple[int, int, int, Any]] = []
    problems: list[OSError] = []

    def look_up() -> None:
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                found.append((family, kind, protocol, address))
        except OSError as error:
            problems.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(deadline.left())
    deadline.left()
    if problems:
        raise problems[0]
    return found


class _PlainConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port or 80)


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self.host, self.port or 443)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def fetch(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_seconds: float = 30.0,
    max_bytes: int = MIB,
    follow_redirects: bool = True,
) -> Answer:
    """Send one request and read its answer.

    `timeout_seconds` covers everything from the look-up of the name to the last byte. Credentials and cookies are
    not sent on to another origin. Raises `InvalidInput` for a request that cannot be sent and `RequestFailed`
    when no answer came in time: `NotConnected` when nothing was sent.
    """
    started = time.monotonic()
    target, sent = _prepare(url, method, headers or {})
    shown = describe(url)
    deadline = _Deadline(timeout_seconds)
    token = _deadline.set(deadline)
    try:
        for _ in range(_MOST_REDIRECTS + 1):
            with _open(target, method, sent, body) as response:
                location = response.headers.get("Location")
                if not (follow_redirects and location and response.status in _REDIRECTS):
                    return _read(response, max_bytes, started, describe(target.url), deadline)
                method, body = _after_redirect(response.status, method, body)
                target, sent = _redirected(target, location, sent, method)
        raise RequestFailed(f"{shown} redirected more than {_MOST_REDIRECTS} times")
    except (HTTPError, OSError, UnicodeError, ValueError) as error:
        failure = RequestFailed if deadline.connected else NotConnected
        # The socket's own limit may come a moment before the watch.
        if deadline.expired or time.monotonic() >= deadline.until:
            raise failure(f"{shown} took longer than {timeout_seconds:g} s") from None
        raise failure(f"{shown} gave no answer: {_cause(error)}") from error
    finally:
        deadline.finish()
        _deadline.reset(token)


def describe(url: str) -> str:
    """Return a URL that may be shown: without user, password, query and fragment."""
    try:
        parsed = parse_url(url)
    except LocationParseError:
        return "the URL"
    return Url(scheme=parsed.scheme, host=parsed.host, port=parsed.port, path=parsed.path).url


def _prepare(url: str, method: str, headers: Mapping[str, str]) -> tuple[Url, dict[str, str]]:
    target = _parse(url)
    if not _TOKEN.fullmatch(method):
        raise InvalidInput(f"{method!r:.40} is not an HTTP method")
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise InvalidInput(f"{name!r:.40} is not the name of an HTTP header")
        if any(character in value for character in "\r\n\0"):
            raise InvalidInput(f"the value of the header {name!r} must be one line")
    sent = {"User-Agent": "jobsched", **headers}
    if target.auth and "authorization" not in {name.lower() for name in headers}:
        sent.update(make_headers(basic_auth=unquote(target.auth)))
    return target, sent


def _parse(url: str) -> Url:
    try:
        target = parse_url(url)
    except LocationParseError as error:
        # The message of the parser repeats the URL, and with it a password.
        raise InvalidInput("the URL cannot be understood; write http://host/path or https://host/path") from error
    if target.scheme not in ("http", "https"):
        raise InvalidInput(f"the URL's scheme is {target.scheme or 'missing'}; only http and https are supported")
    if not target.host:
        raise InvalidInput("the URL names no host")
    return target


@contextlib.contextmanager
def _open(
    target: Url, method: str, headers: Mapping[str, str], body: bytes | None
) -> Iterator[urllib3.BaseHTTPResponse]:
    host = (target.host or "").strip("[]")
    kind = _TlsPool if target.scheme == "https" else _PlainPool
    with kind(host, target.port, maxsize=1) as pool:
        response = pool.urlopen(
            method,
            target.request_uri,
            body=body,
            headers={**headers, "Connection": "close"},
            retries=False,
            redirect=False,
            timeout=_deadline.get().left(),
            preload_content=False,
        )
        try:
            yield response
        finally:
            response.close()


def _read(response: urllib3.BaseHTTPResponse, max_bytes: int, started: float, url: str, deadline: _Deadline) -> Answer:
    body = bytearray()
    while len(body) <= max_bytes:
        chunk = response.read(min(65536, max_bytes + 1 - len(body)))
        if not chunk:
            break
        body += chunk
    # A cut connection may look like the regular end of an answer that does not tell its length.
    deadline.left()
    return Answer(
        status=response.status,
        phrase=response.reason or "",
        headers=dict(response.headers),
        body=bytes(body[:max_bytes]),
        truncated=len(body) > max_bytes,
        seconds=time.monotonic() - started,
        url=url,
    )


def _after_redirect(status: int, method: str, body: bytes | None) -> tuple[str, bytes | None]:
    """Say how to go on, as browsers do: 303, and 301 or 302 to a POST, ask for a GET."""
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        return "GET", None
    return method, body


def _redirected(target: Url, location: str, headers: Mapping[str, str], method: str) -> tuple[Url, dict[str, str]]:
    try:
        following = _parse(urljoin(target.url, location))
    except InvalidInput as error:
        raise RequestFailed(f"{describe(target.url)} redirected to a place that is not http or https") from error
    kept = dict(headers)
    if _origin(following) != _origin(target):
        kept = {name: value for name, value in kept.items() if name.lower() not in _PRIVATE_HEADERS}
    if method == "GET":
        kept = {name: value for name, value in kept.items() if not name.lower().startswith("content-")}
    return following, kept


def _origin(url: Url) -> tuple[str | None, str | None, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme or "")


def _cause(error: Exception) -> str:
    """Name what went wrong without the objects that urllib3 prints in its messages."""
    while isinstance(error, HTTPError) and isinstance(error.__cause__ or error.__context__, Exception):
        inner = error.__cause__ or error.__context__
        if isinstance(error, SSLError) or not isinstance(inner, Exception):
            break
        error = inner
    if isinstance(error, SSLError):
        return f"no trusted TLS connection ({error})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
