"""docker-compose.yml keeps its promises, and no container starts with a missing or well-known secret."""

from __future__ import annotations

import importlib
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobsched.domain.specs import JobSpec
from tests.unrun import needs

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SECRETS = [
    "JOBSCHED_SECRET_KEY",
    "JOBSCHED_DATABASE_PASSWORD",
    "JOBSCHED_BROKER_PASSWORD",
    "JOBSCHED_ADMIN_PASSWORD",
    "JOBSCHED_FLOWER_PASSWORD",
]
GOOD = "uV3xKq8-Zr7_mWp2LsY9tBn4Hd6Jc1Ge5Fa0"
SOUND = {
    "JOBSCHED_SECRET_KEY": GOOD,
    "JOBSCHED_DATABASE_URL": f"postgres://jobsched:{GOOD}@postgres:5432/jobsched",
    "JOBSCHED_BROKER_URL": f"amqp://jobsched:{GOOD}@rabbitmq:5672//",
}

each_service = pytest.mark.parametrize("name", SERVICES)


def is_one_shot(service: dict[str, Any]) -> bool:
    return bool(service["restart"] == "no")


# The compose file -----------------------------------------------------------------------------------------


def test_there_are_two_beats_two_workers_and_the_servers_they_need() -> None:
    assert set(SERVICES) == {
        *("secrets", "postgres", "rabbitmq", "migrate", "web", "beat", "worker", "flower"),
    }
    assert SERVICES["beat"]["deploy"]["replicas"] == "${JOBSCHED_BEATS:-2}"
    assert SERVICES["worker"]["deploy"]["replicas"] == "${JOBSCHED_WORKERS:-2}"


@each_service
def test_a_service_has_a_health_check_with_a_time_limit_or_runs_once(name: str) -> None:
    service = SERVICES[name]
    assert is_one_shot(service) != ("healthcheck" in service)
    if "healthcheck" in service:
        assert {"test", "interval", "timeout"} <= set(service["healthcheck"])


@each_service
def test_a_service_has_no_privileges_and_a_read_only_root(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "devices", "pid", "network_mode", "userns_mode"} & set(service)


@each_service
def test_a_service_is_limited_in_memory_and_processes(name: str) -> None:
    assert {"mem_limit", "pids_limit"} <= set(SERVICES[name])


def test_only_the_worker_and_the_writer_of_secrets_start_as_root_with_the_rights_they_need() -> None:
    rights = {name: service["cap_add"] for name, service in SERVICES.items() if "cap_add" in service}
    assert rights == {"secrets": ["CHOWN"], "worker": ["SETUID", "SETGID", "CHOWN", "KILL"]}
    users = {name: service["user"] for name, service in SERVICES.items() if "user" in service}
    assert users == {"secrets": "0:0", "worker": "0:0", "postgres": "postgres", "rabbitmq": "rabbitmq"}


@each_service
def test_no_service_but_the_writer_of_secrets_has_one_in_its_environment_or_command(name: str) -> None:
    service = SERVICES[name]
    text = yaml.safe_dump({key: value for key, value in service.items() if key not in ("depends_on", "build")})
    if name != "secrets":
        assert not re.search(r"\$\{\w*(PASSWORD|SECRET_KEY|ACCESS_KEY|DATABASE_URL|BROKER_URL)", text)
        assert not re.search(r"\$\{\w*(PASSWORD|SECRET_KEY|ACCESS_KEY)", " ".join(service.get("command", [])))
        for variable, value in service.get("environment", {}).items():
            if re.search("PASS|SECRET|AUTH|_URL(_FILE)?$|CONFIG_FILE|CREDENTIALS", variable) and "S3_" not in variable:
                assert str(value).startswith("/run/secrets/"), variable
    assert not any(isinstance(value, str) and GOOD in value for value in service.values())


