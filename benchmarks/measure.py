"""One repetition of one contender: how fast, at what cost in CPU, how soon."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contenders.base import PROJECT, WORKER_PROCESSES, Contender
from benchmarks.errors import BenchmarkError
from benchmarks.figures import Repetition
from benchmarks.noop import Notes
from benchmarks.processes import Workers

_WARM_UP_JOBS = 40
_START_WITHIN_SECONDS = 60.0
_STALLED_SECONDS = 60.0
_LOOK_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure."""

    scale: float
    """Share of each contender's usual backlog."""
    latency_jobs: int
    latency_rate: float
    """Jobs a second, far below what anybody can do."""


def measure(contender: Contender, plan: Plan) -> Repetition:
    """Start the contender's workers, measure, and stop them. Raises BenchmarkError."""
    notes = Notes(contender.place.notes)
    workers = Workers(
        contender.commands(),
        cwd=PROJECT,
        env=os.environ,
        log=contender.place.data / f"{contender.key}.log",
    )
    try:
        _warm_up(contender, workers, notes)
        latencies = _latencies(contender, workers, notes, plan)
        return _throughput(contender, workers, notes, round(contender.backlog * plan.scale), latencies)
    finally:
        workers.stop()


def _warm_up(contender: Contender, workers: Workers, notes: Notes) -> None:
    """Until both processes have done jobs: connections are open, statements prepared, code is loaded."""
    notes.clear()
    deadline = time.monotonic() + _START_WITHIN_SECONDS
    rounds = 0
    while True:
        rounds += 1
        contender.enqueue(_WARM_UP_JOBS)
        _until_done(contender, workers, notes, rounds * _WARM_UP_JOBS)
        both = not contender.processes_tell_apart or len(notes.processes()) >= WORKER_PROCESSES
        if both and rounds >= 5:
            return
        if time.monotonic() > deadline:
            raise BenchmarkError(
                f"{contender.title}: {len(notes.processes())} of {WORKER_PROCESSES} worker processes took jobs "
                f"within {_START_WITHIN_SECONDS:g} s."
            )


def _latencies(contender: Contender, workers: Workers, notes: Notes, plan: Plan) -> tuple[float, ...]:
    """Return, for single jobs sent to idle workers, the milliseconds from before the call until the job began."""
    notes.clear()
    contender.mark()
    sent_ns = {}
    pace = random.Random(contender.key)
    for number in range(plan.latency_jobs):
        # Uneven, so that no poll interval falls into step with it.
        time.sleep(pace.uniform(0.5, 1.5) / plan.latency_rate)
        sent_ns[number] = time.monotonic_ns()
        contender.enqueue_one(number)
    _until_done(contender, workers, notes, plan.latency_jobs)
    began_ns = notes.began_ns()
    if began_ns.keys() != sent_ns.keys():
        raise BenchmarkError(f"{contender.title}: some of the single jobs were lost, others ran twice.")
    contender.check(plan.latency_jobs)
    return tuple((began_ns[number] - sent) / 1e6 for number, sent in sent_ns.items())


def _throughput(
    contender: Contender, workers: Workers, notes: Notes, jobs: int, latencies: tuple[float, ...]
) -> Repetition:
    """Lay a backlog out before workers that are warm but held still, let them go, and wait for the last record."""
    servers = contender.place.servers
    notes.clear()
    contender.mark()
    workers.hold()
    contender.enqueue(jobs)
    contender.tidy()
    servers.settle()
    cpu = workers.cpu_seconds(), servers.postgres_cpu(), servers.rabbitmq_cpu()
    workers.release()
    _until_done(contender, workers, notes, jobs)
    ended_ns = time.monotonic_ns()
    used = [
        None if before is None or after is None else after - before
        for before, after in zip(
            cpu, (workers.cpu_seconds(), servers.postgres_cpu(), servers.rabbitmq_cpu()), strict=True
        )
    ]
    contender.check(jobs)
    first_ns, _ = notes.first_and_last_ns()
    return Repetition(
        runs=jobs,
        seconds=(ended_ns - first_ns) / 1e9,
        worker_cpu=used[0] or 0.0,
        postgres_cpu=used[1],
        rabbitmq_cpu=used[2],
        latencies_ms=latencies,
    )


def _until_done(contender: Contender, workers: Workers, notes: Notes, jobs: int) -> None:
    """Wait until `jobs` have begun and are all recorded. Raises BenchmarkError when nothing moves any more."""
    _until(lambda: notes.count() >= jobs, contender, workers, notes)
    _until(lambda: contender.unfinished() <= 0, contender, workers, notes)
    if notes.count() != jobs:
        raise BenchmarkError(f"{contender.title}: {jobs} jobs were sent, and {notes.count()} ran.")


def _until(condition: Callable[[], bool], contender: Contender, workers: Workers, notes: Notes) -> None:
    seen, moved = notes.count(), time.monotonic()
    while not condition():
        now = time.monotonic()
        count = notes.count()
        if count != seen:
            seen, moved = count, now
        if now - moved > _STALLED_SECONDS:
            raise BenchmarkError(
                f"{contender.title}: nothing has moved for {_STALLED_SECONDS:g} s; {count} jobs ran, "
                f"{contender.unfinished()} are not recorded as ended."
            )
        workers.must_live()
        time.sleep(_LOOK_SECONDS)
