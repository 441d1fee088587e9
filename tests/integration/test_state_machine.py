"""Whatever is done to runs, in whatever order, the promises hold; and without its guards the product breaks them.

`JOBSCHED_MACHINE_EXAMPLES=2000` looks longer, `JOBSCHED_MACHINE_SEED=7` looks again. A failure prints the steps that
led to it, the seed, and the line that repeats it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import IntegrityError
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

import tests.sample_callables  # noqa: F401 - the manifest names one
from jobs import messages
from jobs.models import Project
from jobs.services import definitions, scheduling
from jobs.store import births, claims
from jobs.store.session import Refused, Session, django_connection
from tests.integration.machine.jobs import MANIFEST
from tests.integration.machine.rules import Lives
from tests.integration.machine.slots import MachineSlot

pytestmark = pytest.mark.timeout(600)

EXAMPLES = int(os.environ.get("JOBSCHED_MACHINE_EXAMPLES", "25"))
STEPS = 40
MUTANT_EXAMPLES = 100
MUST_MEET = (
    "run taken over",
    "stale result refused",
    "stale result beside another attempt",
    "expired lease renewed",
    "result in doubt",
    "claim in doubt",
)


def look(machine: type[Lives], *, examples: int, **chosen: Any) -> None:
    """Let the machine look for a broken promise. Raises what it finds."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            **chosen,
        ),
    )


@pytest.fixture
def machine(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], type[Lives]]]:
    """Make a machine on the test's database."""
    definitions.apply(MANIFEST, filename="machine.yaml", actor="ada")
    scheduling.refresh_edited()
    hints: list[Mapping[str, int]] = []

    # Whether and when a hint arrives is the machine's to say.
    def keep(waiting: Mapping[str, int]) -> None:
        if any(waiting.values()):
            hints.append(dict(waiting))

    monkeypatch.setattr(messages, "hint", keep)
    monkeypatch.setattr("jobs.messages.hints.hint", keep)  # those that wait for a commit
    monkeypatch.setattr(messages, "look", lambda: None)
    made: list[MachineSlot] = []

    def make() -> type[Lives]:
        made.extend(MachineSlot(name=f"slot-{number}") for number in range(3))
        return type("Lives", (Lives,), {"slots": tuple(made), "hints": hints})

    yield make
    for slot in made:
        slot.close()


def test_the_promises_hold_whatever_is_done(machine: Callable[[], type[Lives]]) -> None:
    number = int(os.environ.get("JOBSCHED_MACHINE_SEED") or secrets.randbelow(2**32))
    print(f"seed: JOBSCHED_MACHINE_SEED={number}")
    Lives.met.clear()

    look(seed(number)(machine()), examples=EXAMPLES)

    print(dict(Lives.met))
    assert all(Lives.met[situation] for situation in MUST_MEET), Lives.met


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """The product without one of its guards, and without what else of the database would refuse the consequence."""

    name: str
    finds: str
    """The promise that the machine sees broken, as it says it."""
    settle: Mapping[str, str] | None = None
    """What to write instead in the statement that records and claims."""
    heartbeat: Mapping[str, str] | None = None
    fire: Mapping[str, str] | None = None
    without: tuple[str, ...] = ()
    """Constraints and unique indexes of `jobs_run` and `jobs_attempt` that are off."""
    calls: Mapping[str, Any] | None = None
    """Functions of `jobs.store.claims` to call instead."""


