"""The calculator against a walk over every minute, around some clock changes of five years, drawn at random.

ZONES_SEED=N draws those of a run that failed. `make test-zones` tries all of them (every_zone.py).
"""

from __future__ import annotations

import os
import random
from itertools import chain, islice

from tests.unit.domain.zonewalk import CRON_STRINGS, disagreements, windows, zones

DRAWN = 10


def test_there_are_enough_cron_strings_of_every_sort() -> None:
    assert len(set(CRON_STRINGS)) >= 50


def test_around_clock_changes_drawn_at_random_it_agrees_with_a_walk_over_every_minute() -> None:
    seed = int(os.environ.get("ZONES_SEED") or random.randrange(1_000_000))
    dice = random.Random(seed)
    candidates = (dice.choice(windows(zone)) for zone in dice.sample(zones(), len(zones())))
    drawn = list(islice((window for window in candidates if window.has_change), DRAWN))
    print(f"ZONES_SEED={seed}: {', '.join(map(str, drawn))}")
    found = list(chain.from_iterable(map(disagreements, drawn)))
    assert not found, f"ZONES_SEED={seed} draws these again:\n" + "\n".join(found)
