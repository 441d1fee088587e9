"""What several tests of runs' processes use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobsched.engine import Slot


@pytest.fixture(params=["namespace", "subreaper"])
def isolation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way in which the processes of a run are kept together here."""
    monkeypatch.setenv("JOBSCHED_ISOLATION", request.param)
    return str(request.param)


@pytest.fixture
def slot(isolation: str, tmp_path: Path) -> Iterator[Slot]:
    """A slot of a worker, with its folder in `tmp_path / "workspaces"`."""
    with Slot(workspace_dir=tmp_path / "workspaces") as made:
        yield made
