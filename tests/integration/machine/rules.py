"""The machine: its rules call the real verbs, and its model says what must have come of them.

Time passes by moving rows of the database, never by waiting. Hints are kept from the broker: a claim may come
without one, as a lost hint is repeated, and may find nothing, as a doubled one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobs.models import Job
from jobs.services import backfill, control, recovery, scheduling
from jobs.services.running.settling import settle
from jobs.store import claims as store
from jobs.store.claims import Claim, Settlement
from jobs.store.session import django_connection
from jobsched.domain.content import Content
from jobsched.domain.errors import Conflict
from jobsched.domain.outcomes import Outcome, Verdict
from jobsched.domain.states import State
from tests.integration.machine.expected import Expected
from tests.integration.machine.invariants import History, RunRow, read_runs
from tests.integration.machine.jobs import FACTS
from tests.integration.machine.slots import Fault, MachineSlot

QUEUE = "default"
LEASE = timedelta(seconds=30)
DRAIN_ROUNDS = 60
"""More than any run has attempts left, so that one that does not end by then is stuck."""

which = st.integers(0, 40)
"""Chooses one of however many there are, by its remainder."""
whose = st.integers(0, 2)
verdicts = st.sampled_from([v for v in Verdict if v is not Verdict.LOST])
faults = st.lists(st.sampled_from(list(Fault)), max_size=2)


class Lives(RuleBasedStateMachine):
    """Runs of six jobs, three slots, and as many beats as there are calls of their verbs."""

    slots: ClassVar[Sequence[MachineSlot]] = ()
    hints: ClassVar[list[Mapping[str, int]]] = []
    """What was to be hinted, kept by whoever put this list into `jobs.messages.hint`."""
    steps: ClassVar[int] = 0
    """How many were taken in all."""
    met: ClassVar[Counter[str]] = Counter()
    """How often what the guards are there for came about, so that a machine that never meets it is noticed."""

    def __init__(self) -> None:
        super().__init__()
        for table in ("jobs_run", "jobs_attempt", "jobs_transition", "jobs_outputchunk", "jobs_backfill"):
            django_connection(f"DELETE FROM {table}", {})
        for slot in self.slots:
            slot.session.faults.clear()
        self.runs: dict[int, Expected] = {}
        self.instants: set[datetime] = set()
        self.held: list[list[Claim]] = [[] for _ in self.slots]
        """What each slot works on."""
        self.former: list[Claim] = []
        """Claims of slots that froze, died or have recorded them: some thaw and record them, once more."""
        self.seen: History | None = None
        self.sound = True

    # -- what makes runs ------------------------------------------------------------------------------------

    @initialize(
        jobs=st.lists(st.sampled_from(sorted(FACTS)), min_size=1, max_size=4),
        limit=st.sampled_from([1, 4]),
        faults=faults,
        overtaken=st.none() | verdicts,
    )
    def begin(self, jobs: list[str], limit: int, faults: list[Fault], overtaken: Verdict | None) -> None:
        """Something is under way already, and may have been taken over."""
        for job in jobs:
            self.request(job, False)
        self.turn(0, [Verdict.SUCCEEDED], True, limit, faults)
        if overtaken and self.held[0]:
            self.taken_over(0, overtaken, False, [])

    @rule(
        how=st.sampled_from(["fire", "fill", "request", "request for later", "retry"]),
        job=st.sampled_from(sorted(FACTS)),
        hours=st.integers(0, 2),
        index=which,
    )
    def more(self, how: str, job: str, hours: int, index: int) -> None:
        """New runs."""
        match how:
            case "fire":
                self.fire(hours, beats=1 + index % 2)
            case "fill":
                self.fill(hours)
            case "retry":
                self.retry(index)
            case _:
                self.request(job, later=how == "request for later")

    def fire(self, hours: int, beats: int) -> None:
        """The schedule is due since a while: after an outage, or put back by hand to what it has fired already."""
        self._begin()
        before = now()
        first = before.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours)
        django_connection("UPDATE jobs_schedule SET next_fire_at = %(first)s, cursor = %(first)s", {"first": first})
        fired = [scheduling.fire_due() for _ in range(beats)]
        assert fired == [1, 0][:beats], f"I1: {fired} schedules fired"
        self._was_due(first, before)

    def fill(self, hours: int) -> None:
        """A backfill asks for instants of which some have their run."""
        self._begin()
        before = now()
        first = before.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours)
        backfill.backfill(Job.objects.get(name="hourly"), start=first, end=before, actor="ada")
        self._was_due(first, before)

    def _was_due(self, first: datetime, last: datetime) -> None:
        instant = first
        while instant <= last:
            self.instants.add(instant)
            instant += timedelta(hours=1)
        for id, row in rows().items():
            if id not in self.runs:
                assert row.job == "hourly" and row.state is State.QUEUED, f"I1: {row} was not due"
                self._born(row)

    def request(self, job: str, later: bool) -> None:
        self._begin()
        run = control.trigger(job=job, actor="ada", at=now() + timedelta(hours=3) if later else None)
        row = rows()[run.pk]
        assert row.state is (State.SCHEDULED if later else State.QUEUED), row
        self._born(row)

    def retry(self, index: int) -> None:
        """By hand: a run that has ended is repeated as a run of its own, one that has not is left alone."""
        self._begin()
        old = self._any(self.runs.values(), index)
        try:
            run = control.retry(old.id, actor="ada")
        except Conflict:
            assert not old.ended, f"{old} has ended and could not be retried"
            return
        assert old.ended, f"{old} had not ended and was retried"
        row = rows()[run.pk]
        assert (row.job, row.state, row.retry_of) == (old.facts.name, State.QUEUED, old.id), row
        self._born(row)

    def _born(self, row: RunRow) -> None:
        facts = FACTS[row.job]
        batchable = facts.in_process and facts.retries_when_lost > 0
        self.runs[row.id] = Expected(id=row.id, facts=facts, state=row.state, batchable=batchable)

    # -- what beats do with them ----------------------------------------------------------------------------

    @rule(does=st.sampled_from(["promote", "sweep", "admit", "reap", "give up"]), index=which)
    def tick(self, does: str, index: int) -> None:
        """A beat does one of the things it does."""
        match does:
            case "promote":
                self.promote(index, every=index % 2 == 1)
            case "sweep":
                self.sweep()
            case "admit":
                self.admit()
            case "reap":
                self.reap(index / 41)
            case "give up":
                self.waits_too_long(index)
                self.give_up()

    def promote(self, index: int, every: bool) -> None:
        """The time of one waiting run, or of all, has come."""
        self._begin()
        waiting = self._in(State.SCHEDULED)
        if not waiting:
            return
        due = waiting if every else [self._any(waiting, index)]
        shift("run_at", due)
        count = recovery.promote()
        moved = {id for id, row in rows().items() if row.state is State.QUEUED} & {run.id for run in waiting}
        # On a slow machine the time of others may have come by itself.
        assert count == len(moved) and moved >= {run.id for run in due}, f"queued {moved} of {waiting}"
        for id in moved:
            self.runs[id].state, self.runs[id].overdue = State.QUEUED, False

    def sweep(self) -> None:
        """Hints may all be lost: a queue in which a run waits is hinted anew, and no other."""
        self._begin()
        self.hints.clear()
        recovery.sweep()
        works = any(r.state is State.QUEUED and r.held == 0 for r in rows().values())
        assert bool(self.hints) is works, f"I2: hints {self.hints}, though a run waits: {works}"

    def admit(self) -> None:
        self._begin()
        recovery.admit()

    @precondition(lambda self: self._in(State.RUNNING))
    @rule(index=which)
    def lease_ends(self, index: int) -> None:
        self._begin()
        run = self._any(self._in(State.RUNNING), index)
        shift("lease_until", [run])
        run.expired = True

    @precondition(lambda self: any(self.held) and not all(self.held))
    @rule(index=which, late=st.none() | verdicts, goes_on=st.booleans(), faults=faults)
    def taken_over(self, index: int, late: Verdict | None, goes_on: bool, faults: list[Fault]) -> None:
        """Another slot comes to perform a run whose first one has not noticed anything, and records it late."""
        busy = self._any([number for number, mine in enumerate(self.held) if mine], index)
        claim = self.held[busy][0]
        run = self.runs[claim.run_id]
        if not run.holds(claim.attempt, claim.token) or run.asked_to_end:
            return
        self.lease_ends(self._in(State.RUNNING).index(run))
        self.reap(0.0)
        if run.ended:
            return
        if run.state is State.SCHEDULED:
            self.promote(self._in(State.SCHEDULED).index(run), False)
        django_connection("UPDATE jobs_run SET priority = 9 WHERE id = %(id)s", {"id": run.id})
        self.admit()
        self.turn(next(number for number, mine in enumerate(self.held) if not mine), [], True, 1, [])
        self.met["run taken over"] += run.state is State.RUNNING
        if late:
            self.turn(busy, [late], goes_on, 1, faults)

    def reap(self, unit: float) -> None:
        self._begin()
        lost = [run for run in self.runs.values() if run.expired]
        assert recovery.reap(unit=lambda: unit) == len(lost)
        for run in lost:
            run.reap()

    def waits_too_long(self, index: int) -> None:
        self._begin()
        impatient = [run for run in self._in(State.QUEUED, State.SCHEDULED) if run.facts.name == "impatient"]
        if impatient:
            run = self._any(impatient, index)
            shift("expires_at", [run])
            run.overdue = True

    def give_up(self) -> None:
        self._begin()
        overdue = [r for r in self._in(State.QUEUED, State.SCHEDULED) if r.overdue]
        assert recovery.give_up() == len(overdue)
        for run in overdue:
            run.state = State.TIMED_OUT

    # -- what people do -------------------------------------------------------------------------------------

    @precondition(lambda self: self.runs)
    @rule(indexes=st.lists(which, min_size=1, max_size=3))
    def cancel(self, indexes: list[int]) -> None:
        self._begin()
        asked = {run.id: run for run in (self._any(self.runs.values(), index) for index in indexes)}
        states = control.cancel(asked, actor="ada")
        active = {id: run for id, run in asked.items() if not run.ended}
        for run in active.values():
            run.cancel()
        assert states == {id: run.state for id, run in active.items()}

    # -- what slots do --------------------------------------------------------------------------------------

    @rule(
        whose=whose,
        ended=st.lists(verdicts, min_size=1, max_size=3),
        goes_on=st.sampled_from([True, True, False]),
        limit=st.sampled_from([1, 1, 4]),
        faults=faults,
    )
    def turn(self, whose: int, ended: list[Verdict], goes_on: bool, limit: int, faults: list[Fault]) -> None:
        """A slot records what it holds and claims what comes next, in one statement, as `turn.py` does."""
        self._begin()
        mine, self.held[whose] = self.held[whose], []
        outcomes = [(claim, ended[number % len(ended)]) for number, claim in enumerate(mine)]
        self._record(self.slots[whose], outcomes, claim=goes_on, limit=limit, faults=faults)

    @precondition(lambda self: any(self.held))
    @rule(index=which)
    def freeze(self, index: int) -> None:
        """A slot is killed, or stands still for a while."""
        self._begin()
        mine = self._any([mine for mine in self.held if mine], index)
        self.former += mine
        mine.clear()

    @precondition(lambda self: any(self.held))
    @rule(index=which, ended=verdicts, goes_on=st.booleans(), faults=faults)
    def finish(self, index: int, ended: Verdict, goes_on: bool, faults: list[Fault]) -> None:
        """What `turn` does, by a slot that holds something."""
        busy = [number for number, mine in enumerate(self.held) if mine]
        self.turn(self._any(busy, index), [ended], goes_on, 1, faults)

    @precondition(lambda self: self.former)
    @rule(whose=whose, index=which, verdict=verdicts, goes_on=st.booleans(), faults=faults)
    def thaw(self, whose: int, index: int, verdict: Verdict, goes_on: bool, faults: list[Fault]) -> None:
        """A result comes late: after its lease ended, was reaped or taken over, or for the second time."""
        self._begin()
        claim = self.former[-1 - index % len(self.former)]
        goes_on = goes_on and not self.held[whose]
        self._record(self.slots[whose], [(claim, verdict)], claim=goes_on, limit=1, faults=faults)

    def _record(
        self, slot: MachineSlot, outcomes: list[tuple[Claim, Verdict]], *, claim: bool, limit: int, faults: list[Fault]
    ) -> None:
        settlements = [self._settlement(*outcome) for outcome in outcomes]
        expected = self._line(limit)
        slot.session.faults.extend(faults)
        claimed = slot.record(settlements, claim_from=QUEUE if claim else None, limit=limit)
        slot.session.faults.clear()
        for old, verdict in outcomes:
            run = self.runs[old.run_id]
            if run.holds(old.attempt, old.token):
                self.met["late but unreaped result recorded"] += run.expired
                self.met["result in doubt"] += faults[:1] != [] and faults[0] is not Fault.NONE
                run.settle(verdict)
            else:
                self.met["stale result refused"] += 1
                self.met["stale result beside another attempt"] += run.state is State.RUNNING
        self.former += [old for old, _ in outcomes if old not in self.former]
        taken = self._taken()
        if claim and expected:
            wanted = [] if faults[:1] == [Fault.NOT_SENT] else expected
            assert taken == wanted, f"claimed {taken} instead of {wanted}"
        elif claim:
            # A run that waited for another of its job may have been let go by the end of that one.
            assert len(taken) <= limit and set(taken) <= {run.id for run in self._in(State.QUEUED)}, (
                f"claimed {taken} of nothing that waits"
            )
        else:
            assert not taken, f"claimed {taken} unasked"
        told = [(c.run_id, c.attempt) for c in claimed]
        found = [(id, self.runs[id].attempt + 1) for id in taken]
        assert told == found, f"a slot was told of {told}, and holds {found}"
        self.met["claim in doubt"] += bool(taken) and Fault.ANSWER_LOST in faults
        written = rows()
        for id in taken:
            self.runs[id].claim(written[id].token, with_others=len(taken) > 1)
        self.held[self.slots.index(slot)] += claimed

    def _settlement(self, claim: Claim, verdict: Verdict) -> Settlement:
        _, _, content = self.slots[0].content(claim)
        assert isinstance(content, Content)
        return settle(claim, content, Outcome(verdict=verdict, reason="so be it"), now=datetime.now(UTC), unit=0.5)

    def _line(self, limit: int) -> list[int]:
        """Return what a claim must take now."""
        written = rows()
        waiting = [run for run in self._in(State.QUEUED) if written[run.id].held == 0 and not run.overdue]
        waiting.sort(key=lambda run: (-written[run.id].priority, written[run.id].run_at, run.id))
        if not waiting:
            return []
        batch = waiting[:1]
        for run in waiting[1:limit]:
            if not (run.batchable and batch[0].batchable):
                break
            batch.append(run)
        return [run.id for run in batch]

    def _taken(self) -> list[int]:
        """Return which runs were claimed since the model was last told."""
        known = {run.token for run in self.runs.values()}
        found = [row for row in rows().values() if row.state is State.RUNNING and row.token not in known]
        return [row.id for row in sorted(found, key=lambda row: (-row.priority, row.run_at, row.id))]

    @precondition(lambda self: any(self.held) or self.former)
    @rule(whose=whose, former=st.booleans(), late=st.none() | which)
    def beat(self, whose: int, former: bool, late: int | None) -> None:
        """What slots hold is renewed, for one of them too late; with `former`, also what they held before."""
        asked = [claim for mine in self.held for claim in mine] + (self.former if former else [])
        if late is not None and (running := self._in(State.RUNNING)):
            self.lease_ends(running.index(self._any(running, late)))
        self._begin()
        standing = store.heartbeat(self.slots[whose].session, asked, lease=LEASE)
        held = [claim for claim in asked if self.runs[claim.run_id].holds(claim.attempt, claim.token)]
        expected = {(claim.run_id, claim.attempt): self.runs[claim.run_id].asked_to_end for claim in held}
        assert standing == expected, f"renewed {standing}, and should have {expected}"
        for claim in held:
            self.met["expired lease renewed"] += self.runs[claim.run_id].expired
            self.runs[claim.run_id].expired = False

    @precondition(lambda self: self._lost_beside_another())
    @rule(whose=whose, index=which, with_others=st.booleans())
    def beat_of_a_lost_claim(self, whose: int, index: int, with_others: bool) -> None:
        """A slot does not know yet that another holds its run."""
        self._begin()
        lost = self._lost_beside_another()
        asked = lost if with_others else [self._any(lost, index)]
        standing = store.heartbeat(self.slots[whose].session, asked, lease=LEASE)
        assert standing == {}, f"renewed {standing}, and should have none"
        self.met["lost claim not renewed"] += 1

    def _lost_beside_another(self) -> list[Claim]:
        """Return claims that are lost and whose run is under way in another attempt."""
        claims = [claim for mine in self.held for claim in mine] + self.former
        return [
            claim
            for claim in claims
            if (run := self.runs[claim.run_id]).state is State.RUNNING and not run.holds(claim.attempt, claim.token)
        ]

    # -- what must hold -------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        """Compare every run with the model, and the rows with the promises."""
        history = History.read(django_connection)
        history.check(FACTS, self.instants)
        assert set(history.runs) == set(self.runs)
        for id, row in history.runs.items():
            run = self.runs[id]
            assert (row.state, row.attempt, row.handed_back, row.token, row.cancel_requested) == (
                run.state,
                run.attempt,
                run.handed_back,
                run.token,
                run.asked_to_end,
            ), f"{row} should be {run}"
        self._nothing_goes_back(history)
        self.sound = True

    def _nothing_goes_back(self, history: History) -> None:
        for id, before in (self.seen.runs if self.seen else {}).items():
            row = history.runs[id]
            assert row.attempt >= before.attempt, f"the attempt of {row} went back from {before.attempt}"
        self.seen = history

    def teardown(self) -> None:
        """I2: whatever was done, all runs end once time goes on and a worker looks where it is told to."""
        if not self.sound:
            return
        for _ in range(DRAIN_ROUNDS):
            self._all_time_comes()
            if not self._work_off():
                break
        active = [run for run in self.runs.values() if not run.ended]
        assert not active, f"I2: {active} did not end"
        self.holds()

    def _all_time_comes(self) -> None:
        """What a beat does once the time of everything has come."""
        for run in self._in(State.RUNNING):
            shift("lease_until", [run])
            run.expired = True
        self.reap(0.0)
        self.give_up()
        if self._in(State.SCHEDULED):
            self.promote(0, True)
        self.admit()

    def _work_off(self) -> bool:
        """Follow the hints of a sweep. Return whether anything is left for the next tick."""
        for _ in range(len(self.runs) + 1):
            self.sweep()
            if not self.hints:
                break
            self.turn(0, [Verdict.SUCCEEDED], True, 4, [])
            self.turn(0, [Verdict.SUCCEEDED], False, 1, [])
        return any(not run.ended for run in self.runs.values())

    # -- small things ---------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.sound = False
        Lives.steps += 1

    def _in(self, *states: State) -> list[Expected]:
        return [run for run in self.runs.values() if run.state in states]

    @staticmethod
    def _any(choice: Iterable[Any], index: int) -> Any:
        found = list(choice)
        return found[index % len(found)]


def now() -> datetime:
    """Return what the database's clock says."""
    [(moment,)] = django_connection("SELECT clock_timestamp()", {})
    return moment


def rows() -> dict[int, RunRow]:
    """Return the runs that are written."""
    return read_runs(django_connection)


def shift(column: str, runs: Collection[Expected]) -> None:
    """Put a moment of runs into the past."""
    django_connection(
        f"UPDATE jobs_run SET {column} = clock_timestamp() - interval '1 second' WHERE id = ANY(%(ids)s)",
        {"ids": [run.id for run in runs]},
    )
