"""docker-compose.yml as a whole, on a real engine: what docs/deployment.md and docs/security.md say is true."""

from __future__ import annotations

import hashlib
import json
import resource
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobsched import net
from tests.containers.composed import Composed
from tests.processes import wait_for

pytestmark = pytest.mark.timeout(600)

SETTINGS = """\
JOBSCHED_VERSION=team
JOBSCHED_IMPORTS=probe
JOBSCHED_WORKERS=1
JOBSCHED_LEASE_SECONDS=24
JOBSCHED_HEARTBEAT_SECONDS=6
JOBSCHED_STOP_GRACE_SECONDS=4
JOBSCHED_IDLE_CONNECTION_SECONDS=5
JOBSCHED_POSTGRES_CONNECTIONS=60
JOBSCHED_QUEUES=default,namespaces
"""
"""None of them is a default. They come after those of .env, and the last counts."""
PROBE = Path(__file__).parent / "probe"
DECOY = secrets.token_urlsafe(32)
"""A secret that everybody may read: a probe that does not find it proves nothing."""
OF_ANOTHER_RUN = secrets.token_urlsafe(32)

TEAM_IMAGE = """\
FROM jobsched:latest
USER root
COPY decoy /srv/decoy
COPY probe /app/probe
USER jobsched
"""


Wanted = dict[str, tuple[str, str]]


def described(values: dict[str, str]) -> Wanted:
    """Describe secrets to the probe without telling them."""
    return {name: (value[:4], hashlib.sha256(value.encode()).hexdigest()) for name, value in values.items()}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """The whole stack, started as the page says, on an image of our own that contains the probe."""
    composed = Composed(tmp_path_factory.mktemp("stack") / "jobsched")
    composed.run("python3", "deploy/new_env.py")
    composed.compose("build", timeout=500)
    team = composed.folder / "team"
    shutil.copytree(PROBE, team / "probe", ignore=shutil.ignore_patterns("__pycache__"))
    (team / "decoy").write_text(DECOY)
    (team / "Dockerfile").write_text(TEAM_IMAGE)
    composed.run("docker", "build", "-t", "jobsched:team", "team")
    with (composed.folder / ".env").open("a") as env:
        env.write(SETTINGS)
    try:
        composed.up()
        composed.inside("web", "django-admin", "bootstrap", "--token-file", "/tmp/token")
        yield composed
    finally:
        composed.compose("down", "--volumes", "--timeout", "30", check=False)


@pytest.fixture(scope="module")
def wanted(stack: Composed) -> Wanted:
    """What the probe looks for."""
    return described({**stack.secrets(), "decoy": DECOY, "another run": OF_ANOTHER_RUN})


@pytest.fixture(scope="module")
def victim(stack: Composed) -> int:
    """A run that goes on beside those that look around. It has a secret in its environment and in its files."""
    job = {
        "name": "victim",
        "run": 'printf %s "$SECRET" > mine; printf %s "$SECRET" > "$(mktemp)"; sleep 600 & wait',
        "env": {"SECRET": OF_ANOTHER_RUN},
    }
    stack.jobsched("apply", "-f", "-", given=json.dumps({"jobs": [job]}))
    run = stack.start_run("victim")

    def running() -> bool:
        return bool(json.loads(stack.jobsched("show", str(run), "--json"))["state"] == "running")

    wait_for(running, what="the start of the victim")
    return run


def probed(stack: Composed, job: dict[str, Any]) -> dict[str, Any]:
    """Let a job look around, and return what it found."""
    stack.jobsched("apply", "-f", "-", given=json.dumps({"jobs": [job]}))
    run = stack.start_run(job["name"])
    ended = stack.wait_for_end(run)
    assert ended["state"] == "succeeded", (ended, stack.output(run)[-3000:])
    found = ended["attempts"][-1]["result"] or json.loads(stack.output(run).strip().splitlines()[-1])
    assert found["processes"] > 5 and found["files"] > 1000
    assert found["readable"]["cwd"] >= 1
    return dict(found)


