"""Folders are removed whatever the work made of them, and nothing that a link leads to."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from jobsched.domain.outcomes import Verdict
from jobsched.engine import Slot
from jobsched.shim import workspace
from jobsched.shim.lease import lease_clock
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, shell

DEEP = 1_500
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


def nest(folder: Path, levels: int) -> None:
    """Make folders within folders, with a file in each: their path is longer than any call accepts."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.mkdir("folder", dir_fd=here)
        inner = os.open("folder", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def test_a_tree_deeper_than_recursion_paths_and_descriptors_allow(folder: Path) -> None:
    nest(folder, DEEP)
    workspace.remove(str(folder))
    assert not folder.exists()


def test_a_tree_of_many_entries(folder: Path) -> None:
    for outer in range(20):
        (folder / str(outer)).mkdir()
        for inner in range(10):
            (folder / str(outer) / str(inner)).mkdir()
            (folder / str(outer) / f"{inner}.file").touch()
    workspace.remove(str(folder))
    assert not folder.exists()


def test_no_link_is_followed(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    (outside / "kept").touch()
    (outside / "inner").chmod(0o500)
    for number, target in enumerate((outside, outside / "inner", outside / "kept", tmp_path / "missing", Path("/"))):
        (folder / f"link{number}").symlink_to(target)
    workspace.remove(str(folder))
    assert not folder.exists()
    assert (outside / "kept").exists()
    assert stat.S_IMODE((outside / "inner").stat().st_mode) == 0o500


def renamed_with_a_link(folder: Path, elsewhere: Path, outside: Path) -> None:
    folder.rename(elsewhere / "renamed")
    folder.symlink_to(outside)


def renamed_with_a_file(folder: Path, elsewhere: Path, outside: Path) -> None:
    folder.rename(elsewhere / "renamed")
    folder.write_text("in its place")


def renamed_with_a_folder(folder: Path, elsewhere: Path, outside: Path) -> None:
    folder.rename(elsewhere / "renamed")
    (folder / "inner").mkdir(parents=True)


def renamed_and_locked(folder: Path, elsewhere: Path, outside: Path) -> None:
    folder.chmod(0)
    folder.rename(elsewhere / "renamed")


def removed(folder: Path, elsewhere: Path, outside: Path) -> None:
    (folder / "file").unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    "change", [renamed_with_a_link, renamed_with_a_file, renamed_with_a_folder, renamed_and_locked, removed]
)
def test_a_folder_that_was_replaced(folder: Path, tmp_path: Path, change: Callable[[Path, Path, Path], None]) -> None:
    elsewhere, outside = tmp_path / "elsewhere", tmp_path / "outside"
    elsewhere.mkdir()
    outside.mkdir()
    (outside / "kept").touch()
    (folder / "file").touch()
    held = workspace.hold(str(folder))
    change(folder, elsewhere, outside)
    workspace.remove(str(folder), held=held)
    assert not folder.exists() and not folder.is_symlink()
    assert list(elsewhere.iterdir()) == []
    assert (outside / "kept").exists()
    with pytest.raises(OSError):
        os.fstat(held)


def lock_and_remove(folder: Path) -> None:
    for name in ("a/b/c", "d"):
        (folder / name).mkdir(parents=True)
    for name in ("a/b/file", "d/file"):
        (folder / name).touch()
    for name, mode in (("a/b/c", 0), ("a/b", 0), ("a", 0o100), ("d", 0o400), (".", 0o500)):
        (folder / name).chmod(mode)
    workspace.remove(str(folder))


def test_folders_that_deny_everything_to_their_owner() -> None:
    """Root is denied nothing, so this is tried by a user who is."""
    with tempfile.TemporaryDirectory() as parent:  # not of pytest, which lets nobody else enter its own
        folder = Path(parent, "work")
        folder.mkdir()
        if os.geteuid() == 0:
            for path in (folder, folder.parent):
                os.chown(path, NOBODY, NOBODY)
        child = os.fork()
        if child == 0:
            try:
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(NOBODY)
                    os.setuid(NOBODY)
                lock_and_remove(folder)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not folder.exists()


def test_a_slot_that_starts_clears_up_a_deep_tree_after_one_that_was_killed(tmp_path: Path) -> None:
    stale = tmp_path / "slot-killed"
    stale.mkdir()
    (stale / "lock").touch()
    nest(stale, DEEP)
    slot = Slot(workspace_dir=tmp_path)
    slot.perform(shell("true"), ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)
    slot.close()
    assert list(tmp_path.iterdir()) == []


NEST = "for i in $(seq 25); do mkdir -p $(printf 'd/%.0s' $(seq 50)); cd $(printf 'd/%.0s' $(seq 50)); done"
COMMANDS = {
    "deep": NEST,
    "renamed": 'cd ..; mv "$OLDPWD" "$OLDPWD.moved"; ln -s /etc "$OLDPWD"; touch beside; mkdir -p more/and/more',
    "locked": "mkdir -p a/b; touch a/b/c; chmod 000 a/b a; chmod 000 .",
    "gone": 'cd ..; rm -r "$OLDPWD"',
}


@pytest.mark.parametrize("isolation", ["namespace", "subreaper"])
@pytest.mark.parametrize("how", COMMANDS)
def test_a_run_succeeds_once_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: str, how: str
) -> None:
    monkeypatch.setenv("JOBSCHED_ISOLATION", isolation)
    with Slot(workspace_dir=tmp_path) as slot:
        report = slot.perform(shell(COMMANDS[how]), ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)
        assert (report.outcome.verdict, report.outcome.reason) == (Verdict.SUCCEEDED, ""), report.output
        [own] = tmp_path.iterdir()
        assert [entry.name for entry in own.iterdir()] == ["lock"]
        shim = slot.shim
        slot.perform(shell("true"), ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)
        assert slot.shim is shim, "the shim ended with the run before"
    assert list(tmp_path.iterdir()) == []
