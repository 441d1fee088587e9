"""`make demo`: the examples on a real stack."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobsched.local.showcase import EXAMPLES
from tests.acceptance.commands import Command, processes_of

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def demo(tmp_path: Path, broker_url: str) -> Iterator[Command]:
    command = Command("demo", data=tmp_path / "data", output=tmp_path / "output")
    yield command
    command.end()


def test_every_example_keeps_its_promise_and_everything_is_stopped(demo: Command) -> None:
    status = demo.process.wait(300)
    assert status == 0, demo.said()
    for example in EXAMPLES:
        assert f"ok    {example.job}:" in demo.said()
    assert "49 passed" in demo.said()
    assert processes_of(demo.data) == []


def test_ctrl_c_in_the_middle_stops_everything(demo: Command) -> None:
    demo.wait_until_it_says("ci-iniconfig: running")
    assert demo.stop(signal.SIGINT) == 130
    assert "Traceback" not in demo.said()
    assert processes_of(demo.data) == []
