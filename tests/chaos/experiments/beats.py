"""Three beats are killed and frozen at random while schedules fire every second: each instant has exactly one run."""

from __future__ import annotations

import signal
import time
from typing import Final

from tests.chaos.stage import Stage
from tests.processes import Process

NUMBER: Final = 11

_SCHEDULES: Final = 20
_SECONDS: Final = 180
_BEATS: Final = 3
_PAUSE_SECONDS: Final = 3.0
_FREEZES: Final = (0.5, 8.0)
"""Shorter and longer than the database lets a frozen beat hold rows (3 s)."""


def run(stage: Stage) -> None:
    quick = [stage.job(f"Quick {number}", run="true") for number in range(_SCHEDULES)]
    stage.job("Alone", overlap="skip", params={"seconds": 1.4})
    beats = [stage.start_beat() for _ in range(_BEATS)]
    stage.start_worker(concurrency=6)
    for job in [*quick, "Alone"]:
        stage.every(1, job=job)
    killed = frozen = 0
    until = time.monotonic() + stage.scaled(_SECONDS, 9)
    while time.monotonic() < until:
        time.sleep(_PAUSE_SECONDS)
        number = stage.random.randrange(_BEATS)
        if stage.random.random() < 0.5:
            beats[number].kill()
            beats[number] = stage.start_beat()
            killed += 1
        else:
            _freeze(stage, beats[number])
            frozen += 1
    stage.no_more_fires()
    stage.wait_until_ended(60)
    fires, late = stage.query(
        "SELECT count(*), percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM created_at - scheduled_for))"
        "::float8 FROM jobs_run WHERE state <> 'skipped'"
    )[0]
    stage.done(f"{_SCHEDULES + 1} schedules of one second; {killed} beats killed and {frozen} frozen, of {_BEATS}.")
    stage.figure("runs fired", fires)
    stage.figure("skipped runs of the job that forbids overlap", stage.count("skipped"))
    stage.figure("lateness of fires, p99", late, "s")


def _freeze(stage: Stage, beat: Process) -> None:
    beat.signal(signal.SIGSTOP)
    time.sleep(stage.random.uniform(*_FREEZES))
    beat.signal(signal.SIGCONT)
