"""The arithmetic of `make bench-beat`, and that what failed is shown as failed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.beat.contenders import Ours, Stock
from benchmarks.beat.fires import Fire, in_window
from benchmarks.beat.measures import MEASURES
from benchmarks.beat.plan import Plan
from benchmarks.beat.readings import (
    Missing,
    Reading,
    above_idle,
    lags,
    micros_each,
    over_rounds,
    percent,
    ratio,
    to_json,
)
from benchmarks.beat.report import cell, data
from benchmarks.figures import percentile

AWAY = Missing(why="101 of 1,000 left in time")
figures = st.floats(min_value=0.001, max_value=1e6)


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 100.0, 2.0], 2.0),
        ([1.0, AWAY, 2.0], AWAY),
        ([], Missing(why="not measured")),
    ],
)
def test_a_figure_is_the_median_of_the_rounds_and_missing_if_one_round_lacks_it(
    rounds: list[Reading], expected: Reading
) -> None:
    assert over_rounds(rounds) == expected


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([2.0, 4.0], [4.0, 8.0], 2.0),
        ([1.0, 10.0, 1.0], [3.0, 30.0, 30.0], 3.0),
        ([1.0, 1.0], [5.0, AWAY], AWAY),
        ([AWAY], [5.0], AWAY),
        ([0.0], [5.0], Missing(why="ours is 0")),
    ],
)
def test_a_ratio_compares_within_each_round(ours: list[Reading], theirs: list[Reading], expected: Reading) -> None:
    assert ratio(ours, theirs) == expected


@given(st.lists(figures, min_size=1, max_size=9))
def test_the_ratio_of_a_contender_to_itself_is_one(rounds: list[float]) -> None:
    assert ratio(rounds, rounds) == 1.0


@given(
    st.lists(st.floats(min_value=0, max_value=100), min_size=1, max_size=50), st.floats(min_value=1e6, max_value=2e9)
)
def test_lags_count_from_the_instant_and_are_percentiles_of_them(late: list[float], at: float) -> None:
    found = lags("lag", {n: [at + seconds] for n, seconds in enumerate(late)}, wanted=range(len(late)), at=at)
    assert found["lag_p50_ms"] == pytest.approx(1000 * percentile(late, 50), abs=1)
    assert found["lag_p99_ms"] == pytest.approx(1000 * percentile(late, 99), abs=1)
    assert found["lag_max_ms"] == pytest.approx(1000 * max(late), abs=1)


@pytest.mark.parametrize(
    ("fired", "why"),
    [
        ({}, "0 of 2 left in time"),
        ({1: [10.5]}, "1 of 2 left in time"),
        ({1: [10.5], 2: [10.5, 10.6]}, "1 of 2 fired twice"),
        ({1: [10.5], 2: [10.5], 3: [10.5]}, "1 fired that were not due"),
        ({1: [10.5], 2: [9.5]}, "1 fired before the instant"),
    ],
)
def test_a_lag_of_what_was_not_fired_exactly_once_is_no_figure(fired: dict[int, list[float]], why: str) -> None:
    found = lags("lag", fired, wanted=[1, 2], at=10.0)
    assert found == dict.fromkeys(("lag_p50_ms", "lag_p99_ms", "lag_max_ms"), Missing(why=why))


@pytest.mark.parametrize(
    ("reading", "shown"),
    [
        (1234.567, "1,234.6"),
        (0.0, "0.0"),
        (AWAY, "(101 of 1,000 left in time)"),
        (Missing(why="not measured"), ""),
    ],
)
def test_the_table_shows_the_reason_in_place_of_a_figure(reading: Reading, shown: str) -> None:
    assert cell(reading, digits=1) == shown


def test_the_json_holds_the_reason_in_place_of_a_figure() -> None:
    told = data(
        {1000: {Ours: [{"start_s": 0.5}, {"start_s": 1.5}], Stock: [{"start_s": 2.0}, {"start_s": AWAY}]}},
        plan=Plan(sizes=(1000,), rounds=2),
        servers={},
        imports={Ours: 0.4},
    )
    ours, stock = told["schedules"]["1000"]["ours"], told["schedules"]["1000"]["stock"]
    assert ours["median"]["start_s"] == 1.0
    assert stock["median"]["start_s"] == to_json(AWAY) == {"missing": "101 of 1,000 left in time"}
    assert stock["times_ours"]["ours"]["start_s"] == to_json(AWAY)
    assert stock["rounds"] == [{"start_s": 2.0}, {"start_s": to_json(AWAY)}]
    assert ours["median"]["idle_beat_percent"] == {"missing": "not measured"}


def test_cpu_is_told_as_a_share_of_one_core_and_for_each_fire() -> None:
    assert percent(0.5, 20.0) == 2.5
    assert micros_each(2.0, 10_000) == 200.0


def test_cpu_that_cannot_be_seen_is_no_figure() -> None:
    assert percent(None, 20.0) == micros_each(None, 10) == Missing(why="not to be seen")


@pytest.mark.parametrize(
    ("cpu", "idle", "expected"),
    [
        (1.0, 1.0, 90.0),  # ten seconds at 1% would have cost 0.1 s anyway; the rest falls on ten edits
        (0.05, 1.0, 0.0),
        (1.0, AWAY, AWAY),
    ],
)
def test_an_edit_costs_what_goes_beyond_idling(cpu: float, idle: Reading, expected: Reading) -> None:
    assert above_idle(cpu, 10.0, idle_percent=idle, events=10) == expected


def test_a_window_takes_its_beginning_and_leaves_its_end() -> None:
    fires = [Fire(n, float(n), None) for n in range(10)]
    assert [fire.schedule for fire in in_window(fires, 3.0, 4.0)] == [3, 4, 5, 6]


def test_each_measure_has_one_line() -> None:
    keys = [measure.key for measure in MEASURES]
    assert len(keys) == len(set(keys))
