"""Our own processes: how web, beat, worker and Flower are started. The stack, tests and benchmarks share them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from jobsched import net
from jobsched.local.account import PROJECT
from jobsched.local.ports import LOOPBACK
from jobsched.local.service import Service
from jobsched.shim.users import described, service_user


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Describes processes that all get `env`, the JOBSCHED_* variables included, and log into `logs`."""

    env: Mapping[str, str]
    logs: Path

    def web(self, port: int) -> Service:
        """Describe the web process on a loopback port; ready when it says that it is healthy."""
        return self.python(
            "web",
            *("gunicorn", "--config", "python:config.gunicorn", "--bind", f"{LOOPBACK}:{port}"),
            *("--access-logfile", "-", "config.asgi"),
            is_ready=lambda: _status(port, "/healthz") == 200,
        )

    def beat(self, *, schedule: Path, name: str = "beat") -> Service:
        """Describe a beat; `schedule` is a file that Celery's option asks for."""
        return self.python(
            name,
            *("celery", "-A", "config", "beat", "--loglevel", "INFO", "--pidfile=", f"--schedule={schedule}"),
            ready_text=b"beat: Starting",
        )

    def worker(self, *, queues: Sequence[str], concurrency: int, node: str, name: str = "worker") -> Service:
        """Describe a worker with `concurrency` slots; `node`, its name in Celery, must be unique on this host."""
        return self.python(
            name,
            *("celery", "-A", "config", "worker", "-E", "--loglevel", "INFO", "--hostname", f"{node}@%h"),
            *("--queues", ",".join(queues), "--concurrency", str(concurrency)),
            ready_text=b" ready.",
            # A worker lets its runs end, or hands them back, before it goes.
            grace=timedelta(seconds=30),
            # It keeps a process that may give runs users of their own.
            dropped=False,
        )

    def flower(self, port: int, *, credentials: str) -> Service:
        """Describe Flower on a loopback port, behind `credentials` (`user:password`)."""
        return self.python(
            "flower",
            *("config.flower", f"--address={LOOPBACK}", f"--port={port}"),
            env={"FLOWER_BASIC_AUTH": credentials},
            is_ready=lambda: _status(port, "/healthcheck") == 200,
        )

    def python(
        self,
        name: str,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        is_ready: Callable[[], bool] | None = None,
        ready_text: bytes | None = None,
        grace: timedelta = timedelta(seconds=15),
        dropped: bool = True,
    ) -> Service:
        """Describe `python -m module arguments…` in the project's folder.

        Started by root it runs as the service user; with `dropped=False` it starts as root and drops by itself.
        """
        user = service_user(self.env) if dropped else None
        return Service(
            name=name,
            argv=(sys.executable, "-m", module, *arguments),
            env={
                **(self.env if user is None else described(user, self.env)),
                **(env or {}),
                "DJANGO_SETTINGS_MODULE": "config.settings",
                # Jobs name callables of the project, from folders that `python -m` does not look into.
                "PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT), self.env.get("PYTHONPATH")))),
                "PYTHONUNBUFFERED": "1",
            },
            cwd=PROJECT,
            log=self.logs / f"{name}.log",
            user=user,
            is_ready=is_ready,
            ready_text=ready_text,
            grace=grace,
        )


def _status(port: int, path: str) -> int | None:
    try:
        return net.fetch(f"http://{LOOPBACK}:{port}{path}", timeout_seconds=5, follow_redirects=False).status
    except net.RequestFailed:
        return None
