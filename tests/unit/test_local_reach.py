"""Folders that only root may enter become usable for others, in a mount namespace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobsched.domain.errors import Unavailable
from jobsched.local import reach
from jobsched.shim.users import User
from tests.forks import as_user, in_child
from tests.unrun import needs_root

pytestmark = needs_root("only root may make mount namespaces and change users")
STRANGER = 60_900


def made(path: Path, *, mode: int, content: str = "content") -> Path:
    """Make a file, and the folders above it that are missing, with this mode; folders can be entered as well."""
    folders = [folder for folder in reversed(path.parents) if not folder.exists()]
    for folder in folders:
        folder.mkdir()
        folder.chmod(mode | (mode & 0o444) >> 2)
    path.write_text(content)
    path.chmod(mode)
    return path


def seen_by_a_stranger(check: Callable[[], None], *, read: list[Path], passed: tuple[Path, ...] = ()) -> None:
    """Open the ways in a process of its own, and run `check` there as a user who has no rights."""

    def opened() -> None:
        reach.open_ways(read=read, passed=passed, users=[User(STRANGER, STRANGER)], own=read)
        as_user(STRANGER, check)

    in_child(opened)


def refuses(act: Callable[[], object]) -> None:
    with pytest.raises((PermissionError, FileNotFoundError)):
        act()


def test_what_is_needed_is_readable_at_its_place_and_its_neighbours_are_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    needed = made(home / "tools" / "python" / "bin" / "python", mode=0o644)
    made(home / "tools" / "other", mode=0o644)
    made(home / "notes", mode=0o644)
    home.chmod(0o700)

    def check() -> None:
        assert needed.read_text() == "content"
        refuses((home / "notes").read_text)
        refuses((home / "tools" / "other").read_text)
        refuses(lambda: list(home.iterdir()))

    seen_by_a_stranger(check, read=[home / "tools" / "python"])
    as_user(STRANGER, lambda: refuses(needed.read_text))  # outside everything is as it was
    assert (home / "notes").read_text() == "content"


def test_a_needed_folder_that_is_closed_itself_shows_its_content_but_not_its_private_parts(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    module = made(checkout / "package" / "module.py", mode=0o644)
    script = made(checkout / "manage.py", mode=0o644)
    made(checkout / "README", mode=0o644)
    key = made(checkout / "key", mode=0o600)
    for name in (".git/config", ".env"):
        made(checkout / name, mode=0o644)
    (checkout / "link").symlink_to("package/module.py")
    checkout.chmod(0o700)

    def check() -> None:
        assert module.read_text() == script.read_text() == (checkout / "link").read_text() == "content"
        assert sorted(path.name for path in checkout.iterdir()) == ["README", "key", "link", "manage.py", "package"]
        refuses(key.read_text)
        refuses(lambda: (checkout / "mine").write_text(""))

    seen_by_a_stranger(check, read=[checkout])


def test_a_checkout_made_with_umask_077_is_readable_and_stays_as_it_is(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    module = made(checkout / "package" / "deep" / "module.py", mode=0o600)
    program = made(checkout / "bin" / "program", mode=0o700, content="#!/bin/sh\necho it runs\n")
    script = made(checkout / "manage.py", mode=0o600)
    hidden = made(checkout / ".jobsched" / "secrets", mode=0o600)

    def check() -> None:
        assert module.read_text() == script.read_text() == "content"
        assert subprocess.run([program], capture_output=True, check=True).stdout == b"it runs\n"
        refuses(hidden.read_text)
        refuses(lambda: module.write_text("mine"))

    seen_by_a_stranger(check, read=[checkout])
    assert {path.stat().st_mode & 0o777 for path in (module, script, hidden)} == {0o600}
    as_user(STRANGER, lambda: refuses(module.read_text))


def test_packages_with_private_files_in_an_open_folder_are_readable(tmp_path: Path) -> None:
    """The checkout was made with one umask, the packages with another."""
    tree = tmp_path / "tree"
    made(tree / "README", mode=0o644)
    module = made(tree / "packages" / "module.py", mode=0o600)
    assert tree.stat().st_mode & 0o777 == 0o755

    seen_by_a_stranger(lambda: module.read_text() and None, read=[tree, tree / "packages"])


def test_a_data_folder_in_a_closed_checkout_can_be_passed_and_written_by_its_owners(tmp_path: Path) -> None:
    data = tmp_path / "checkout" / ".jobsched"
    workspace = data / "workspaces" / "of-run"
    workspace.mkdir(parents=True)
    data.chmod(0o711)
    (data / "secrets").write_text("secret")
    (data / "secrets").chmod(0o600)
    os.chown(workspace, STRANGER, STRANGER)
    (tmp_path / "checkout").chmod(0o700)

    def check() -> None:
        (workspace / "result").write_text("done")
        refuses((data / "secrets").read_text)
        refuses(lambda: list(data.iterdir()))

    seen_by_a_stranger(check, read=[], passed=(data,))
    assert (workspace / "result").read_text() == "done"


def test_the_working_directory_and_path_lead_to_what_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    made(home / "checkout" / "module.py", mode=0o644)
    made(home / "shims" / "python3", mode=0o755)
    home.chmod(0o700)
    monkeypatch.setenv("PATH", f"/usr/bin:{home / 'shims'}:/bin:{tmp_path / 'missing'}")
    monkeypatch.chdir(home / "checkout")

    def check() -> None:
        assert Path("module.py").read_text() == "content"
        assert Path.cwd() == home / "checkout"
        assert os.environ["PATH"] == f"/usr/bin:{sys.base_prefix}/bin:/bin"

    seen_by_a_stranger(check, read=[home / "checkout"])


def test_nothing_is_done_where_everything_is_readable(tmp_path: Path) -> None:
    made(tmp_path / "open" / "file", mode=0o644)
    before = Path("/proc/self/ns/mnt").readlink()

    def check() -> None:
        assert Path("/proc/self/ns/mnt").readlink() == before

    def opened() -> None:
        reach.open_ways(read=[tmp_path / "open"], passed=[tmp_path], users=[User(STRANGER, STRANGER)])
        check()

    in_child(opened)


def test_without_the_right_to_mount_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    made(closed / "file", mode=0o644)
    closed.chmod(0o700)

    def check() -> None:
        with pytest.raises(Unavailable, match="run this as an ordinary user, or move the project"):
            reach.open_ways(read=[closed], passed=[], users=[])

    as_user(STRANGER, check)


def test_links_on_the_way_to_the_interpreter_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = made(tmp_path / "versions" / "bin" / "python3", mode=0o755)
    first, second = tmp_path / "venv" / "python", tmp_path / "shelf" / "python3"
    for link, target in ((second, real), (first, second)):
        link.parent.mkdir()
        link.symlink_to(target)
    monkeypatch.setattr(sys, "executable", str(first))
    assert {first.parent, second.parent, real.parent} <= set(reach.what_is_read())
