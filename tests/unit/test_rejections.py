"""How rejected messages are counted and reported."""

from __future__ import annotations

import logging
import threading

import pytest

from jobs.rejections import REPORT_SECONDS, Counts, Kind, Reason, Rejections
from tests.processes import wait_for

UNREADABLE = Kind(queue="default", reason=Reason.UNREADABLE)
NO_TASK = Kind(queue="default", reason=Reason.NO_TASK)


class Pauses(threading.Event):
    """An event that notes how long it is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout)
        return super().wait(timeout)


def fail(counts: Counts) -> None:
    raise RuntimeError("the database is away")


@pytest.fixture
def rejections() -> Rejections:
    return Rejections()


def count(rejections: Rejections, kind: Kind, times: int = 1) -> None:
    for number in range(times):
        rejections.count(kind.queue, kind.reason, f"example {number}")


def test_a_report_is_one_line_for_each_queue_and_reason(
    rejections: Rejections, caplog: pytest.LogCaptureFixture
) -> None:
    recorded: list[Counts] = []
    count(rejections, UNREADABLE, 500)
    count(rejections, NO_TASK, 3)
    with caplog.at_level(logging.WARNING):
        rejections.report(recorded.append)
        rejections.report(recorded.append)
    assert recorded == [{UNREADABLE: 500, NO_TASK: 3}]
    assert [record.getMessage().split(" why=")[0] for record in caplog.records] == [
        "messages rejected queue='default' count=500",
        "messages rejected queue='default' count=3",
    ]


def test_what_cannot_be_recorded_is_recorded_with_the_next_report(
    rejections: Rejections, caplog: pytest.LogCaptureFixture
) -> None:
    recorded: list[Counts] = []
    count(rejections, UNREADABLE, 2)
    rejections.report(fail)
    count(rejections, UNREADABLE)
    rejections.report(recorded.append)
    assert recorded == [{UNREADABLE: 3}]
    logged = [record.getMessage() for record in caplog.records if "messages rejected" in record.getMessage()]
    assert [line.split(" count=")[1][0] for line in logged] == ["2", "1"]


def test_an_example_is_shortened(rejections: Rejections, caplog: pytest.LogCaptureFixture) -> None:
    rejections.count("default", Reason.NO_TASK, "x" * 10_000)
    rejections.report(lambda counts: None)
    assert len(caplog.messages[-1]) < 500


def test_the_first_is_reported_at_once_and_the_following_later_together(
    rejections: Rejections, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[Counts] = []
    monkeypatch.setattr(rejections, "_stopped", pauses := Pauses())
    rejections.start(recorded.append)
    count(rejections, UNREADABLE)
    wait_for(lambda: len(recorded) == 1, timeout=60, what="the first report")
    wait_for(lambda: pauses.seconds == [REPORT_SECONDS], timeout=60, what="the pause after it")
    count(rejections, UNREADABLE, 20)
    rejections.stop(recorded.append)
    assert sum(counts[UNREADABLE] for counts in recorded) == 21
    assert len(recorded) == 2
