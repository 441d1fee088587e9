"""A run whose folder cannot be made has not begun: that is told as such, and another worker may try."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jobsched.domain.errors import Unavailable
from jobsched.engine import workspaces
from jobsched.engine.workspaces import Workspaces
from tests.engine_kit import shell


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(Unavailable, match=r"no folder can be made .*file.*make room"):
        Workspaces(in_the_way).make(shell("true"))


def test_a_disk_without_room_is_left_as_it_was_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    here = Workspaces(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(workspaces.os, "open", full)
        with pytest.raises(Unavailable, match="No space left on device"):
            here.make(shell("true"))
    assert [*tmp_path.iterdir()] == []
    assert here.make(shell("true")).is_dir()
    here.close()
