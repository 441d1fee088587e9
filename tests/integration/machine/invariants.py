"""What must hold of the rows of runs at any moment, whatever was done: the issue's I1 to I5 and I7.

Reads the three tables and nothing else, so that it judges any history: the machine's, or that of a real stack.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from jobs.store.session import Execute
from jobsched.domain.states import BIRTHS, State, may
from tests.integration.machine.jobs import Facts


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    id: int
    job: str
    state: State
    attempt: int
    handed_back: int
    token: Any
    held: int
    priority: int
    run_at: datetime
    instant: datetime | None
    """The instant of its schedule that it stands for; a retry of it carries the moment and stands for none."""
    started_at: datetime | None
    cancel_requested: bool
    retry_of: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptRow:
    run: int
    number: int
    verdict: str
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class TransitionRow:
    run: int
    before: str | None
    after: str
    attempt: int


def read_runs(execute: Execute) -> dict[int, RunRow]:
    """Return all runs by their numbers."""
    rows = execute(
        """
        SELECT r.id, j.name, r.state, r.attempt, r.handed_back, r.claim_token, r.held, r.priority, r.run_at,
            CASE WHEN r.schedule_id IS NOT NULL THEN r.scheduled_for END, r.started_at,
            r.cancel_requested_at IS NOT NULL, r.retry_of
        FROM jobs_run r JOIN jobs_job j ON j.id = r.job_id ORDER BY r.id
        """,
        {},
    )
    return {
        id: RunRow(
            id=id,
            job=job,
            state=State(state),
            attempt=attempt,
            handed_back=back,
            token=token,
            held=held,
            priority=priority,
            run_at=run_at,
            instant=instant,
            started_at=started,
            cancel_requested=cancel,
            retry_of=retry_of,
        )
        for id, job, state, attempt, back, token, held, priority, run_at, instant, started, cancel, retry_of in rows
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """All runs, with their attempts and transitions in order."""

    runs: Mapping[int, RunRow]
    attempts: Mapping[int, list[AttemptRow]]
    transitions: Mapping[int, list[TransitionRow]]

    @classmethod
    def read(cls, execute: Execute) -> History:
        attempts: dict[int, list[AttemptRow]] = defaultdict(list)
        for run, number, verdict, began, ended in execute(
            "SELECT run_id, number, verdict, started_at, finished_at FROM jobs_attempt ORDER BY run_id, number, id", {}
        ):
            attempts[run].append(
                AttemptRow(run=run, number=number, verdict=verdict, started_at=began, finished_at=ended)
            )
        transitions: dict[int, list[TransitionRow]] = defaultdict(list)
        for run, before, after, attempt in execute(
            "SELECT run_id, before, after, attempt FROM jobs_transition ORDER BY id", {}
        ):
            transitions[run].append(TransitionRow(run=run, before=before, after=after, attempt=attempt))
        return cls(runs=read_runs(execute), attempts=attempts, transitions=transitions)

    def check(self, facts: Mapping[str, Facts], instants: Collection[datetime]) -> None:
        """Raise AssertionError with the name of the promise that is broken. `instants` are those that were due."""
        self._every_instant_has_one_run(instants)
        for run in self.runs.values():
            self._attempts_do_not_overlap(run)
            self._at_most_one_success_and_it_is_last(run)
            self._attempts_are_within_their_limit(run, facts[run.job])
            self._transitions_are_in_the_table(run)
        self._jobs_that_run_alone_do(facts)

    def _every_instant_has_one_run(self, instants: Collection[datetime]) -> None:
        made = Counter(r.instant for r in self.runs.values() if r.instant and r.state is not State.SKIPPED)
        twice = [instant for instant, count in made.items() if count > 1]
        assert not twice, f"I1: instants with more than one run: {twice}"
        missing = set(instants) - set(made)
        assert not missing, f"I1: instants without a run: {sorted(missing)}"

    def _attempts_do_not_overlap(self, run: RunRow) -> None:
        ended: datetime | None = None
        for attempt in self.attempts.get(run.id, ()):
            assert ended is None or attempt.started_at >= ended, f"I3: attempts of {run} overlap at {attempt}"
            ended = attempt.finished_at
        if run.state is State.RUNNING and ended:
            assert run.started_at is not None and run.started_at >= ended, f"I3: {run} began before its last one ended"

    def _at_most_one_success_and_it_is_last(self, run: RunRow) -> None:
        good = [a.number for a in self.attempts.get(run.id, ()) if a.verdict == "succeeded"]
        assert good == ([run.attempt] if run.state is State.SUCCEEDED else []), f"I4: successes {good} of {run}"

    def _attempts_are_within_their_limit(self, run: RunRow, facts: Facts) -> None:
        tries = run.attempt - run.handed_back
        assert 0 <= tries <= facts.most_tries, f"I5: {tries} tries of {run}, of {facts.most_tries}"
        under_way = run.state is State.RUNNING
        numbers = [a.number for a in self.attempts.get(run.id, ())]
        assert numbers == list(range(1, run.attempt + (not under_way))), f"I5: attempts {numbers} of {run}"

    def _transitions_are_in_the_table(self, run: RunRow) -> None:
        state: State | None = None
        attempt = 0
        for step in self.transitions.get(run.id, ()):
            after = State(step.after)
            assert step.before == state, f"I7: {step} of {run} begins where it was not, in {step.before}"
            assert after in BIRTHS if state is None else may(state, after), f"I7: {step} of {run} is not in the table"
            attempt += after is State.RUNNING
            assert step.attempt == attempt, f"I7: {step} of {run} is of the wrong attempt, not {attempt}"
            state = after
        assert state is run.state, f"I7: {run} is not where its transitions lead, {state}"
        assert attempt == run.attempt, f"I7: {run} was claimed {attempt} times"

    def _jobs_that_run_alone_do(self, facts: Mapping[str, Facts]) -> None:
        for name in (name for name, said in facts.items() if said.alone):
            runs = [run for run in self.runs.values() if run.job == name]
            going = [r for r in runs if r.state is State.RUNNING or (r.state is State.QUEUED and r.held < 2)]
            assert len(going) <= 1, f"I3: runs of '{name}' beside each other: {going}"
            spans = sorted((a.started_at, a.finished_at) for run in runs for a in self.attempts.get(run.id, ()))
            for (_, ended), (began, _) in pairwise(spans):
                assert began >= ended, f"I3: attempts of '{name}' overlap: {spans}"
