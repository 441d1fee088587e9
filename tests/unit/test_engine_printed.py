"""Output of any length in bounded memory."""

from __future__ import annotations

import tracemalloc

from jobsched.engine.printed import Printed

LIMIT = 64 * 1024 * 1024
READ = b"a line like any other, of sixty-four characters with its end...\n" * 1024


def test_memory_stays_bounded_while_three_times_the_limit_is_printed() -> None:
    printed = Printed(limit=LIMIT)
    kept = 0
    tracemalloc.start()
    try:
        for _ in range(3 * LIMIT // len(READ)):
            printed.add(READ)
            part = printed.next_part()
            kept += len(part.data) if part.final else 0
            printed.saved(part)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert printed.total == 3 * LIMIT
    rest = printed.rest()
    assert 0.99 * LIMIT < kept + sum(len(part.data) for part in rest) <= LIMIT


def test_what_cannot_be_passed_on_stops_the_reading() -> None:
    printed = Printed(limit=LIMIT)
    adds = 0
    while not printed.is_full:
        printed.add(READ)
        adds += 1
    assert adds <= 10
