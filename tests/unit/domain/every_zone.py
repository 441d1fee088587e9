"""The calculator against a walk over every minute, around the clock changes of five years in every IANA zone.

It takes long, so pytest does not find it by itself: `make test-zones` names it.
"""

from __future__ import annotations

import multiprocessing
import time
from itertools import chain

import pytest

from tests.unit.domain.zonewalk import CRON_STRINGS, disagreements, windows, zones


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
