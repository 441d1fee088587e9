"""Floods of output: 2 GB, lines of 10 MB, NULs and invalid UTF-8, beside runs that mind their own business."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import psutil

from jobs.conf import DEFAULT_OUTPUT_LIMIT
from tests.chaos.journal import LOG
from tests.chaos.stage import Stage
from tests.processes import Process

NUMBER: Final = 14
_SLOTS: Final = 4
_GIB: Final = 1 << 30
_FLOODS: Final = {
    "many lines": "yes 'a line like any other, of sixty-four characters with its end..' | head -c {size}",
    "lines of 10 MB": "head -c {size} /dev/zero | tr '\\0' x | fold -w 10000000 | head -c {size}",
    "NULs": "head -c {size} /dev/zero",
    "invalid UTF-8": "head -c {size} /dev/zero | tr '\\0' '\\377'",
}


def run(stage: Stage) -> None:
    size = round(2 * _GIB * min(1.0, stage.scale * 2))
    stage.job("Quiet")
    for name, command in _FLOODS.items():
        # The journal's lines go to a file of their own, not into the output.
        stage.job(name, run=_journaled(command.format(size=size)), timeout="30m")
    stage.start_beat()
    worker = stage.start_worker(concurrency=_SLOTS)
    stage.submit(9, seconds=0.1, job="Quiet")
    stage.wait_until_ended(60)
    alone = _durations(stage, stage.scaled(10, 3))
    beside: list[float] = []
    for name in _FLOODS:
        [flood] = stage.submit(1, job=name)
        stage.wait_for(
            lambda flood=flood: _state(stage, flood) in ("running", "succeeded"), timeout=60, what="the flood"
        )
        beside += _durations(stage, stage.scaled(5, 2))
        stage.wait_for(lambda flood=flood: _state(stage, flood) == "succeeded", timeout=1800, what="its end")
        _check_output(stage, flood, name, size)
    stage.done(f"Each of {len(_FLOODS)} floods printed {size / _GIB:.2g} GiB: {', '.join(_FLOODS)}.")
    _print_at_once(stage, worker, size)
    slower = statistics.median(beside) / statistics.median(alone)
    stage.limit("a run of 1 s beside a flood, compared with alone", slower, 1.2, "times")


def _print_at_once(stage: Stage, worker: Process, size: int) -> None:
    """Measure the memory of a worker all of whose slots perform floods, beside that of one whose slots print little.

    Both have performed runs before: what a slot loads for its first run does not count.
    """
    stage.job("Little", run=_journaled("head -c 200000 /dev/zero | tr '\\0' x; sleep 2"))
    fresh = stage.start_worker(concurrency=_SLOTS)
    worker.kill()
    stage.submit(4 * _SLOTS, job="Little")
    with _watched(fresh) as little:
        stage.wait_until_ended(120)
    with _watched(fresh) as much:
        floods = stage.submit(_SLOTS, job="many lines")
        stage.wait_until_ended(1800)
    for flood in floods:
        _check_output(stage, flood, "many lines", size)
    stage.done(f"{_SLOTS} runs printed {size / _GIB:.2g} GiB each at once.")
    stage.limit("worker memory grew by", (max(much) - max(little)) / 1e6, 20, "MB")


def _journaled(command: str) -> str:
    return f"{LOG}log start\n{command}\nlog end\n"


def _durations(stage: Stage, count: int) -> list[float]:
    """Let runs of one second pass, and return how long each took."""
    asked = stage.submit(count, seconds=1.0, job="Quiet")
    stage.wait_for(
        lambda: all(_state(stage, run) == "succeeded" for run in asked), timeout=120, what="the runs of one second"
    )
    return [
        float(seconds)
        for (seconds,) in stage.query(
            "SELECT extract(epoch FROM finished_at - started_at)::float FROM jobs_attempt WHERE run_id = ANY(%s)",
            (asked,),
        )
    ]


def _state(stage: Stage, run: int) -> str:
    return str(stage.query("SELECT state FROM jobs_run WHERE id = %s", (run,))[0][0])


def _check_output(stage: Stage, run: int, name: str, size: int) -> None:
    [(total, kept)] = stage.query(
        "SELECT output_total, length(output) FROM jobs_attempt WHERE run_id = %s AND verdict = 'succeeded'", (run,)
    )
    stage.demand(total == size, f"{name}: {total} bytes were counted, {size} printed")
    stage.demand(0 < kept < 1 << 20, f"{name}: {kept} characters are kept in the row")
    [(rows, stored, unstored)] = stage.query(
        "SELECT count(*), sum(size), sum((key IS NULL)::int) FROM jobs_outputchunk WHERE run_id = %s", (run,)
    )
    stage.demand(not unstored, f"{name}: {unstored} parts of the output are not in its store")
    most = min(size, DEFAULT_OUTPUT_LIMIT)
    stage.demand(0.99 * most < stored <= most, f"{name}: {stored} bytes in {rows} chunks are kept")


def _memory(worker: Process) -> int:
    """Return what a worker's main process and its slots hold by themselves, in bytes. Shared pages count in parts."""
    held = 0
    for pid in (worker.pid, *Stage.slots(worker)):
        with suppress(psutil.NoSuchProcess):
            held += psutil.Process(pid).memory_full_info().pss
    return held


@contextmanager
def _watched(worker: Process) -> Iterator[list[int]]:
    """Measure a worker's memory, over and over, from a thread."""
    seen, over = [_memory(worker)], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            seen.append(_memory(worker))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
