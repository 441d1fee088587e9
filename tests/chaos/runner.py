"""Carries experiments out, one after the other, and judges each."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Sequence

from tests.chaos.catalogue import Experiment
from tests.chaos.checker import check
from tests.chaos.errors import Broken
from tests.chaos.ground import Ground
from tests.chaos.results import Result

_LINGER_SECONDS = 1.5
"""After the last run ended: whatever outlives it by more than a second is seen in this time."""
_SHOWN = 20


def carry_out(
    chosen: Sequence[Experiment], ground: Ground, *, seed: int, scale: float, say: Callable[[str], None]
) -> list[Result]:
    """Carry experiments out and return what they found. Raises KeyboardInterrupt once everything has ended."""
    results = []
    for number, experiment in enumerate(chosen, 1):
        say(f"[{number}/{len(chosen)}] {experiment.name}: {experiment.about}")
        result = Result(name=experiment.name, about=experiment.about, seed=seed, scale=scale)
        began = time.monotonic()
        _one(experiment, ground, result, say)
        result.seconds = time.monotonic() - began
        result.load = os.getloadavg()[1]
        for sentence in result.violations[:_SHOWN]:
            say(f"    VIOLATED {sentence}")
        if len(result.violations) > _SHOWN:
            say(f"    … and {len(result.violations) - _SHOWN} more")
        say(f"    {'passed' if result.passed else 'FAILED'} in {result.seconds:.0f} s")
        results.append(result)
    return results


def _one(experiment: Experiment, ground: Ground, result: Result, say: Callable[[str], None]) -> None:
    run = experiment.load()
    from tests.chaos.stage import Stage  # it needs Django, which is set up by now

    stage = Stage(ground, result, database_url=ground.fresh_database(), say=say)
    ground.empty_queues()
    try:
        stage.watcher.start()
        try:
            run(stage)
        except Broken as error:
            result.violations.append(str(error))
        except Exception as error:
            result.violations.append(f"it met an error of its own: {type(error).__name__}: {error}")
            say(traceback.format_exc())
        time.sleep(_LINGER_SECONDS)
        stage.watcher.stop()
        result.violations += check(stage.history())
    finally:
        stage.close()
