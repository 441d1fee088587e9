"""What beats and workers load, which is most of the time their start takes and of the memory they hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DEFAULTS = "import sys; from config.celery import app; app.loader.import_default_modules()\n"


def loaded(code: str, **env: str) -> set[str]:
    """Return the names of the modules that a process of its own holds after that code."""
    told = subprocess.run(
        [sys.executable, "-c", f"{DEFAULTS}{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        timeout=60,
        check=True,
    )
    return set(told.stdout.split())


def test_a_beat_loads_neither_pages_nor_what_performs_runs() -> None:
    modules = loaded("import jobs.beat")

    assert {"jobs.tasks", "jobs.services.scheduling"} <= modules
    assert not {"jobs.admin", "jobs.api", "jobs.services.running", "pydantic"} & modules


def test_a_worker_holds_what_performs_runs_before_it_forks(tmp_path: Path) -> None:
    begin = (
        "from celery.signals import celeryd_init; from types import SimpleNamespace; "
        "instance = SimpleNamespace(app=app, setup_queues=lambda include, exclude: None); "
        "celeryd_init.send(sender='', instance=instance, conf=app.conf, options={})"
    )
    modules = loaded(begin, JOBSCHED_DATA_DIR=str(tmp_path))

    assert {"jobs.services.running.turn", "jobs.services.running.board"} <= modules
    assert not {"jobs.admin", "jobs.api"} & modules
