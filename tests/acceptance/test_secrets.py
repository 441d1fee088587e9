"""What a job finds when it reads all of /proc and the data folder, in each mode that a host without containers has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from jobs.models import Run
from jobsched.local.parts import Parts
from jobsched.shim.users import described, service_user
from tests.acceptance import secret_search
from tests.acceptance.conftest import ended, running
from tests.processes import Process
from tests.unrun import needs

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Mode:
    started_by_root: bool
    isolation: str
    logged_as: str
    """How the start-up log names it."""


MODES = {
    "root, namespace": Mode(started_by_root=True, isolation="namespace", logged_as="namespace"),
    "root, subreaper": Mode(started_by_root=True, isolation="subreaper", logged_as="subreaper"),
    "user, user namespace": Mode(started_by_root=False, isolation="namespace", logged_as="user-namespace"),
    "user, subreaper": Mode(started_by_root=False, isolation="subreaper", logged_as="subreaper"),
}
UNPROTECTED = "user, subreaper"


@pytest.fixture(params=MODES)
def name(request: pytest.FixtureRequest) -> str:
    if MODES[request.param].started_by_root and os.geteuid() != 0:
        needs("root", "only root can start a worker as root")
    return str(request.param)


@pytest.fixture
def worker(name: str, broker_url: str, process_env: Mapping[str, str], processes: ExitStack, tmp_path: Path) -> Process:
    """A worker with two slots in the mode `name`."""
    env = {**process_env, "JOBSCHED_ISOLATION": MODES[name].isolation}
    service = Parts(env=env, logs=tmp_path).worker(queues=["default"], concurrency=2, node="secrets")
    user = service_user(env)
    if user is not None and not MODES[name].started_by_root:
        service = replace(service, user=user, env=described(user, service.env))
    return processes.enter_context(Process(service))


@pytest.fixture
def secrets(process_env: Mapping[str, str]) -> dict[str, str]:
    """Secrets by name; those that are in the data folder are put there, readable for our own user only."""
    data = Path(process_env["JOBSCHED_DATA_DIR"])
    made = {
        "database": unquote(urlsplit(process_env["JOBSCHED_DATABASE_URL"]).password or ""),
        "broker": unquote(urlsplit(process_env["JOBSCHED_BROKER_URL"]).password or ""),
        "secret key": process_env["JOBSCHED_SECRET_KEY"],
        "other run": "needle-of-another-run-4711",
        "output": "needle-of-stored-output-4712",
        "token": "needle-of-a-token-4713",
    }
    files = {"output/of-another-run": made["output"], "api-token": made["token"], "secrets.json": made["secret key"]}
    for file, text in files.items():
        path = data / file
        path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    if (user := service_user(os.environ)) is not None:
        for path in (data, *data.rglob("*")):
            os.chown(path, user.uid, user.gid)
    return made


def search(
    save: Callable[..., str], request_run: Callable[..., Run], secrets: Mapping[str, str], data: str, folder: Path
) -> list[tuple[str, str, str]]:
    """Return what a job finds while a run in the other slot holds a secret."""
    needles, report, script = folder / "needles.json", folder / "report.json", folder / "search.py"
    needles.write_text(json.dumps({name: secret.encode().hex() for name, secret in secrets.items()}))
    script.write_text(Path(secret_search.__file__).read_text())
    save("Other", run="sleep 300", env={"SECRET": secrets["other run"]})
    running(request_run("Other"))
    save("Search", run=f"exec {sys.executable} {script} {needles} {data} {report}")
    found = ended(request_run("Search"), timeout=120)
    assert found.state == "succeeded", found.reason
    return [tuple(hit) for hit in json.loads(report.read_text())]


def doctor(env: Mapping[str, str]) -> list[dict[str, str]]:
    """Return what `doctor` says of workers."""
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        cwd=ROOT,
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [finding for finding in json.loads(done.stdout)["findings"] if finding["about"] == "workers"]


def test_a_job_finds_no_secret_but_where_log_and_doctor_say_so(
    name: str,
    secrets: dict[str, str],
    worker: Process,
    start_beat: Callable[..., Process],
    start_web: Callable[..., Process],
    process_env: Mapping[str, str],
    save: Callable[..., str],
    request_run: Callable[..., Run],
    tmp_path: Path,
) -> None:
    start_beat()
    start_web()
    found = search(save, request_run, secrets, process_env["JOBSCHED_DATA_DIR"], tmp_path)

    log = worker.log()
    assert f"runs are kept together by: {MODES[name].logged_as}" in log
    [*findings] = doctor(process_env)
    assert findings, "doctor says nothing of the worker"
    if name != UNPROTECTED:
        assert found == []
        claims = "data folder"
        assert not [line for line in log.splitlines() if "not protected" in line and claims in line]
        assert not [f for f in findings if f["level"] != "fine" and claims in f["sentence"]]
        return
    assert {"output", "token", "other run"} <= {secret for secret, _, _ in found}
    assert any(kind == "write" for _, kind, _ in found)
    in_processes = [hit for hit in found if hit[1] not in ("file", "write")]
    of_ours = [hit for hit in in_processes if "celery" in hit[2] or "gunicorn" in hit[2]]
    assert not of_ours
    for claim in ("data folder", "environment of every process", "kill -9 -1"):
        assert [line for line in log.splitlines() if "not protected" in line and claim in line], claim
        assert [f for f in findings if f["level"] == "warning" and claim in f["sentence"]], claim
