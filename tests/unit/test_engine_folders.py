"""The folders of a worker that was root: given to the service user, passed through by users of runs."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobsched.domain.errors import InvalidInput
from jobsched.engine import folders
from jobsched.shim.users import User
from tests.forks import in_child
from tests.unrun import needs_root

pytestmark = needs_root("only root can give folders away")

SERVICE = User(60702, 60702)
RUN = User(60740, 60740)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def prepare(data: Path) -> None:
    def check() -> None:
        os.setgroups([])
        folders.prepare(data, data / "workspaces", [data / "output"], SERVICE)

    in_child(check)


def test_what_is_missing_is_made_for_the_service_user(place: Path) -> None:
    data = place / "data"
    prepare(data)
    assert {path.stat().st_uid for path in (data, data / "workspaces", data / "output")} == {SERVICE.uid}
    assert [mode(data), mode(data / "workspaces"), mode(data / "output")] == [0o711, 0o711, 0o700]


def test_stored_output_of_an_earlier_worker_that_was_root_is_given_and_closed(place: Path) -> None:
    stored = place / "data" / "output" / "1" / "output.txt"
    stored.parent.mkdir(parents=True)
    stored.write_text("")
    prepare(place / "data")
    assert {path.stat().st_uid for path in (stored, stored.parent, stored.parents[1])} == {SERVICE.uid}
    assert mode(stored.parents[1]) == 0o700


def test_what_is_roots_in_the_data_folder_stays_so(place: Path) -> None:
    """A local stack keeps secrets there that no other process gets."""
    kept = place / "data" / "secrets.json"
    kept.parent.mkdir(mode=0o700)
    kept.touch(mode=0o600)
    prepare(place / "data")
    assert (kept.stat().st_uid, mode(kept)) == (0, 0o600)
    assert mode(kept.parent) == 0o711


def test_a_folder_that_users_share_is_refused_and_left_as_it_is(place: Path) -> None:
    place.chmod(0o1777)
    with pytest.raises(InvalidInput, match="name a folder inside it"):
        folders.prepare(place, place / "workspaces", [], SERVICE)
    assert mode(place) == 0o1777


def test_a_link_in_stored_output_gives_nothing_else_away(place: Path) -> None:
    other = place / "other"
    other.touch()
    (place / "data" / "output").mkdir(parents=True)
    (place / "data" / "output" / "link").symlink_to(other)
    prepare(place / "data")
    assert other.stat().st_uid == 0


def test_what_users_of_runs_may_open_is_named(place: Path) -> None:
    data = place / "data"
    data.mkdir()
    for name, bits in (("closed", 0o600), ("open", 0o644), ("for-the-group", 0o640)):
        (data / name).touch()
        (data / name).chmod(bits)
    (data / "link").symlink_to("open")
    assert folders.open_entries(data, data / "workspaces", SERVICE) == ("open",)


def test_a_closed_folder_on_the_way_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("sys.executable", "/bin/sh")
    assert folders.closed_to(RUN, folder=closed / "data") == closed
    closed.chmod(0o711)
    assert folders.closed_to(RUN, folder=closed / "data") is None


def test_files_that_a_user_of_runs_can_read_are_found(place: Path) -> None:
    secrets = {mode: place / f"{mode:o}" for mode in (0o400, 0o440, 0o444)}
    behind = place / "closed" / "secret"
    behind.parent.mkdir(mode=0o700)
    for file in (*secrets.values(), behind):
        file.touch()
    for mode, file in secrets.items():
        file.chmod(mode)
    assert folders.readable(RUN, [*secrets.values(), behind, place / "missing"]) == [secrets[0o444]]