MUTANTS = (
    Mutant(
        name="no-fence",
        settle={"r.attempt = i.attempt AND r.claim_token = i.token AND ": ""},
        without=("jobs_attempt_once",),
        finds=r"I\d: |should be",
    ),
    # Alone, neither the comparison of the state nor the forgetting of the token could be missed: the token of a run
    # that is not running is NULL, which equals nothing, and a constraint sees to that. So all three go.
    Mutant(
        name="no-compare-and-set",
        settle={" AND r.state = 'running'": "", "claim_token = NULL, lease_until": "lease_until"},
        without=("jobs_run_running_means_claimed", "jobs_attempt_once", "jobs_run_finished_has_its_time"),
        finds=r"I\d: |should be",
    ),
    Mutant(
        name="lost-claims-renewed",
        heartbeat={
            " AND r.attempt = %(attempt)s AND r.claim_token = %(token)s": "",
            " AND r.attempt = h.attempt AND r.claim_token = h.token": "",
        },
        finds="renewed .* and should have",
    ),
    Mutant(name="no-on-conflict", fire={"ON CONFLICT DO NOTHING": ""}, finds="jobs_run_one_per_instant"),
    Mutant(name="no-unique-instants", without=("jobs_run_one_per_instant",), finds="I1: instants with more than one"),
    Mutant(
        name="attempts-count-from-one-again",
        settle={"attempt = attempt + 1": "attempt = 1"},
        without=("jobs_attempt_once",),
        finds=r"I\d: |should be|the attempt of|was told of",
    ),
    Mutant(
        name="ambiguous-claims-forgotten",
        calls={"claimed_as": lambda execute, request: []},
        finds="a slot was told of",
    ),
    Mutant(
        name="ambiguous-records-taken-for-done",
        calls={"unsettled": lambda execute, settlements: []},
        finds="should be|claimed",
    ),
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_without_a_guard_the_machine_finds_a_broken_promise(
    mutant: Mutant, machine: Callable[[], type[Lives]], monkeypatch: pytest.MonkeyPatch, without: Callable[..., None]
) -> None:
    if mutant.settle:
        altered = {key: _altered(sql, mutant.settle, some=True) for key, sql in claims._STATEMENTS.items()}
        assert altered != claims._STATEMENTS
        monkeypatch.setattr(claims, "_STATEMENTS", altered)
    if mutant.heartbeat:
        for name in ("_HEARTBEAT", "_HEARTBEATS"):
            before_change = getattr(claims, name)
            altered_heartbeat = _altered(before_change, mutant.heartbeat, some=True)
            assert altered_heartbeat != before_change
            monkeypatch.setattr(claims, name, altered_heartbeat)
    if mutant.fire:
        monkeypatch.setattr(births, "_CREATE", _altered(births._CREATE, mutant.fire))
    for name, call in (mutant.calls or {}).items():
        monkeypatch.setattr(claims, name, call)
    without(mutant.without)

    before = Lives.steps
    with pytest.raises((AssertionError, IntegrityError), match=mutant.finds):
        look(machine(), examples=MUTANT_EXAMPLES, derandomize=True, phases=(Phase.generate,))
    print(f"{mutant.name}: found after {Lives.steps - before} steps")


def _altered(sql: str, changes: Mapping[str, str], *, some: bool = False) -> str:
    for old, new in changes.items():
        assert some or old in sql, f"{old!r} is not in the statement any more"
        sql = sql.replace(old, new)
    return sql


@pytest.fixture
def without(transactional_db: None) -> Iterator[Callable[[tuple[str, ...]], None]]:
    """Take constraints and unique indexes away for the length of a test."""
    taken: list[str] = []

    def take(names: tuple[str, ...]) -> None:
        for name in names:
            found = django_connection(
                """
                SELECT format('ALTER TABLE %%s DROP CONSTRAINT %%I', c.conrelid::regclass, c.conname),
                    format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', c.conrelid::regclass, c.conname,
                        pg_get_constraintdef(c.oid))
                FROM pg_constraint c WHERE c.conname = %(name)s
                UNION ALL
                SELECT format('DROP INDEX %%I', i.indexname), i.indexdef FROM pg_indexes i
                WHERE i.indexname = %(name)s AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = %(name)s)
                """,
                {"name": name},
            )
            [(drop, restore)] = found
            django_connection(drop, {})
            taken.append(restore)

    yield take
    for table in ("jobs_run", "jobs_attempt"):
        django_connection(f"DELETE FROM {table}", {})
    for restore in taken:
        django_connection(restore, {})


def test_a_token_never_outlives_the_claim(session: Session, make_runs: Callable[..., Any]) -> None:
    """The guard behind the compare-and-set, see MUTANTS."""
    [run] = make_runs()
    with pytest.raises(Refused, match="jobs_run_running_means_claimed"):
        session("UPDATE jobs_run SET claim_token = gen_random_uuid() WHERE id = %(id)s", {"id": run.pk})
