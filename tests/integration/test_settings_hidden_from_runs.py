"""Runs of a real worker do not find the settings of the installation in their environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings

from jobs.models import Attempt, Job, Run
from jobs.services import control
from tests.processes import Process, wait_for

LOOK = "env; cat /proc/self/environ | tr '\\0' '\\n'"
LOOK_AT_PARENT = "cat /proc/$PPID/environ 2>&1 | tr '\\0' '\\n'"
"""A step's parent is the run's process; the parent of a command is none of the run's."""
SECRETS = {
    "FLOWER_BASIC_AUTH": "admin:the-password-of-flower",
    "AWS_SECRET_ACCESS_KEY": "the-key-of-the-bucket",
    "JOBSCHED_ADMIN_PASSWORD_FILE": "/run/secrets/the-file-of-a-password",
}
OTHERS = {"SHOP_REGION": "north", "AWS_REGION": "eu-north-1"}
KINDS: dict[str, dict[str, Any]] = {
    "shell": {"kind": "shell", "spec": {"command": LOOK}},
    "steps": {"kind": "steps", "spec": {"steps": [{"name": "look", "run": f"{LOOK}; {LOOK_AT_PARENT}"}]}},
    "python": {"kind": "python", "spec": {"call": "tests.nosy_callables:look"}},
    "celery": {"kind": "celery", "spec": {"task": "nosy.task", "args": []}},
    "in process": {"kind": "python", "spec": {"call": "nosy.trusted"}, "in_process": True},
}


@pytest.fixture
def seen(make_job: Callable[..., Job], start_worker: Callable[..., Process]) -> Callable[..., dict[str, list[str]]]:
    """Run a job of each kind on one worker, and return the lines that each of them found."""

    def look(env: dict[str, str]) -> dict[str, list[str]]:
        for name, fields in KINDS.items():
            make_job(name, **{"env": {"OWN": "yes"}, **fields})
        start_worker(env={"JOBSCHED_IMPORTS": "tests.nosy_callables", **env})
        for name in KINDS:
            control.trigger(job=name, actor="ada")
        wait_for(lambda: Run.objects.filter(state="succeeded").count() == len(KINDS), what="the end of every run")
        return {name: _lines(Attempt.objects.get(run__job__name=name)) for name in KINDS}

    return look


def _lines(attempt: Attempt) -> list[str]:
    return attempt.result if isinstance(attempt.result, list) else attempt.output.splitlines()


def test_no_kind_of_run_finds_a_secret_in_its_environment(
    seen: Callable[..., dict[str, list[str]]], process_env: dict[str, str]
) -> None:
    password = settings.DATABASES["default"]["PASSWORD"]
    copies = {"SHOP_DATABASE": f"postgres://shop:{password}@elsewhere/shop", "PGPASSWORD": password}
    kept = {"SHOP_KEPT": settings.SECRET_KEY, "JOBSCHED_KEPT_VARIABLES": "SHOP_KEPT"}
    settings_of_ours = [process_env[f"JOBSCHED_{name}"] for name in ("DATABASE_URL", "BROKER_URL")]

    found = seen({**SECRETS, **OTHERS, **copies, **kept})

    for name, lines in found.items():
        in_slot = name == "in process"
        # A slot also performs plain Celery tasks, so that it keeps what is not named as a setting of ours.
        secrets = [*settings_of_ours, *SECRETS.values(), *([] if in_slot else [password])]
        text = "\n".join(lines)
        assert [s for s in secrets if s in text] == ([SECRETS["AWS_SECRET_ACCESS_KEY"]] if in_slot else []), name
        names = {line.partition("=")[0] for line in lines if line.partition("=")[2]}
        assert "PATH" in names
        assert in_slot or "JOBSCHED_RUN_ID" in names
    for name in ("python", "celery"):
        assert {"SHOP_REGION=north", "AWS_REGION=eu-north-1", "OWN=yes"} <= set(found[name])
        assert f"SHOP_KEPT={settings.SECRET_KEY}" in found[name]


def test_what_is_not_allowed_is_not_run_although_a_row_asks_for_it(
    make_job: Callable[..., Job], start_worker: Callable[..., Process]
) -> None:
    stranger = {"kind": "python", "spec": {"call": "os:getenv"}, "params": {"key": "HOME"}}
    make_job("Stranger", **stranger)
    make_job("Stranger in process", **stranger, in_process=True)
    make_job("Built in", kind="celery", spec={"task": "celery.map", "args": ["nosy.task", [[]]]})
    start_worker()
    runs = [control.trigger(job=job.name, actor="ada") for job in Job.objects.order_by("pk")]
    wait_for(lambda: Run.objects.filter(state="failed").count() == len(runs), what="the end of all runs")
    stranger_reason, in_process_reason, built_in_reason = (Run.objects.get(pk=run.pk).reason for run in runs)
    assert "'os:getenv' is not allowed" in stranger_reason
    assert "'os:getenv' is not allowed" in in_process_reason
    assert "belongs to Celery or jobsched itself" in built_in_reason
    assert [attempt.result for attempt in Attempt.objects.all()] == [None] * len(runs)
