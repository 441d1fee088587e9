"""What PostgreSQL connections are given: one server or several, and how long anything may take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long connections put up with things, in seconds; 0 means for ever."""

    statement: float
    """One statement, before the server ends it."""
    idle_in_transaction: float
    """A transaction in which nothing happens, before the server ends its session."""
    acknowledgement: float
    """Data that the other end's kernel does not acknowledge, before the connection counts as dead."""
    connect: float
    """An attempt to connect to one host."""


def database(url: str, *, patience: Patience, own_sessions: bool, migrating: bool) -> dict[str, Any]:
    """Return the entry for Django's DATABASES that `url` means.

    The address may name several servers (`postgres://user:password@one:5432,two:5432/name`); they are tried in this
    order, and unless it says otherwise only one that can be written to is used. What it says after `?` counts more
    than what is decided here. With `own_sessions` off (PgBouncer in transaction mode) the server is told no time
    limits: PgBouncer refuses connections that want to. Migrations have none. Raises ValueError for another address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql", "pgsql"):
        raise ValueError("must name a PostgreSQL server: postgres://…")
    credentials, _, servers = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    hosts, ports = _hosts_and_ports(servers)
    said = dict(parse_qsl(parts.query))
    options: dict[str, Any] = {
        "application_name": "jobsched",
        # A dead peer is noticed in seconds, not in the kernel's two hours.
        "connect_timeout": max(2, round(patience.connect)),  # libpq counts in seconds, and takes 1 for 2
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": _milliseconds(patience.acknowledgement),
        **({"target_session_attrs": "read-write"} if len(hosts) > 1 else {}),
        **said,
    }
    if own_sessions:
        limits = replace(patience, statement=0, idle_in_transaction=0) if migrating else patience
        options["options"] = f"{_server_limits(limits)} {said.get('options', '')}".strip()
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(user),
        "PASSWORD": unquote(password),
        "HOST": ",".join(hosts),
        "PORT": ",".join(ports),
        "OPTIONS": options,
        # One short-lived connection a request is what PgBouncer in transaction mode and Celery both expect.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


def _server_limits(patience: Patience) -> str:
    return (
        f"-c statement_timeout={_milliseconds(patience.statement)} "
        f"-c idle_in_transaction_session_timeout={_milliseconds(patience.idle_in_transaction)}"
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _hosts_and_ports(servers: str) -> tuple[list[str], list[str]]:
    hosts, ports = [], []
    for server in servers.split(","):
        host, colon, port = server.rpartition(":")
        if not colon or server.endswith("]"):  # a bare name, or an IPv6 address
            host, port = server, ""
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"names {port!r} as the port of {host}: a port is a number from 1 to 65535")
        hosts.append(unquote(host).strip("[]"))
        ports.append(port or "5432")
    return hosts, ports
