"""Our scheduler in somebody's project: django-celery-beat and `jobs` installed, and nothing else of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from kombu import Connection
from psycopg import sql

from tests.processes import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]

SETTINGS = """
import os
from urllib.parse import urlsplit
database = urlsplit(os.environ["SHOP_DATABASE"])
SECRET_KEY = "shop"
USE_TZ = True
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": database.path[1:], "HOST": database.hostname,
    "PORT": database.port, "USER": database.username, "PASSWORD": database.password}}
INSTALLED_APPS = ["django_celery_beat", *os.environ.get("SHOP_APPS", "").split()]
CELERY_BROKER_URL = os.environ["SHOP_BROKER"]
CELERY_TASK_DEFAULT_QUEUE = os.environ["SHOP_QUEUE"]
CELERY_BEAT_SCHEDULE = {"configured": {"task": "elsewhere.tick", "schedule": 1.0, "args": ("configured",)}}
"""
APPLICATION = """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")

@app.task(name="shop.tick", priority=4)
def tick(who):
    pass
"""
ROW = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
PeriodicTask.objects.create(
    name="theirs", task="shop.tick", args='["theirs"]', total_run_count=7,
    interval=IntervalSchedule.objects.create(every=1, period="seconds"))
"""
SEEN = """
from django_celery_beat.models import PeriodicTask
print(PeriodicTask.objects.get(name="theirs").total_run_count)
"""

EDITED = """
from django_celery_beat.models import PeriodicTask
row = PeriodicTask.objects.get(name="theirs")
row.one_off = True
row.save()
print(row.total_run_count)
"""


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The project's folder, with what its processes find in their environment."""

    folder: Path
    env: dict[str, str]

    def run(self, *arguments: str, apps: str = "jobs") -> str:
        """Run `python -m` something in it, to its end."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env={**self.env, "SHOP_APPS": apps},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def django(self, *arguments: str, apps: str = "jobs") -> str:
        return self.run("django", *arguments, apps=apps)

    def sent(self) -> dict[str, Any]:
        """Take one message out of its queue. Return its headers and properties; nothing when there is none."""
        with Connection(self.env["SHOP_BROKER"]) as connection, connection.channel() as channel:
            channel.queue_declare(self.env["SHOP_QUEUE"], durable=True, auto_delete=False)
            message = channel.basic_get(self.env["SHOP_QUEUE"], no_ack=True)
            return {**message.headers, **message.properties} if message else {}


@pytest.fixture
def shop(tmp_path: Path, broker_url: str) -> Iterator[Shop]:
    name = f"shop_{uuid4().hex[:8]}"
    address = os.environ["JOBSCHED_DATABASE_URL"]
    (tmp_path / "shop").mkdir()
    for file, content in {"__init__": "", "settings": SETTINGS, "celery": APPLICATION}.items():
        (tmp_path / "shop" / f"{file}.py").write_text(content)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("JOBSCHED_", "DJANGO_"))}
    env = {
        **inherited,
        "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(tmp_path))),
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "SHOP_DATABASE": urlsplit(address)._replace(path=f"/{name}").geturl(),
        "SHOP_BROKER": broker_url,
        "SHOP_QUEUE": name,
    }
    with psycopg.connect(address, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield Shop(folder=tmp_path, env=env)
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    with Connection(broker_url) as connection, connection.channel() as channel:
        channel.queue_delete(name)


def test_rows_that_were_there_are_served_as_soon_as_the_app_is_installed(shop: Shop) -> None:
    shop.django("migrate", "--verbosity=0", apps="")
    shop.django("shell", "--verbosity=0", "--command", ROW, apps="")
    shop.django("migrate", "--verbosity=0")
    shop.django("check", "--fail-level=WARNING", "--database=default")
    shop.django("makemigrations", "--check", "--dry-run", "jobs")

    log = shop.folder / "beat.log"
    with log.open("w") as output:
        beat = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "shop", "beat", "-S", "jobs.beat:JobScheduler", "-l", "INFO"],
            cwd=shop.folder,
            env={**shop.env, "SHOP_APPS": "jobs"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        found: dict[str, dict[str, Any]] = {}

        def both() -> bool:
            message = shop.sent()
            found[message.get("periodic_task_name", "")] = message
            return {"theirs", "configured"} <= set(found)

        wait_for(both, what="a message of each schedule")
    finally:
        beat.send_signal(signal.SIGTERM)
        beat.wait(timeout=20)

    assert (found["theirs"]["task"], found["theirs"]["priority"]) == ("shop.tick", 4)
    assert (found["configured"]["task"], found["configured"]["argsrepr"]) == ("elsewhere.tick", "['configured']")
    assert "ERROR" not in log.read_text()
    assert int(shop.django("shell", "--verbosity=0", "--command", SEEN)) > 7

    shop.django("migrate", "jobs", "zero", "--verbosity=0")
    assert int(shop.django("shell", "--verbosity=0", "--command", EDITED, apps="")) > 7
