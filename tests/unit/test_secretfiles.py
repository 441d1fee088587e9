"""A secret comes from a variable or from a file; what is wrong with either is one sentence without the secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from jobsched.domain.errors import InvalidInput
from jobsched.secretfiles import resolved, secret
from tests.unrun import needs_root

ROOT = Path(__file__).resolve().parents[2]
URL = "postgres://jobsched:hush-hush@db.example.com/jobsched"
COMPLETE = {
    "JOBSCHED_DATABASE_URL": "postgres://u:p@127.0.0.1:1/none",
    "JOBSCHED_BROKER_URL": "amqp://u:p@127.0.0.1:1//",
    "JOBSCHED_SECRET_KEY": "k" * 20 + "e" * 20,
}


def test_a_variable_is_the_secret_itself() -> None:
    assert secret("A_KEY", {"A_KEY": "value"}) == "value"
    assert secret("A_KEY", {"A_KEY": "value", "A_KEY_FILE": ""}) == "value"
    assert secret("A_KEY", {}) is None


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_file_is_read_without_the_end_of_its_line(ending: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b" val\xc3\xbce \t" + ending.encode())
    assert secret("A_KEY", {"A_KEY_FILE": str(file)}) == " valüe \t"
    assert secret("A_KEY", {"A_KEY_FILE": str(file), "A_KEY": ""}) == " valüe \t"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty; write the secret into it"),
        (b" \n", "is empty; write the secret into it"),
        (b"hush-hush\nmore\n", "has more than one line"),
        (b"hush\0hush", "has more than one line"),
        (b"hush\xff", "is not UTF-8 text"),
        (b"h" * 70_000, "is longer than 64 KiB"),
    ],
)
def test_a_file_that_does_not_hold_one_line_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as refused:
        secret("A_KEY", {"A_KEY_FILE": str(file)})
    assert str(refused.value).startswith(f"A_KEY_FILE names {file}, which {sentence}")
    assert "hush" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"A_KEY_FILE names /nowhere/key, which does not exist; create the file"):
        secret("A_KEY", {"A_KEY_FILE": "/nowhere/key"})
    with pytest.raises(InvalidInput, match=r"which is a folder; name a file in it"):
        secret("A_KEY", {"A_KEY_FILE": str(tmp_path)})
    with pytest.raises(InvalidInput, match=r"which cannot be read \(Not a directory\)"):
        secret("A_KEY", {"A_KEY_FILE": "/dev/null/key"})
    with pytest.raises(InvalidInput, match=r"which cannot be read"):
        secret("A_KEY", {"A_KEY_FILE": "a\0b"})


@needs_root("only root can make a file and then read it as another user")
def test_a_file_that_another_user_owns_is_refused() -> None:
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder, "key")
        file.write_text("hush-hush")
        file.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(
                InvalidInput, match=r"cannot be read \(Permission denied\); let the user of this process"
            ):
                secret("A_KEY", {"A_KEY_FILE": str(file)})
        finally:
            os.seteuid(0)


def test_both_at_once_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hush-hush")
    with pytest.raises(InvalidInput, match=r"^A_KEY and A_KEY_FILE are both set; leave one of them out\.$"):
        secret("A_KEY", {"A_KEY": "other", "A_KEY_FILE": str(file)})


def test_an_environment_can_be_resolved_for_programs_that_read_variables_only(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("value")
    assert resolved({"A_FILE": str(file), "B": "b", "C_FILE": "kept"}, ["A", "B"]) == {
        "A": "value",
        "B": "b",
        "C_FILE": "kept",
    }


# The settings ---------------------------------------------------------------------------------------------


def settings_say(expression: str, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Load config/settings.py in a process with just these variables, and print `expression` of it."""
    return subprocess.run(
        [sys.executable, "-c", f"import config.settings as s; print({expression})"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_secret_of_the_settings_can_be_a_file(tmp_path: Path) -> None:
    secrets = {**COMPLETE, "AWS_ACCESS_KEY_ID": "the-id", "AWS_SECRET_ACCESS_KEY": "the-key"}
    environ = {"JOBSCHED_S3_BUCKET": "runs"}
    for name, value in secrets.items():
        (tmp_path / name).write_text(f"{value}\n")
        environ[f"{name}_FILE"] = str(tmp_path / name)
    options = "s.STORAGES['jobsched']['OPTIONS']"
    answer = settings_say(
        f"[s.DATABASES['default']['PASSWORD'], s.CELERY_BROKER_URL, s.SECRET_KEY, "
        f"{options}['access_key'], {options}['secret_key']]",
        environ,
    )
    wanted = ["p", COMPLETE["JOBSCHED_BROKER_URL"], COMPLETE["JOBSCHED_SECRET_KEY"], "the-id", "the-key"]
    assert answer.stdout == f"{wanted}\n", answer.stderr


@pytest.mark.parametrize("name", [*COMPLETE, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_wrong_file_stops_the_process_with_a_sentence(name: str) -> None:
    environ = {variable: value for variable, value in COMPLETE.items() if variable != name}
    answer = settings_say("1", {**environ, "JOBSCHED_S3_BUCKET": "runs", f"{name}_FILE": "/nowhere/secret"})
    assert answer.returncode != 0
    assert answer.stderr.splitlines()[-1].endswith(
        f"{name}_FILE names /nowhere/secret, which does not exist; create the file, or correct the name."
    )


@pytest.mark.parametrize("name", COMPLETE)
def test_a_missing_secret_stops_the_process_and_both_ways_are_named(name: str) -> None:
    answer = settings_say("1", {variable: value for variable, value in COMPLETE.items() if variable != name})
    assert answer.returncode != 0
    assert f"{name} is not set: set it, or name a file that holds it in {name}_FILE" in answer.stderr.splitlines()[-1]
