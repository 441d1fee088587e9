"""PostgreSQL and RabbitMQ by themselves, for tests and benchmarks: started, stopped, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from jobsched.local.ports import free_port
from jobsched.local.postgres import postgres_service
from jobsched.local.rabbitmq import rabbitmq_services, rabbitmq_url
from jobsched.local.roles import Access
from jobsched.local.service import Service, StartFailed, is_ready, log_tail
from jobsched.local.state import DataFolder

Running = TypeVar("Running", bound="Server")


class Server:
    """A server at a fixed address. Its data and address survive a stop or a kill, and the next start has both.

    It ends with the thread that started it (a test runner that is killed leaves nothing behind).
    """

    def __init__(self, url: str, services: Sequence[Service]) -> None:
        self.url = url
        self._services = services
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int:
        """The process number of the server. Raises StartFailed while it is not running."""
        if not self._processes:
            raise StartFailed(f"{self._services[-1].name} is not running.")
        return self._processes[-1].pid

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the server, for programs that talk to it as its administrator. Holds no secrets."""
        return self._services[-1].env

    def start(self) -> None:
        """Start it and return when it is ready for use. Raises StartFailed."""
        for service in self._services:
            self._processes.append(_start(service))

    def stop(self) -> None:
        """Stop it in order; killed when it does not stop within its grace. Stopped already: nothing happens."""
        for service, process in reversed(list(zip(self._services, self._processes, strict=False))):
            process.send_signal(service.stop_signal)
            with suppress(subprocess.TimeoutExpired):
                process.wait(service.grace.total_seconds())
            _kill(process)
        self._processes.clear()

    def kill(self) -> None:
        """End it at once, without any chance to tidy up."""
        for process in reversed(self._processes):
            _kill(process)
        self._processes.clear()

    def restart(self) -> None:
        """Stop it in order and start it again."""
        self.stop()
        self.start()


class DatabaseServer(Server):
    """A PostgreSQL. `url` names its database as the role that owns it, which may make further databases."""

    def __init__(self, access: Access, service: Service) -> None:
        super().__init__(access.url, [service])
        self.superuser_url = access.superuser_url
        """The same database, for settings of the server and for replicas."""


@contextmanager
def postgres(folder: Path, *, max_connections: int = 200) -> Iterator[DatabaseServer]:
    """Run a PostgreSQL server with its data in `folder`; its database is empty, or what is there."""
    state = DataFolder(folder)
    state.create()
    access = Access.of(state.secrets(), free_port(), may_create_databases=True)
    log = state.logs / "postgres.log"
    service = postgres_service(state.root / "postgres", access, log=log, max_connections=max_connections)
    with _running(DatabaseServer(access, service)) as server:
        yield server


@contextmanager
def rabbitmq(folder: Path) -> Iterator[Server]:
    """Run a private RabbitMQ node with its data in `folder`. Raises Unavailable when it is not installed."""
    state = DataFolder(folder)
    state.create()
    made, port = state.secrets(), free_port()
    services = rabbitmq_services(
        state.root / "rabbitmq",
        port=port,
        password=made.rabbitmq_password,
        cookie=made.erlang_cookie,
        log=state.logs / "rabbitmq.log",
    )
    with _running(Server(rabbitmq_url(port, made.rabbitmq_password), services)) as server:
        yield server


@contextmanager
def _running(server: Running) -> Iterator[Running]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _start(service: Service) -> subprocess.Popen[bytes]:
    service.before_start()
    deadline = time.monotonic() + service.ready_within.total_seconds()
    while True:
        offset = service.log.stat().st_size if service.log.exists() else 0
        process = _spawn(service)
        while process.poll() is None and time.monotonic() < deadline:
            if is_ready(service, offset):
                return process
            time.sleep(0.05)
        ended = process.poll()
        _kill(process)
        # Shortly after a kill the old server's children are still on their way out and hold its locks.
        if ended is None or time.monotonic() + 1 > deadline or not _is_worth_another_try(service, offset):
            raise StartFailed(
                f"{service.name} did not start (exit code {ended}); the end of {service.log}:\n"
                + log_tail(service.log, offset=offset)
            )
        time.sleep(0.2)


def _is_worth_another_try(service: Service, offset: int) -> bool:
    said = log_tail(service.log, offset=offset, lines=50)
    return "is still in use" in said or "already in use" in said


def _spawn(service: Service) -> subprocess.Popen[bytes]:
    with service.log.open("ab") as log:
        return subprocess.Popen(
            service.command,
            env=dict(service.env),
            cwd=service.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **service.identity,
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
