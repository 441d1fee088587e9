"""The data folder keeps secrets private, and lets one stack run in it."""

from __future__ import annotations

import json
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from jobsched.domain.errors import Conflict, InvalidInput
from jobsched.local.account import choose_user
from jobsched.local.state import DataFolder, Secrets, StackInfo
from tests.forks import as_user
from tests.unrun import needs_root

as_root = needs_root("only root can have processes of other users")
STACK = StackInfo(url="http://127.0.0.1:8000", token="t", pid=1, broker="rabbitmq")


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path / ".jobsched")
    folder.create()
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_that_users_share_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(InvalidInput, match="name a folder inside it"):
        DataFolder(tmp_path).create()
    assert mode(tmp_path) == 0o1777
    assert not list(tmp_path.iterdir())


def test_secrets_are_made_once_and_kept(folder: DataFolder) -> None:
    made = folder.secrets()
    assert folder.secrets() == made
    assert len(made.secret_key) >= 32
    assert len(set(vars(made).values())) == len(vars(made))


def test_secrets_that_are_asked_for_at_the_same_time_are_the_same(folder: DataFolder) -> None:
    together = Barrier(8)

    def ask(_: int) -> Secrets:
        together.wait(30)
        return folder.secrets()

    for _ in range(5):
        (folder.root / "secrets.json").unlink(missing_ok=True)
        with ThreadPoolExecutor(8) as pool:
            assert len({answer.secret_key for answer in pool.map(ask, range(8))}) == 1


def test_everything_in_the_folder_is_for_its_owner_only(folder: DataFolder) -> None:
    folder.secrets()
    with folder.claimed():
        folder.publish(STACK)
    for name in ("secrets.json", "stack.json", "lock"):
        assert mode(folder.root / name) == 0o600, name
    for path in (folder.logs, folder.service):
        assert mode(path) == 0o700, path
    # Where runs have other users, these pass through to their workspaces, but may not list it.
    assert mode(folder.root) == (0o711 if os.geteuid() == 0 else 0o700)


@as_root
def test_a_run_reads_and_writes_nothing_but_workspaces(folder: DataFolder) -> None:
    folder.secrets()
    with folder.claimed():
        folder.publish(STACK)
    (folder.logs / "web.log").write_text("text")
    folder.token_file.write_text("token")

    def check() -> None:
        for name in ("", "log", "service", "output", "workspaces"):
            with pytest.raises(PermissionError):
                list((folder.root / name).iterdir())
            with pytest.raises(PermissionError):
                (folder.root / name / "mine").write_text("")
        for name in ("secrets.json", "stack.json", "lock", "log/web.log", "service/api-token"):
            with pytest.raises(PermissionError):
                (folder.root / name).read_text()

    as_user(60_900, check)


@as_root
def test_a_folder_of_an_earlier_version_is_given_to_its_users(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(folder.root)
    (folder.root / "output" / "deep").mkdir(parents=True)
    (folder.root / "output" / "deep" / "kept").write_text("output")
    (folder.root / "log").mkdir()
    (folder.root / "api-token").write_text("token")
    folder.root.chmod(0o700)
    monkeypatch.setenv("JOBSCHED_USER", "60901:60901")
    folder.create()

    def check() -> None:
        assert (folder.root / "output" / "deep" / "kept").read_text() == "output"
        assert folder.token_file.read_text() == "token"
        folder.token_file.with_name("beat-schedule").write_text("")

    as_user(60_901, check)


@as_root
def test_in_a_users_own_checkout_the_folder_is_that_users(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.rmtree(folder.root)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    os.chown(checkout, 60_902, 60_902)
    monkeypatch.setattr("jobsched.local.account.PROJECT", checkout)
    environ: dict[str, str] = {}
    choose_user(environ)
    assert environ == {"JOBSCHED_USER": "60902:60902"}
    monkeypatch.setenv("JOBSCHED_USER", environ["JOBSCHED_USER"])
    monkeypatch.setenv("JOBSCHED_DATA_DIR", str(folder.root))
    folder.create()
    made = folder.secrets()

    def check() -> None:
        assert folder.secrets() == made
        assert folder.stack() == STACK
        folder.create()

    with folder.claimed():
        folder.publish(STACK)
        as_user(60_902, check)


@as_root
def test_the_user_that_was_named_is_taken_before_the_owner_of_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    os.chown(tmp_path, 60_902, 60_902)
    monkeypatch.setattr("jobsched.local.account.PROJECT", tmp_path)
    environ = {"JOBSCHED_USER": "60903:60904"}
    choose_user(environ)
    assert environ == {"JOBSCHED_USER": "60903:60904"}


def test_a_secret_that_an_older_version_did_not_have_is_added(folder: DataFolder) -> None:
    made = folder.secrets()
    path = folder.root / "secrets.json"
    kept = json.loads(path.read_text())
    del kept["flower_password"]
    path.write_text(json.dumps(kept))
    again = folder.secrets()
    assert again.secret_key == made.secret_key
    assert again.flower_password == folder.secrets().flower_password


def test_secrets_do_not_show_when_printed(folder: DataFolder) -> None:
    made = folder.secrets()
    assert made.admin_password not in repr(made)
    assert "token='t'" not in repr(STACK)


def test_damaged_state_is_named(folder: DataFolder) -> None:
    (folder.root / "secrets.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"secrets\.json is damaged"):
        folder.secrets()


def test_a_second_stack_is_told_where_the_first_one_is(folder: DataFolder) -> None:
    with folder.claimed():
        folder.publish(STACK)
        with pytest.raises(Conflict, match=r"already running in .* at http://127\.0\.0\.1:8000"), folder.claimed():
            pass
    with folder.claimed():
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be made"):
        DataFolder(tmp_path / "file" / "data").create()