def test_each_container_gets_only_the_secrets_that_it_needs() -> None:
    given = {
        name: sorted(volume.split(":")[0] for volume in service.get("volumes", []) if volume.startswith("secrets"))
        for name, service in SERVICES.items()
    }
    assert given == {
        "secrets": ["secrets", "secrets-admin", "secrets-flower", "secrets-postgres", "secrets-rabbitmq"],
        "postgres": ["secrets-postgres"],
        "rabbitmq": ["secrets-rabbitmq"],
        "migrate": ["secrets", "secrets-admin"],
        "web": ["secrets"],
        "beat": ["secrets"],
        "worker": ["secrets"],
        "flower": ["secrets", "secrets-flower"],
    }
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            assert not volume.startswith("secrets") or volume.endswith(":ro") or name == "secrets"


def test_every_secret_is_demanded_with_a_sentence_that_says_what_to_do() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for secret in SECRETS:
        assert text.count(f"${{{secret}:?run python3 deploy/new_env.py, which writes .env}}") == 1
        assert set(re.findall(rf"\{{{secret}:?-([^}}]*)\}}", text)) <= {""}


@each_service
def test_only_web_and_flower_are_published_and_on_loopback(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert bool(ports) == (name in {"web", "flower"})
    for port in ports:
        assert port.startswith(("127.0.0.1:", "${JOBSCHED_BIND:-127.0.0.1}:"))


def test_the_servers_are_on_a_network_without_a_way_out() -> None:
    assert COMPOSE["networks"]["servers"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == SERVICES["rabbitmq"]["networks"] == ["servers"]


def test_secrets_are_checked_before_a_server_keeps_one() -> None:
    for server in ("postgres", "rabbitmq"):
        assert SERVICES[server]["depends_on"] == {"secrets": {"condition": "service_completed_successfully"}}
    for process in ("web", "beat", "worker", "flower"):
        assert SERVICES[process]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


@pytest.mark.parametrize("process", ["web", "beat", "worker", "flower"])
def test_the_servers_are_stopped_after_the_processes_that_use_them(process: str) -> None:
    """Compose stops a service after those that name it themselves in `depends_on`."""
    assert {"postgres", "rabbitmq"} <= set(SERVICES[process]["depends_on"])


def test_the_image_is_built_from_the_lock_and_runs_as_an_ordinary_user() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    stages = [line for line in lines if line.startswith("FROM")]
    assert len(stages) == 2
    assert lines[-2:] == ["USER jobsched", 'ENTRYPOINT ["python", "/app/deploy/entrypoint.py"]']
    installs = [line for line in lines if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


# Settings -------------------------------------------------------------------------------------------------

GIVEN_OTHERWISE = {
    "JOBSCHED_DATABASE_URL": "a file",
    "JOBSCHED_BROKER_URL": "a file",
    "JOBSCHED_SECRET_KEY": "a file",
    "JOBSCHED_USER": "the user of the image",
    "JOBSCHED_DATA_DIR": "a volume of the image",
    "JOBSCHED_BEAT_HEALTH_FILE": "the health check of beat",
    "JOBSCHED_WORKER_HEALTH_FILE": "the health check of worker",
}
"""Settings of config/settings.py that are no operator's choice in compose."""


def documented_settings() -> dict[str, str]:
    """Return the settings of the table in config/settings.py with their defaults."""
    text = (ROOT / "config" / "settings.py").read_text()
    return dict(re.findall(r"^\| (JOBSCHED_\w+) \|.*\| ([^|]*) \|$", text, re.MULTILINE))


def settable() -> dict[str, str]:
    """Return the variables that containers get from .env, with the defaults of docker-compose.yml."""
    environments = [service.get("environment", {}) for name, service in SERVICES.items() if name != "secrets"]
    text = "\n".join(f"{name}: {value}" for each in environments for name, value in each.items())
    return dict(re.findall(r"^(\w+): \$\{\1:-([^}]*)\}", text, re.MULTILINE))


def test_every_setting_can_be_set_in_env() -> None:
    missing = set(documented_settings()) - set(settable()) - set(GIVEN_OTHERWISE)
    assert not missing, f"add them to x-environment in docker-compose.yml and to .env.example: {sorted(missing)}"


def test_defaults_of_compose_are_those_of_the_settings() -> None:
    literal = {
        name: text
        for name, text in documented_settings().items()
        if re.fullmatch(r"[\d-]+|true|false|auto|INFO|default", text) and name in settable()
    }
    assert len(literal) > 8
    assert {name: settable()[name] for name in literal} == literal


def test_a_worker_is_killed_only_after_its_stop_grace_and_the_grace_of_jobs() -> None:
    period = re.fullmatch(r"\$\{JOBSCHED_WORKER_STOP_PERIOD:-(\d+)m\}", SERVICES["worker"]["stop_grace_period"])
    assert period
    grace = JobSpec.model_fields["grace"].default.total_seconds()
    assert int(period[1]) * 60 >= float(settable()["JOBSCHED_STOP_GRACE_SECONDS"]) + 2 * grace


@each_service
def test_a_service_that_goes_on_has_more_time_to_stop_than_the_ten_seconds_of_docker(name: str) -> None:
    assert is_one_shot(SERVICES[name]) != ("stop_grace_period" in SERVICES[name])


def test_postgresql_allows_the_connections_that_env_names() -> None:
    command = SERVICES["postgres"]["command"]
    assert command == ["postgres", "-c", "max_connections=${JOBSCHED_POSTGRES_CONNECTIONS:-200}"]


@each_service
def test_limits_of_processes_are_numbers_for_docker_compose_1_29(name: str) -> None:
    assert isinstance(SERVICES[name]["pids_limit"], int)


@each_service
def test_no_service_asks_for_more_open_files_than_an_engine_may_allow(name: str) -> None:
    assert "ulimits" not in SERVICES[name]


@pytest.mark.parametrize(("hard", "expected"), [(1000, 1000), (200_000, 65536)])
def test_rabbitmq_lowers_its_open_files_and_starts_where_fewer_are_allowed(
    hard: int, expected: int, tmp_path: Path
) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < hard:
        hard, expected = most, min(most, expected)
    entry = tmp_path / "docker-entrypoint.sh"
    entry.write_text('#!/bin/sh\necho "$(ulimit -Sn) $(ulimit -Hn) $*"\n')
    entry.chmod(0o755)
    words = [
        word.replace("$$", "$") for word in (*SERVICES["rabbitmq"]["entrypoint"], *SERVICES["rabbitmq"]["command"])
    ]
    done = subprocess.run(
        ["prlimit", f"--nofile=512:{hard}", *words],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{expected} {expected} rabbitmq-server\n", "")


def test_the_image_has_the_command_line_that_messages_name() -> None:
    """`python manage.py doctor`, `manage.py migrate`."""
    assert "COPY manage.py /app/" in (ROOT / "Dockerfile").read_text()
    assert "!manage.py" in (ROOT / ".dockerignore").read_text().splitlines()


# What compose itself says ---------------------------------------------------------------------------------


def compose_command() -> list[str] | None:
    """The compose that this machine has: the plugin, else the program of old."""
    if shutil.which("docker"):
        found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if found.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def compose_config(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = compose_command()
    if command is None:
        needs("docker-compose", "`apt-get install docker-compose` provides it")
    shutil.copy(ROOT / "docker-compose.yml", folder)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("JOBSCHED_")}
    return subprocess.run(
        [*command, "-f", "docker-compose.yml", "config"],
        cwd=folder,
        env={**environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_compose_accepts_the_file_when_every_secret_is_set(tmp_path: Path) -> None:
    answer = compose_config(tmp_path, **dict.fromkeys(SECRETS, GOOD))
    assert answer.returncode == 0, answer.stderr
    resolved = yaml.safe_load(answer.stdout)["services"]
    assert resolved["beat"]["deploy"]["replicas"] == 2
    assert GOOD not in yaml.safe_dump({name: one for name, one in resolved.items() if name != "secrets"})
    assert resolved["secrets"]["environment"]["JOBSCHED_DATABASE_PASSWORD"] == GOOD


def test_what_env_says_reaches_the_containers(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "".join(f"{name}={GOOD}\n" for name in SECRETS)
        + "JOBSCHED_LEASE_SECONDS=77\nJOBSCHED_POSTGRES_CONNECTIONS=333\nJOBSCHED_WORKER_STOP_PERIOD=5m\n"
    )
    answer = compose_config(tmp_path)
    assert answer.returncode == 0, answer.stderr
    resolved = yaml.safe_load(answer.stdout)["services"]
    for name in ("migrate", "web", "beat", "worker", "flower"):
        assert str(resolved[name]["environment"]["JOBSCHED_LEASE_SECONDS"]) == "77"
    assert "max_connections=333" in resolved["postgres"]["command"]
    assert resolved["worker"]["stop_grace_period"] in ("5m", "5m0s")


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_refuses_when_a_secret_is_missing(missing: str, tmp_path: Path) -> None:
    answer = compose_config(tmp_path, **{name: GOOD for name in SECRETS if name != missing})
    assert answer.returncode != 0
    assert "run python3 deploy/new_env.py, which writes .env" in answer.stderr


# The entry check ------------------------------------------------------------------------------------------


def enter(*command: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Start `command` as a container would, with sound secrets but for `changes` (None takes one away)."""
    environ = {"PATH": os.environ["PATH"], **SOUND, **changes}
    return subprocess.run(
        [sys.executable, str(ROOT / "deploy/entrypoint.py"), *command],
        env={name: value for name, value in environ.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_command_takes_the_place_of_the_check() -> None:
    assert enter("echo", "started").stdout == "started\n"
    assert enter("sh", "-c", "exit 7").returncode == 7


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("JOBSCHED_SECRET_KEY", None, "JOBSCHED_SECRET_KEY is missing"),
        ("JOBSCHED_SECRET_KEY", "", "JOBSCHED_SECRET_KEY is missing"),
        ("JOBSCHED_SECRET_KEY", "changeme", "JOBSCHED_SECRET_KEY is a well-known default"),
        ("JOBSCHED_SECRET_KEY", f"django-insecure-{GOOD}", "JOBSCHED_SECRET_KEY is a well-known default"),
        ("JOBSCHED_SECRET_KEY", "x" * 50, "JOBSCHED_SECRET_KEY is a well-known default"),
        ("JOBSCHED_SECRET_KEY", GOOD[:31], "JOBSCHED_SECRET_KEY is shorter than 32 characters"),
        ("JOBSCHED_DATABASE_URL", None, "JOBSCHED_DATABASE_URL is not set"),
        ("JOBSCHED_DATABASE_URL", "postgres://db/x", "The password in JOBSCHED_DATABASE_URL is missing"),
        (
            "JOBSCHED_DATABASE_URL",
            "postgres://u:postgres@db/x",
            "JOBSCHED_DATABASE_URL is a well-known default",
        ),
        ("JOBSCHED_DATABASE_URL", "postgres://u:Change_Me_123@db/x", "is a well-known default"),
        ("JOBSCHED_DATABASE_URL", "postgres://u:p%61ssword@db/x", "is a well-known default"),
        ("JOBSCHED_DATABASE_URL", "postgres://u:[@db/x", "JOBSCHED_DATABASE_URL is not a URL"),
        ("JOBSCHED_BROKER_URL", "amqp://guest:guest@mq//", "JOBSCHED_BROKER_URL is a well-known default"),
        ("JOBSCHED_BROKER_URL", "amqp://u:hunter2@mq//", "JOBSCHED_BROKER_URL is shorter than 12"),
        ("JOBSCHED_DATABASE_PASSWORD", "p@ss/word#of:mine", "JOBSCHED_DATABASE_PASSWORD stands inside a URL"),
        ("JOBSCHED_BROKER_PASSWORD", f"{GOOD}\n", "JOBSCHED_BROKER_PASSWORD stands inside a URL"),
        ("JOBSCHED_ADMIN_PASSWORD", "admin", "JOBSCHED_ADMIN_PASSWORD is a well-known default"),
        ("AWS_SECRET_ACCESS_KEY", "minioadmin", "AWS_SECRET_ACCESS_KEY is a well-known default"),
        ("FLOWER_BASIC_AUTH", "admin:flower", "FLOWER_BASIC_AUTH is a well-known default"),
        ("FLOWER_BASIC_AUTH", "admin:", "FLOWER_BASIC_AUTH is missing"),
        ("FLOWER_BASIC_AUTH", GOOD, "Flower needs a password"),
        ("FLOWER_BASIC_AUTH", f"admin:{GOOD},a:b", "Flower needs a password"),
    ],
)
def test_a_container_refuses_a_missing_or_default_secret(name: str, value: str | None, sentence: str) -> None:
    answer = enter("echo", "started", **{name: value})
    assert answer.returncode == 78
    assert answer.stdout == ""
    assert sentence in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert GOOD not in answer.stderr


def test_every_fault_is_told_at_once() -> None:
    answer = enter("echo", JOBSCHED_SECRET_KEY=None, JOBSCHED_DATABASE_URL=None, JOBSCHED_BROKER_URL=None)
    assert len(answer.stderr.splitlines()) == 3


def test_flower_is_refused_without_a_password() -> None:
    answer = enter("python", "-m", "config.flower")
    assert answer.returncode == 78
    assert "Flower needs a password" in answer.stderr


def test_secrets_in_files_are_checked_as_well(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("changeme\n")
    answer = enter("echo", "started", JOBSCHED_SECRET_KEY=None, JOBSCHED_SECRET_KEY_FILE=str(file))
    assert (answer.returncode, answer.stdout) == (78, "")
    assert "JOBSCHED_SECRET_KEY is a well-known default" in answer.stderr
    file.write_text(f"{GOOD}\n")
    assert enter("echo", "started", JOBSCHED_SECRET_KEY=None, JOBSCHED_SECRET_KEY_FILE=str(file)).stdout == "started\n"


def test_a_file_of_a_secret_that_cannot_be_read_is_one_sentence() -> None:
    answer = enter("echo", "started", JOBSCHED_SECRET_KEY=None, JOBSCHED_SECRET_KEY_FILE="/nowhere/key")
    assert answer.returncode == 78
    assert answer.stderr == (
        "JOBSCHED_SECRET_KEY_FILE names /nowhere/key, which does not exist; create the file, or correct the name.\n"
    )


def test_flower_may_take_its_password_from_a_configuration_file() -> None:
    assert enter("echo", "flower", "--conf=/run/secrets/flower/flowerconfig.py").returncode == 0


# Writing secrets ------------------------------------------------------------------------------------------


@pytest.fixture
def write_secrets(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program of the container `secrets`, as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "deploy"))
    return importlib.import_module("write_secrets")


PASSWORDS = {
    **dict.fromkeys(SECRETS, GOOD),
    "JOBSCHED_DATABASE_PASSWORD": f"db-{GOOD}",
    "JOBSCHED_BROKER_PASSWORD": f"mq-{GOOD}",
}


def test_addresses_are_made_of_passwords_unless_they_are_given(write_secrets: Any) -> None:
    made = write_secrets.complete(PASSWORDS)
    assert made["JOBSCHED_DATABASE_URL"] == f"postgres://jobsched:db-{GOOD}@postgres:5432/jobsched"
    assert made["JOBSCHED_BROKER_URL"] == f"amqp://jobsched:mq-{GOOD}@rabbitmq:5672//"
    given = write_secrets.complete({**PASSWORDS, "JOBSCHED_DATABASE_URL": "postgres://u:p@elsewhere/x"})
    assert given["JOBSCHED_DATABASE_URL"] == "postgres://u:p@elsewhere/x"


def test_each_folder_has_what_its_reader_takes(write_secrets: Any) -> None:
    made = {(one.folder, one.name): one for one in write_secrets.files(write_secrets.complete(PASSWORDS))}
    assert made["flower", "flowerconfig.py"].text == f'basic_auth = ["admin:{GOOD}"]'
    assert made["rabbitmq", "rabbitmq.conf"].text == f"default_user = jobsched\ndefault_pass = mq-{GOOD}"
    assert made["postgres", "jobsched-password"].text == f"db-{GOOD}"
    assert made["jobsched", "aws-credentials"].text == ""
    assert {one.group for one in made.values() if one.folder in ("postgres", "rabbitmq")} == {999}
    assert {one.group for one in made.values() if one.folder in ("jobsched", "admin", "flower")} == {10001}
    keys = {"AWS_ACCESS_KEY_ID": "the-id", "AWS_SECRET_ACCESS_KEY": "the-key"}
    [aws] = [one for one in write_secrets.files(write_secrets.complete({**PASSWORDS, **keys})) if "aws" in one.name]
    assert aws.text == "[default]\naws_access_key_id = the-id\naws_secret_access_key = the-key"


def test_a_file_is_written_for_its_group_alone_and_replaced_in_one_step(write_secrets: Any, tmp_path: Path) -> None:
    (tmp_path / "flower").mkdir()
    group = os.getegid()
    for text in ("first", "second"):
        write_secrets.write(write_secrets.SecretFile(folder="flower", name="x", group=group, text=text), tmp_path)
    file = tmp_path / "flower" / "x"
    assert file.read_text() == "second\n"
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o440, 0o750)
    assert [one.name for one in file.parent.iterdir()] == ["x"]


# Writing .env ---------------------------------------------------------------------------------------------


def new_env(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "deploy/new_env.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=False)


def read_env(file: Path) -> dict[str, str]:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_a_new_env_file_has_secrets_that_every_check_accepts(tmp_path: Path) -> None:
    assert new_env(folder=tmp_path).returncode == 0
    values = read_env(tmp_path / ".env")
    secrets = [values[name] for name in SECRETS]
    assert len(set(secrets)) == len(SECRETS)
    answer = enter(
        "true",
        JOBSCHED_SECRET_KEY=values["JOBSCHED_SECRET_KEY"],
        JOBSCHED_DATABASE_URL=f"postgres://jobsched:{values['JOBSCHED_DATABASE_PASSWORD']}@postgres/jobsched",
        JOBSCHED_BROKER_URL=f"amqp://jobsched:{values['JOBSCHED_BROKER_PASSWORD']}@rabbitmq//",
        JOBSCHED_DATABASE_PASSWORD=values["JOBSCHED_DATABASE_PASSWORD"],
        JOBSCHED_BROKER_PASSWORD=values["JOBSCHED_BROKER_PASSWORD"],
        JOBSCHED_ADMIN_PASSWORD=values["JOBSCHED_ADMIN_PASSWORD"],
        FLOWER_BASIC_AUTH=f"admin:{values['JOBSCHED_FLOWER_PASSWORD']}",
    )
    assert (answer.returncode, answer.stderr) == (0, "")


def test_a_new_env_file_can_be_read_by_its_owner_only_and_replaces_none(tmp_path: Path) -> None:
    assert new_env("my.env", folder=tmp_path).returncode == 0
    file = tmp_path / "my.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_text()
    again = new_env("my.env", folder=tmp_path)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert file.read_text() == before


def test_the_example_holds_no_secret_and_every_variable_that_compose_reads() -> None:
    example = read_env(ROOT / ".env.example")
    assert all(example[name] == "" for name in SECRETS)
    read = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert read - {"JOBSCHED_VERSION"} == set(example)
