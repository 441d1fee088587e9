"""When a job of a file will run, worked out without a server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jobsched.cli.fires import print_schedule
from jobsched.cli.preview import preview
from jobsched.domain.manifest import parse_job

NOW = datetime(2026, 11, 21, 12, 0, 0, 734_512, tzinfo=UTC)


def shown(count: int = 3, **keys: Any) -> dict[str, Any]:
    return preview(parse_job({"name": "A", "run": "x", **keys}), now=NOW, count=count)


@pytest.mark.parametrize(("keys", "held"), [({"paused": True}, "paused"), ({"paused": False}, None), ({}, None)])
def test_a_paused_job_is_shown_as_held(
    keys: dict[str, Any], held: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    found = shown(schedule="0 2 * * *", **keys)
    assert (found["held"], len(found["fires"])) == (held, 3)
    print_schedule(found)
    assert ("paused: nothing fires until `jobsched resume`" in capsys.readouterr().out) == (held is not None)


@pytest.mark.parametrize(
    ("keys", "fires"),
    [
        ({}, []),
        (
            {"schedule": "0 2 * * *", "timezone": "Europe/Berlin"},
            ["2026-11-22T01:00:00Z", "2026-11-23T01:00:00Z", "2026-11-24T01:00:00Z"],
        ),
        ({"schedule": "1h"}, ["2026-11-21T13:00:00Z", "2026-11-21T14:00:00Z", "2026-11-21T15:00:00Z"]),
        ({"schedule": "0 2 * * *", "run_once": True}, ["2026-11-22T02:00:00Z"]),
        ({"at": "2026-12-01 03:00", "timezone": "Asia/Tokyo"}, ["2026-11-30T18:00:00Z"]),
        ({"at": "2020-12-01 03:00"}, []),
        # A start is the first instant of an interval, and counts for a cron string that falls on it.
        (
            {"schedule": "7h", "start": "2026-12-01 03:00"},
            ["2026-12-01T03:00:00Z", "2026-12-01T10:00:00Z", "2026-12-01T17:00:00Z"],
        ),
        (
            {"schedule": "0 3 * * *", "start": "2026-12-01 03:00", "end": "2026-12-03 03:00"},
            ["2026-12-01T03:00:00Z", "2026-12-02T03:00:00Z"],
        ),
        (
            {"schedule": "7h", "start": "2026-11-21 05:00", "end": "2026-11-22 09:00"},
            ["2026-11-21T19:00:00Z", "2026-11-22T02:00:00Z"],
        ),
        ({"schedule": "0 3 * * *", "end": "2020-01-01 00:00"}, []),
    ],
    ids=str,
)
def test_instants_are_those_of_the_schedule(keys: dict[str, Any], fires: list[str]) -> None:
    assert shown(**keys)["fires"] == fires


def test_what_is_excluded_is_told_apart_and_not_counted() -> None:
    told = shown(2, schedule="0 2 * * *", exclude=["2026-11-22"], blackout=["2026-11-24 00:00..2026-11-25 00:00"])
    assert told["fires"] == ["2026-11-23T02:00:00Z", "2026-11-25T02:00:00Z"]
    assert [skipped["at"] for skipped in told["skipped"]] == ["2026-11-22T02:00:00Z", "2026-11-24T02:00:00Z"]
    assert told["skipped"][0]["reason"] == "excluded: 2026-11-22"


def test_of_a_job_that_runs_once_the_first_instant_that_is_not_excluded_counts() -> None:
    told = shown(schedule="0 2 * * *", run_once=True, exclude=["2026-11-22"])
    assert told["fires"] == ["2026-11-23T02:00:00Z"]
    assert told["words"].endswith(", once only")


def test_a_schedule_that_is_always_excluded_comes_to_an_end() -> None:
    told = shown(schedule="0 2 * * *", blackout=["00:00-24:00"])
    assert (told["fires"], len(told["skipped"])) == ([], 3)


class TestWarnings:
    BERLIN: dict[str, Any] = {"schedule": "30 2 * * *", "timezone": "Europe/Berlin"}

    def days(self, **keys: Any) -> list[str]:
        return [warned["at"][:10] for warned in shown(**{**self.BERLIN, **keys})["warnings"]]

    def test_look_two_years_ahead(self) -> None:
        assert self.days() == ["2027-03-28", "2027-10-31", "2028-03-26", "2028-10-29"]

    def test_keep_to_the_time_that_the_schedule_has(self) -> None:
        assert self.days(start="2027-06-01 00:00", end="2028-06-01 00:00") == ["2027-10-31", "2028-03-26"]
        assert self.days(start="2031-01-01 00:00") == []

    def test_are_none_for_what_runs_before_the_clock_changes(self) -> None:
        assert self.days(run_once=True) == []
        assert self.days(run_once=True, start="2027-03-28 00:00") == ["2027-03-28"]

    def test_are_none_where_clocks_do_not_change(self) -> None:
        assert self.days(timezone="UTC") == []