def has_no_right(found: dict[str, Any]) -> None:
    assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert found["NoNewPrivs"] == "1"
    assert found["uid"] not in (0, 10001) and found["gid"] not in (0, 10001)
    assert not {"0", "10001", "999"} & set(found["Groups"].split())


# Secrets --------------------------------------------------------------------------------------------------


def test_no_container_has_a_secret_in_what_the_engine_knows_of_it(stack: Composed) -> None:
    known = json.dumps(stack.containers())
    assert not [name for name, value in stack.secrets().items() if value in known]


def test_no_process_of_a_container_has_a_secret_in_its_environment_or_arguments(stack: Composed) -> None:
    told = [text for process in Path("/proc").iterdir() if process.name.isdigit() and (text := environment_of(process))]
    assert sum(b"_FILE=/run/secrets/" in text for text in told) > 5
    assert not [name for name, value in stack.secrets().items() for text in told if value.encode() in text]


def environment_of(process: Path) -> bytes:
    """Return the environment and the arguments of a process, nothing for one that has ended."""
    try:
        return (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_a_shell_job_finds_no_secret(stack: Composed, wanted: Wanted, victim: int) -> None:
    found = probed(stack, {"name": "shell probe", "run": f"cd /app && python -m probe '{json.dumps(wanted)}'"})
    assert set(found["found"]) == {"decoy"}, found["found"]
    assert found["foreign"] == []
    has_no_right(found)


def test_a_python_job_finds_no_secret_outside_of_its_own_process(stack: Composed, wanted: Wanted, victim: int) -> None:
    found = probed(
        stack,
        {"name": "python probe", "call": "probe:look", "params": {"wanted": wanted, "own_memory": False}},
    )
    assert set(found["found"]) == {"decoy"}, found["found"]
    assert found["foreign"] == []
    has_no_right(found)


def test_runs_at_the_same_time_have_different_users(stack: Composed, victim: int) -> None:
    stack.jobsched("apply", "-f", "-", given=json.dumps({"jobs": [{"name": "who", "run": "id -u"}]}))
    run = stack.start_run("who")
    stack.wait_for_end(run)
    mine = stack.output(run).strip()
    theirs = stack.inside("worker", "sh", "-c", "stat -c %u /proc/$(pgrep -x sleep || pidof sleep)").split()
    assert mine not in theirs and mine.isdigit()


def test_only_the_launcher_of_a_worker_keeps_a_capability(stack: Composed) -> None:
    script = "for s in /proc/[0-9]*/status; do awk '/^Name|^Uid|^CapEff/{printf \"%s \", $2}' $s; echo; done"
    lines = [line.split() for line in stack.inside("worker", "sh", "-c", script).splitlines() if line.strip()]
    celery = [line for line in lines if line[1] == "10001"]
    assert len(celery) >= 3
    assert all(line[2] == "0" * 16 for line in celery), lines


def test_a_worker_makes_user_namespaces_where_its_container_allows_them(stack: Composed) -> None:
    """By the options that docs/security.md names, given to `docker run`: docker-compose 1.29 does not know both."""
    [worker] = stack.run("docker", "ps", "--quiet", "--filter", "label=com.docker.compose.service=worker").split()
    [known] = json.loads(stack.run("docker", "inspect", worker))
    networks = list(known["NetworkSettings"]["Networks"])
    options = [
        *("--user=10001:10001", "--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined"),
        *("--cap-drop=ALL", "--security-opt=no-new-privileges:true", "--read-only", "--init"),
        *(f"--network={next(name for name in networks if name.endswith('servers'))}", f"--volumes-from={worker}"),
        *(f"--env={entry}" for entry in known["Config"]["Env"]),
        "--tmpfs=/tmp:exec,size=256m",
    ]
    # The other worker serves all queues of .env, and would take the run.
    other = f"celery@{known['Config']['Hostname']}"
    stack.inside("worker", "celery", "-A", "config", "control", "cancel_consumer", "namespaces", "-d", other)
    command = ["celery", "-A", "config", "worker", "--queues=namespaces", "--concurrency=1", "--loglevel=INFO"]
    stack.run("docker", "run", "--detach", "--name=namespaces", *options, "jobsched:team", *command)
    try:
        expected = "runs are kept together by: user-namespace"
        wait_for(lambda: expected in logs_of(stack, "namespaces"), timeout=300, what="a worker with user namespaces")
        look = "import os; print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit())[:3], os.getuid())"
        job = {"name": "namespaced", "run": f'python -c "{look}"', "queue": "namespaces"}
        stack.jobsched("apply", "-f", "-", given=json.dumps({"jobs": [job]}))
        run = stack.start_run("namespaced")
        assert stack.wait_for_end(run)["state"] == "succeeded", stack.output(run)
        assert stack.output(run).startswith("[1,")
        assert stack.output(run).rstrip().endswith("] 10001")
    finally:
        stack.run("docker", "rm", "--force", "namespaces")
        # The job stays, and doctor finds its queue served.
        stack.inside("worker", "celery", "-A", "config", "control", "add_consumer", "namespaces", "-d", other)


def logs_of(stack: Composed, name: str) -> str:
    return stack.run("docker", "logs", name, check=False)


# The database ---------------------------------------------------------------------------------------------


def test_the_role_of_the_database_owns_one_database_and_nothing_else(stack: Composed) -> None:
    rights = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls"
    assert stack.psql(f"SELECT {rights} FROM pg_roles WHERE rolname = 'jobsched'") == "f|f|f|f|f"
    assert stack.psql("SELECT datname FROM pg_database WHERE datdba = 'jobsched'::regrole") == "jobsched"
    assert stack.psql("SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = 'postgres'") == "t"


@pytest.mark.parametrize(
    ("database", "statement"),
    [
        ("postgres", "SELECT 1"),
        ("template1", "SELECT 1"),
        ("jobsched", "SELECT rolpassword FROM pg_authid"),
        ("jobsched", "SELECT pg_read_file('/etc/passwd')"),
        ("jobsched", "COPY (SELECT 1) TO PROGRAM 'true'"),
        ("jobsched", "CREATE DATABASE other"),
        ("jobsched", "CREATE ROLE other SUPERUSER"),
        ("jobsched", "ALTER SYSTEM SET fsync = off"),
    ],
)
def test_what_the_role_of_the_database_may_not_do(stack: Composed, database: str, statement: str) -> None:
    script = (
        "import sys, psycopg; from django.conf import settings; d = settings.DATABASES['default'];"
        "link = psycopg.connect(host=d['HOST'], user=d['USER'], password=d['PASSWORD'], dbname=sys.argv[1],"
        "autocommit=True); link.execute(sys.argv[2])"
    )
    told = stack.inside("web", "python", "-c", script, database, statement, check=False)
    assert "permission denied" in told, told


# The commands of the page ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["django-admin", "doctor"], ["python", "manage.py", "doctor"]])
@pytest.mark.parametrize("service", ["web", "beat"])
def test_doctor_finds_nothing_wrong(stack: Composed, service: str, command: list[str]) -> None:
    told = stack.inside(service, *command, "--all")
    assert "checks are fine." in told
    assert "connections to PostgreSQL" in told


def test_what_env_says_reaches_the_processes(stack: Composed) -> None:
    assert stack.psql("SHOW max_connections") == "60"
    script = (
        "import django; django.setup(); from jobs.conf import conf; c = conf();"
        "print(*(v.total_seconds() for v in (c.lease, c.heartbeat, c.stop_grace, c.idle_connection)))"
    )
    for service in ("web", "beat", "worker"):
        assert stack.inside(service, "python", "-c", script).split() == ["24.0", "6.0", "4.0", "5.0"]


def test_rabbitmq_may_open_as_many_files_as_it_needs_and_no_more_than_the_engine_allows(stack: Composed) -> None:
    script = "grep 'open files' /proc/1/limits"
    soft, hard = stack.inside("rabbitmq", "sh", "-c", script).split()[3:5]
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert int(soft) == int(hard) == min(65536, allowed)


def test_an_operator_gets_in_when_all_other_connections_are_used(stack: Composed) -> None:
    script = (
        "import sys, time, psycopg; from django.conf import settings; d = settings.DATABASES['default'];"
        "make = lambda: psycopg.connect(host=d['HOST'], user=d['USER'], password=d['PASSWORD'], dbname=d['NAME']);"
        "held = []\n"
        "try:\n"
        "    while True: held.append(make())\n"
        "except psycopg.OperationalError as error: print(error, flush=True)\n"
        "sys.stdin.read()"
    )
    command = ["docker-compose", "exec", "-T", "web", "python", "-c", script]
    with subprocess.Popen(command, cwd=stack.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdin and held.stdout
        assert "connection" in held.stdout.readline()
        assert (
            int(stack.psql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'jobsched'", "-d", "jobsched")) > 40
        )
        held.stdin.close()


def test_a_worker_that_is_stopped_ends_its_runs_after_the_stop_grace(stack: Composed) -> None:
    stack.jobsched("apply", "-f", "-", given=json.dumps({"jobs": [{"name": "long", "run": "sleep 600"}]}))
    run = stack.start_run("long")

    def state() -> str:
        return str(json.loads(stack.jobsched("show", str(run), "--json"))["state"])

    wait_for(lambda: state() == "running", timeout=300, what="the start of a long run")
    stack.compose("stop", "worker")
    shown = json.loads(stack.jobsched("show", str(run), "--json"))
    [ended] = shown["attempts"]
    assert ended["verdict"] == "handed_back", shown
    took = datetime.fromisoformat(ended["finished_at"]) - datetime.fromisoformat(ended["started_at"])
    assert took >= timedelta(seconds=4)
    stack.jobsched("cancel", str(run))
    stack.compose("start", "worker")
    wait_for(stack.is_healthy, timeout=300, what="the health of all containers")


def test_web_and_flower_answer_on_loopback_and_flower_requires_a_password(stack: Composed) -> None:
    assert net.fetch("http://127.0.0.1:8000/healthz", timeout_seconds=5).status == 200
    assert net.fetch("http://127.0.0.1:5555/", timeout_seconds=5).status == 401


def test_a_backup_can_be_brought_back(stack: Composed) -> None:
    stack.jobsched("apply", "-f", "-", given=json.dumps({"jobs": [{"name": "kept", "run": "true"}]}))
    dump = stack.folder / "jobsched.dump"
    stack.run("sh", "-c", f"docker-compose exec -T postgres pg_dump -U jobsched -Fc jobsched > {dump}")
    stack.compose("stop", "web", "beat", "worker", "flower")
    stack.inside("postgres", "dropdb", "-U", "postgres", "--force", "jobsched")
    stack.inside("postgres", "createdb", "-U", "postgres", "-O", "jobsched", "jobsched")
    stack.run("sh", "-c", f"docker-compose exec -T postgres pg_restore -U jobsched -d jobsched < {dump}")
    stack.up()
    stack.inside("web", "django-admin", "bootstrap", "--token-file", "/tmp/token")
    assert "kept" in stack.jobsched("jobs")


def test_everything_stops_in_order_and_in_time(stack: Composed) -> None:
    started = time.monotonic()
    names = [one["Name"] for one in stack.containers()]
    stack.compose("stop")
    assert time.monotonic() - started < 90
    states = json.loads(
        stack.run("docker", "inspect", "--format", "{{json .State}}", *names).replace("\n", ",")[:-1].join("[]")
    )
    # 137 is a container that was killed because it did not stop within its time.
    assert not [name for name, state in zip(names, states, strict=True) if state["ExitCode"] == 137]
