"""The arithmetic of `make bench`, and the note that every measured job leaves."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import Repetition, percentile, rate_ratio, summarize
from benchmarks.noop import Notes, noop

finite = st.floats(min_value=0, max_value=1e9)


def repetition(
    *, runs: int = 1000, seconds: float = 1.0, worker: float = 1.0, postgres: float | None = None
) -> Repetition:
    return Repetition(
        runs=runs,
        seconds=seconds,
        worker_cpu=worker,
        postgres_cpu=postgres,
        rabbitmq_cpu=None,
        latencies_ms=(1.0, 2.0, 3.0),
    )


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([5.0], 50, 5.0),
        ([1.0, 2.0], 50, 1.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 201)], 99, 198.0),
        ([1.0, 2.0, 3.0], 99, 3.0),
        ([1.0, 2.0, 3.0], 0, 1.0),
        ([1.0, 2.0, 3.0], 100, 3.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


@given(st.lists(finite, min_size=1), st.floats(min_value=0, max_value=100))
def test_percentile_is_one_of_the_values_and_enough_of_them_do_not_exceed_it(
    values: list[float], percent: float
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="percentile of nothing"):
        percentile([], 50)


def test_figures_are_medians_so_that_one_bad_repetition_does_not_count() -> None:
    figures = summarize([repetition(seconds=1.0), repetition(seconds=2.0), repetition(seconds=100.0)])
    assert (figures.rate, figures.slowest_rate, figures.fastest_rate) == (500.0, 10.0, 1000.0)


def test_cpu_is_told_for_1000_runs_whatever_the_size_of_the_backlog() -> None:
    figures = summarize([repetition(runs=250, worker=1.0, postgres=0.5)])
    assert figures.cpu_per_1000 == 6.0
    assert (figures.worker_cpu_per_1000, figures.postgres_cpu_per_1000) == (4.0, 2.0)


def test_cpu_that_could_not_be_counted_once_is_not_told_at_all() -> None:
    figures = summarize([repetition(postgres=1.0), repetition(postgres=None)])
    assert figures.postgres_cpu_per_1000 is None
    assert figures.cpu_per_1000 == 1.0


def test_ratio_compares_within_each_round() -> None:
    ours = [repetition(seconds=1.0), repetition(seconds=4.0), repetition(seconds=2.0)]
    theirs = [repetition(seconds=3.0), repetition(seconds=8.0), repetition(seconds=10.0)]
    # Three, two and five times as fast; the ratio of the two medians would be four.
    assert rate_ratio(ours, theirs) == 3.0


@given(st.lists(st.floats(min_value=0.001, max_value=1000), min_size=1))
def test_ratio_to_itself_is_one(seconds: list[float]) -> None:
    repetitions = [repetition(seconds=s) for s in seconds]
    assert rate_ratio(repetitions, repetitions) == 1.0


def test_every_job_of_every_process_leaves_one_note(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    before = time.monotonic_ns()
    workers = [multiprocessing.get_context("spawn").Process(target=_perform, args=(str(notes.path), n)) for n in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert notes.count() == 1000
    assert notes.processes() == {worker.pid for worker in workers}
    began = notes.began_ns()
    assert began.keys() == set(range(1000))
    assert notes.first_and_last_ns() == (min(began.values()), max(began.values()))
    assert before < min(began.values()) < max(began.values()) < time.monotonic_ns()


def test_unnumbered_jobs_are_counted_and_notes_can_be_cleared(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    noop(str(notes.path))
    noop(str(notes.path), 7)
    assert (notes.count(), set(notes.began_ns())) == (2, {7})
    notes.clear()
    noop(str(notes.path), 8)
    assert (notes.count(), set(notes.began_ns())) == (1, {8})


def _perform(path: str, which: int) -> None:
    for number in range(500):
        noop(path, 2 * number + which)
