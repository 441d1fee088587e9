"""Settings of Celery that are meant for the tasks of a project change nothing about runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection
from kombu import Queue as BrokerQueue

from jobs.conf import conf
from jobs.messages import hints
from jobs.models import Run
from jobs.services import control
from jobsched.local.parts import Parts
from jobsched.local.service import Service
from tests.acceptance.conftest import attempts, ended, running
from tests.chaos.proxies import Proxy
from tests.processes import Process

PROJECT = Path(__file__).resolve().parents[2]
HOSTILE = "tests.hostile_settings"
TIME_LIMIT_SECONDS = 1
"""Of all tasks, in those settings."""


@pytest.fixture
def queue(broker_url: str, settings: Any) -> Iterator[str]:
    """A queue of its own: with these settings it is declared with priorities, which RabbitMQ never changes."""
    name = f"hostile-{uuid4().hex[:8]}"
    settings.JOBSCHED = {**settings.JOBSCHED, "QUEUES": (name,)}
    conf.cache_clear()
    yield name
    conf.cache_clear()
    with Connection(broker_url) as broker:
        BrokerQueue(name, channel=broker).delete()


def test_runs_are_performed_as_ever(
    queue: str,
    save: Callable[..., str],
    request_run: Callable[..., Run],
    process_env: Mapping[str, str],
    processes: ExitStack,
    broker_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Hints come from the beat only: it has those settings, and this process has others.
    monkeypatch.setattr(hints, "_send_hints", lambda waiting: None)
    env = {**process_env, "JOBSCHED_QUEUES": queue, "JOBSCHED_HEARTBEAT_SECONDS": "2"}

    def start(service: Service) -> Process:
        hostile = replace(service, env={**service.env, "DJANGO_SETTINGS_MODULE": HOSTILE})
        return processes.enter_context(Process(hostile))

    start(Parts(env=env, logs=tmp_path).beat(schedule=tmp_path / "schedule"))
    with Proxy(broker_url) as wire:
        parts = Parts(env={**env, "JOBSCHED_BROKER_URL": wire.url}, logs=tmp_path)
        worker = start(parts.worker(queues=[queue], concurrency=2, node=queue))
        long_log, quick_log = tmp_path / "long", tmp_path / "quick"
        seconds = 4 * TIME_LIMIT_SECONDS
        save("Long", queue=queue, run=f"echo began >> {long_log}; sleep {seconds}; echo ended >> {long_log}")
        save("Quick", queue=queue, run=f"echo ran >> {quick_log}")
        save("Endless", queue=queue, run="sleep 600")

        long = request_run("Long")
        assert ended(long).state == "succeeded", long.reason
        assert long_log.read_text() == "began\nended\n"
        assert [attempt.verdict for attempt in attempts(long)] == ["succeeded"]

        quick = [request_run("Quick") for _ in range(5)]
        assert {ended(run).state for run in quick} == {"succeeded"}
        assert quick_log.read_text() == "ran\n" * 5

        endless = running(request_run("Endless"))
        control.cancel_one(endless.pk, actor="test")
        assert ended(endless).state == "cancelled"

        wire.cut()
        wire.mend()
        assert ended(request_run("Quick")).state == "succeeded"
        assert worker.is_running()


@pytest.mark.parametrize(
    ("setting", "word", "programs"),
    [
        ("CELERY_TASK_ALWAYS_EAGER = True", "CELERY_TASK_ALWAYS_EAGER", ("worker", "beat")),
        ("CELERY_BROKER_URL = 'redis://:hidden@host'", "'redis'", ("worker", "beat")),
        ("CELERY_ACCEPT_CONTENT = ['json', 'pickle']", "'pickle'", ("worker",)),
    ],
)
def test_what_is_refused_ends_programs_with_one_sentence(
    setting: str, word: str, programs: tuple[str, ...], process_env: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "refused_settings.py").write_text(f"from config.settings import *\n{setting}\n")
    env = {**process_env, "PYTHONPATH": str(tmp_path), "DJANGO_SETTINGS_MODULE": "refused_settings"}
    for program in programs:
        queues = ["--queues", "default"] if program == "worker" else [f"--schedule={tmp_path / 'schedule'}"]
        done = subprocess.run(
            [sys.executable, "-m", "celery", "-A", "config", program, *queues],
            cwd=PROJECT,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert word in done.stderr and "Traceback" not in said and "hidden" not in said
