"""The calculator against a walk over every minute, around the clock changes of five years in every IANA zone.

`make test-zones` tries them all. Otherwise some are drawn: ZONES_SEED=N draws those of a run that failed.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from itertools import chain, islice

import pytest

from tests.unit.domain.zonewalk import CRON_STRINGS, disagreements, windows, zones

DRAWN = 10
ALL = os.environ.get("ZONES") == "all"


def test_there_are_enough_cron_strings_of_every_sort() -> None:
    assert len(set(CRON_STRINGS)) >= 50


@pytest.mark.skipif(ALL, reason="all of them are tried")
def test_around_clock_changes_drawn_at_random_it_agrees_with_a_walk_over_every_minute() -> None:
    seed = int(os.environ.get("ZONES_SEED") or random.randrange(1_000_000))
    dice = random.Random(seed)
    candidates = (dice.choice(windows(zone)) for zone in dice.sample(zones(), len(zones())))
    drawn = list(islice((window for window in candidates if window.has_change), DRAWN))
    print(f"ZONES_SEED={seed}: {', '.join(map(str, drawn))}")
    found = list(chain.from_iterable(map(disagreements, drawn)))
    assert not found, f"ZONES_SEED={seed} draws these again:\n" + "\n".join(found)


@pytest.mark.skipif(not ALL, reason="make test-zones")
@pytest.mark.timeout(0)
def test_around_every_clock_change_it_agrees_with_a_walk_over_every_minute() -> None:
    began, found, done = time.monotonic(), list[str](), 0
    with multiprocessing.get_context("spawn").Pool() as pool:
        todo = list(chain.from_iterable(pool.imap_unordered(windows, zones(), chunksize=8)))
        print(f"\n{len(zones())} zones, {len(todo)} windows, {len(CRON_STRINGS)} cron strings")
        for wrong in pool.imap_unordered(disagreements, todo, chunksize=4):
            found += wrong
            done += 1
            if done % 100 == 0 or done == len(todo):
                print(f"{done}/{len(todo)} windows, {len(found)} wrong, {time.monotonic() - began:.0f} s", flush=True)
    assert not found, f"{len(found)} are wrong:\n" + "\n".join(sorted(found)[:50])
