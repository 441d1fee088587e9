"""Options of `celery worker`: pools that cannot perform runs are refused at start, and the other options hold."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from celery import Celery
from kombu import Connection

from jobs.models import Run
from jobsched.local.service import Service
from tests.acceptance.conftest import ended
from tests.processes import Process, wait_for

REPOSITORY = Path(__file__).resolve().parents[2]

SETTINGS = """
import os
SECRET_KEY = "shop"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "none", "HOST": "127.0.0.1", "PORT": 1}}
INSTALLED_APPS = ["django_celery_beat", "jobs"]
CELERY_BROKER_URL = os.environ["SHOP_BROKER"]
CELERY_TASK_DEFAULT_QUEUE = os.environ["SHOP_QUEUE"]
JOBSCHED = {"DATA_DIR": os.environ["SHOP_DATA"]}
"""
APPLICATION = """
import os
from pathlib import Path
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

@app.task(name="shop.note")
def note(path):
    Path(path).touch()
"""
POOL = """
from celery.concurrency.solo import TaskPool

class OwnPool(TaskPool):
    pass
"""


@pytest.fixture
def shop(tmp_path: Path, broker_url: str) -> Iterator[dict[str, str]]:
    """A project that has `jobs` installed, with a queue of its own. Returns the environment of its processes."""
    (tmp_path / "shop").mkdir()
    for file, content in {"__init__": "", "settings": SETTINGS, "celery": APPLICATION, "pool": POOL}.items():
        (tmp_path / "shop" / f"{file}.py").write_text(content)
    queue = f"shop-{uuid4().hex[:8]}"
    yield {
        **{key: value for key, value in os.environ.items() if not key.startswith(("JOBSCHED_", "DJANGO_"))},
        "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(tmp_path))),
        "SHOP_BROKER": broker_url,
        "SHOP_QUEUE": queue,
        "SHOP_DATA": str(tmp_path / "shop-data"),
    }
    with Connection(broker_url) as connection, connection.channel() as channel:
        channel.queue_delete(queue)


def refusal(application: str, *options: str, env: Mapping[str, str], folder: Path) -> str:
    """Start a worker that must end by itself. Return what it wrote to its standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", application, "worker", "--loglevel=INFO", *options],
        cwd=folder,
        env={**env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "ready" not in said and "Traceback" not in said
    return done.stderr.strip()


def test_a_pool_without_slots_is_refused(shop: dict[str, str], process_env: dict[str, str], tmp_path: Path) -> None:
    env = {**process_env, "PYTHONPATH": shop["PYTHONPATH"], "CELERY_WORKER_POOL": "threads"}
    sentence = refusal("config", "--queues=default", env=env, folder=tmp_path)
    assert sentence.splitlines()[-1].startswith(
        "This worker cannot perform the runs of its queues (default), because its pool is threads"
    )


def test_a_worker_of_another_project_is_refused_only_for_queues_of_jobs(shop: dict[str, str], tmp_path: Path) -> None:
    own = {**shop, "CELERY_CUSTOM_WORKER_POOL": "shop.pool:OwnPool"}
    sentence = refusal("shop", "-P", "custom", f"--queues={shop['SHOP_QUEUE']},default", env=own, folder=tmp_path)
    assert "of its queues (default), because its pool is shop.pool:OwnPool" in sentence

    plain = Service(
        name="plain",
        argv=(sys.executable, "-m", "celery", "-A", "shop", "worker", "--pool=threads", "--loglevel=INFO"),
        env=shop,
        cwd=tmp_path,
        log=tmp_path / "plain.log",
        ready_text=b" ready.",
    )
    noted = tmp_path / "noted"
    with Process(plain) as worker:
        Celery("test", broker=shop["SHOP_BROKER"]).send_task("shop.note", args=[str(noted)], queue=shop["SHOP_QUEUE"])
        wait_for(noted.exists, timeout=60, what="the plain task")
        assert "Traceback" not in worker.log()


OPTIONS = (
    "--autoscale=3,1 --max-tasks-per-child=1 --max-memory-per-child=1 --prefetch-multiplier=4 --purge -O fair "
    "--without-gossip --without-mingle --without-heartbeat --pool=processes --statedb={folder}/state"
)


def test_other_options_of_a_worker_hold(
    save: Callable[..., str],
    request_run: Callable[..., Run],
    start_worker: Callable[..., Process],
    start_beat: Callable[..., Process],
    tmp_path: Path,
) -> None:
    save(run="true")
    start_beat()
    worker = start_worker(options=OPTIONS.format(folder=tmp_path).split())

    runs = [request_run() for _ in range(6)]

    assert {ended(run).state for run in runs} == {"succeeded"}
    assert {run.attempt for run in runs} == {1}
    assert worker.is_running() and "Traceback" not in worker.log()
