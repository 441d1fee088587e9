"""One contender at one size: start it, let it idle, edit, let many be due at once, offer a steady flow, stop it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

from benchmarks.beat.beats import Beats
from benchmarks.beat.contenders import Contender
from benchmarks.beat.fires import Fires, in_window
from benchmarks.beat.plan import Plan
from benchmarks.beat.readings import Missing, Reading, above_idle, lags, micros_each, percent
from benchmarks.contenders.base import PROJECT
from benchmarks.errors import BenchmarkError
from benchmarks.figures import percentile

_SETTLE_SECONDS = 3.0
_EDIT_AHEAD_SECONDS = 0.1
_FEWEST_TO_DRAIN = 10_000

Tell = Callable[[str], None]


def measure(contender: Contender, plan: Plan, tell: Tell) -> dict[str, Reading]:
    """Return the readings of one round. Raises BenchmarkError when its beat does not run at all."""
    rows = contender.place.rows
    rows.with_jobs(jobs=contender.of_jobs)
    rows.forget_runs()
    rows.rest()
    contender.clean()
    with _watching(contender) as fires, _beats(contender) as beats:
        bench = _Bench(contender, plan, fires, beats, tell)
        bench.start()
        if contender.ours and not rows.taken_in_within(plan.intake_within):
            raise BenchmarkError(f"{contender.title}: not all schedules were taken in within {plan.intake_within:g} s.")
        bench.idle()
        bench.edit()
        for due in plan.dues:
            bench.due_at_once(due)
        bench.steady_flow()
        bench.drain()
        bench.found["pss_end_mb"] = beats.pss_mb()
        return bench.found


@contextmanager
def _watching(contender: Contender) -> Iterator[Fires]:
    fires = contender.watch()
    try:
        yield fires
    finally:
        fires.close()
        contender.clean()


@contextmanager
def _beats(contender: Contender) -> Iterator[Beats]:
    beats = Beats(contender.place.data / f"{contender.key}.log")
    try:
        yield beats
    finally:
        beats.stop()


def measure_intake(contender: Contender, plan: Plan) -> Reading:
    """Return how many schedules a second a beat takes in that were never looked at before: all there are."""
    rows = contender.place.rows
    with _beats(contender) as beats:
        beats.start(contender.command(1))
        rows.connection.execute("SELECT 1")
        while rows.sessions() < 1:
            beats.must_live()
            time.sleep(0.01)
        began = time.monotonic()
        if not rows.taken_in_within(plan.intake_within):
            return Missing(why=f"not within {plan.intake_within:g} s")
        return rows.size / (time.monotonic() - began)


def measure_imports(contender: Contender) -> float:
    """Return the median seconds of a process that loads what its beat loads, and ends: nobody starts sooner."""
    taken = []
    for _ in range(3):
        began = time.monotonic()
        environment = {**os.environ, **contender.env()}
        done = subprocess.run(
            [sys.executable, "-c", contender.imports], cwd=PROJECT, env=environment, capture_output=True, check=False
        )
        if done.returncode:
            raise BenchmarkError(f"{contender.title}: its modules cannot be loaded: {done.stderr.decode()[-1000:]}")
        taken.append(time.monotonic() - began)
    return median(taken)


class _Bench:
    """The steps, and what they found."""

    def __init__(self, contender: Contender, plan: Plan, fires: Fires, beats: Beats, tell: Tell) -> None:
        self._contender, self._plan, self._fires, self._beats, self._tell = contender, plan, fires, beats, tell
        self._rows = contender.place.rows
        self._next_edited = 1
        self._is_behind = False
        self.found: dict[str, Reading] = {}

    def start(self) -> None:
        """One schedule is overdue already. The clock runs from before the process is made until that one has fired."""
        self._fires.clear()
        first = [self._rows.last_chosen]
        if self._contender.ours:
            self._rows.make_overdue(first)
        else:
            self._rows.make_due(first, at=self._rows.now(), ours=False)
        before = self._rows.now()
        self._beats.start(self._contender.command(1))
        deadline = time.monotonic() + self._plan.start_within
        while not self._fires.reached(1):
            self._beats.must_live()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self._contender.title}: nothing fired within {self._plan.start_within:g} s.")
            time.sleep(0.01)
        self.found["start_s"] = self._fires.seen()[0].fired_at - before
        for number in range(2, self._contender.beats + 1):
            self._beats.start(self._contender.command(number))
        self._wait_for_all()
        self._show("start_s")

    def _wait_for_all(self) -> None:
        deadline = time.monotonic() + self._plan.start_within
        while self._rows.sessions() < self._contender.beats:
            self._beats.must_live()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self._contender.title}: not all beats came to the database.")
            time.sleep(0.05)

    def idle(self) -> None:
        """Nothing is due and nobody edits."""
        self._rows.forget_runs()
        self._rows.tidy()
        time.sleep(_SETTLE_SECONDS)
        used = self._used_during(lambda: time.sleep(self._plan.idle))
        self.found |= {
            "idle_beat_percent": percent(used[0], used[2]),
            "idle_postgres_percent": percent(used[1], used[2]),
            "pss_mb": self._beats.pss_mb(),
            "rss_mb": self._beats.rss_mb(),
        }
        self._show("pss_mb", "idle_beat_percent", "idle_postgres_percent")

    def edit(self) -> None:
        """One row after the other gets another interval and start, so that it is due a tenth of a second later."""
        pace = random.Random(self._contender.key)
        late_ms: list[float] = []
        edits = self._plan.edits if self._contender.ours else min(3, self._plan.edits)
        why = ""

        def one_by_one() -> None:
            nonlocal why
            for _ in range(edits):
                time.sleep(pace.uniform(0.5, 1.5))
                self._fires.clear()
                at = self._rows.now() + _EDIT_AHEAD_SECONDS
                edited = self._next_edited
                self._next_edited += 1
                self._rows.make_due([edited], at=at, ours=self._contender.ours)
                if not self._fires.wait_for(1, within=self._plan.edit_within):
                    why = f"not within {self._plan.edit_within:g} s"
                    return
                late_ms.extend(1000 * (fire.fired_at - at) for fire in self._fires.seen() if fire.schedule == edited)

        beat_cpu, _, seconds = self._used_during(one_by_one)
        if not why and len(late_ms) != edits:
            why = f"{len(late_ms)} fires after {edits} edits"
        if why:
            self.found |= dict.fromkeys(("edit_ms", "edit_max_ms", "edit_cpu_ms"), Missing(why=why))
        else:
            idle = self.found["idle_beat_percent"]
            self.found |= {
                "edit_ms": median(late_ms),
                "edit_max_ms": max(late_ms),
                "edit_cpu_ms": above_idle(beat_cpu, seconds, idle_percent=idle, events=edits),
            }
        self._show("edit_ms", "edit_max_ms", "edit_cpu_ms")

    def due_at_once(self, due: int) -> None:
        """As many schedules get the same instant some seconds ahead."""
        if due > self._rows.size:
            return
        prefix, ids = f"lag{due}", range(1, due + 1)
        parts = ("p50_ms", "p99_ms", "max_ms", "all_ms")
        if self._is_behind:
            self._fail(prefix, "not tried: fewer did not leave in time", *parts)
            return
        lead = self._lead(due)
        if not self._contender.ours:
            # It writes the last run of what it fired when it next loads all, over what an edit said meanwhile.
            self._rows.tell_stock_beat()
            time.sleep(lead)
        self._fires.clear()
        at = self._rows.now() + lead
        self._rows.make_due(ids, at=at, ours=self._contender.ours)
        if not self._known_by(at):
            self._fail(prefix, "edits not taken in before the instant", *parts)
        else:
            self._wait_until(at)
            self._is_behind = not self._fires.wait_for(due, within=self._plan.fired_within)
            all_ms = 1000 * (self._rows.now() - at)
            self.found |= lags(prefix, self._fires.by_schedule(), wanted=ids, at=at)
            broken = self.found[f"{prefix}_max_ms"]
            self.found[f"{prefix}_all_ms"] = broken if isinstance(broken, Missing) else all_ms
        self._rows.forget_runs()
        self._show(*(f"{prefix}_{part}" for part in parts))

    def steady_flow(self) -> None:
        """Many schedules with short intervals, evenly spread over time, together `offered_per_s`."""
        ids = range(1, min(self._rows.size, self._plan.offered_per_s) + 1)
        start = self._rows.now() + self._lead(len(ids))
        self._rows.make_steady(ids, period=len(ids) / self._plan.offered_per_s, start=start)
        known = self._known_by(start)
        self._wait_until(start + 1.0)
        self._fires.clear()
        began = self._rows.now()
        beat_cpu, postgres_cpu, seconds = self._used_during(lambda: time.sleep(self._plan.steady))
        fires = in_window(self._fires.seen(), began, seconds)
        if known:
            lateness = [1000 * (fire.fired_at - fire.due_at) for fire in fires if fire.due_at is not None]
            self.found |= {
                "steady_per_s": len(fires) / seconds,
                "steady_p99_ms": percentile(lateness, 99) if lateness else Missing(why="messages do not say"),
                "steady_beat_percent": percent(beat_cpu, seconds),
                "steady_postgres_percent": percent(postgres_cpu, seconds),
            }
        else:
            self._fail("steady", "edits not taken in before", "per_s", "p99_ms", "beat_percent", "postgres_percent")
        self._rows.calm(ids)
        self._show("steady_per_s", "steady_p99_ms", "steady_beat_percent", "steady_postgres_percent")

    def drain(self) -> None:
        """Many schedules are overdue from one moment on, each by a single instant: how fast they go."""
        keys = ("per_s", "beat_us", "postgres_us")
        count = min(self._rows.size, self._plan.drained)
        if not self._contender.ours or count < _FEWEST_TO_DRAIN:
            return
        if not self._rows.taken_in_within(60.0):
            self._fail("drain", "edits not taken in within 60 s", *keys)
            return
        self._rows.forget_runs()
        self._rows.tidy()
        self._fires.clear()
        ids = range(1, count + 1)

        self._rows.make_overdue(ids)
        beat_cpu, postgres_cpu, _ = self._used_during(
            lambda: self._fires.wait_for(count, within=self._plan.fired_within)
        )
        fired = self._fires.by_schedule()
        wrong = lags("drain", fired, wanted=ids, at=0.0)["drain_max_ms"]
        if isinstance(wrong, Missing):
            self._fail("drain", wrong.why, *keys)
        else:
            first, last = min(m[0] for m in fired.values()), max(m[0] for m in fired.values())
            self.found |= {
                "drain_per_s": count / (last - first),
                "drain_beat_us": micros_each(beat_cpu, count),
                "drain_postgres_us": micros_each(postgres_cpu, count),
            }
        self._rows.forget_runs()
        self._show("drain_per_s", "drain_beat_us", "drain_postgres_us")

    def _lead(self, edited: int) -> float:
        start = self.found["start_s"]
        return self._plan.lead(edited, ours=self._contender.ours, start=start if isinstance(start, float) else 0.0)

    def _known_by(self, moment: float) -> bool:
        """Wait until ours has taken in all edits; of stock beat this cannot be seen, and it is trusted."""
        if not self._contender.ours:
            return True
        return self._rows.taken_in_within(moment - self._rows.now() - 0.3)

    def _wait_until(self, moment: float) -> None:
        time.sleep(max(0.0, moment - self._rows.now()))

    def _used_during(self, step: Callable[[], object]) -> tuple[float, float | None, float]:
        """Return the CPU seconds of the beats and of PostgreSQL while a step is done, and how long that took."""
        servers = self._contender.place.servers
        before = self._beats.cpu_exactly(), servers.postgres_cpu()
        began = time.monotonic()
        step()
        seconds = time.monotonic() - began
        after = self._beats.cpu_exactly(), servers.postgres_cpu()
        self._beats.must_live()
        postgres = None if before[1] is None or after[1] is None else after[1] - before[1]
        return after[0] - before[0], postgres, seconds

    def _fail(self, prefix: str, why: str, *parts: str) -> None:
        self.found |= {f"{prefix}_{part}": Missing(why=why) for part in parts}

    def _show(self, *keys: str) -> None:
        self._tell(", ".join(f"{key} {shown(self.found[key])}" for key in keys))


def shown(reading: Reading) -> str:
    """Return a reading for a line of progress."""
    return f"- ({reading.why})" if isinstance(reading, Missing) else f"{reading:,.2f}"
