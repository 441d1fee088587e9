"""kill -9 of a random worker's main process or slot every 2 s, while 5,000 runs of 0.1 to 3 s go through."""

from __future__ import annotations

from typing import Final

from tests.chaos.stage import Stage

NUMBER: Final = 1


def run(stage: Stage) -> None:
    stage.job()
    stage.start_beat()
    stage.start_worker(concurrency=4)
    stage.submit(stage.scaled(5000, 20), seconds=(0.1, 3.0))
    stage.wait_until_ended(600)
