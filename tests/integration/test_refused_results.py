"""What the database refuses for its data ends the run with that reason, and no work is repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from jobs.models import Attempt, Job, Run
from jobs.services import control, recovery, running
from jobs.store import outputs
from jobs.store.session import Refused, Session, django_connection
from jobsched.callables import callable_job
from jobsched.domain.errors import Unavailable
from tests.integration.conftest import claim_next, keep_output

REFUSALS = {
    "a value out of range": "22003",
    "a character that is not in the repertoire": "22021",
    "a character that cannot be translated": "22P05",
    "text that is too long": "22001",
    "a conversion that is not supported": "0A000",
    "a rule of the table": "23514",
    "a value that is missing": "23502",
    "another type": "42804",
    "a value too large for memory": "XX000",
    "a trigger of the project": "P0001",
    "too much for one row": "54000",
    "nesting": "54001",
}
OUTAGES = {"a full disk": "53100", "a deadlock": "40P01", "an ended statement": "57014", "a shutdown": "57P01"}


@contextmanager
def refusing(sqlstate: str) -> Iterator[None]:
    """Make the database refuse attempts that printed or returned the word poison."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            CREATE FUNCTION refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF concat(NEW.output, NEW.result::text, NEW.warning) LIKE '%poison%' THEN
                    RAISE EXCEPTION 'it is poisoned' USING ERRCODE = '{sqlstate}';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER refuse_poison BEFORE INSERT ON jobs_attempt FOR EACH ROW EXECUTE FUNCTION refuse_poison()
            """
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse_poison ON jobs_attempt; DROP FUNCTION refuse_poison()")


def the_only_attempt(run: Run) -> Attempt:
    run.refresh_from_db()
    [attempt] = Attempt.objects.filter(run=run)
    assert attempt.reason == run.reason
    return attempt


@pytest.mark.usefixtures("own_slot")
@pytest.mark.parametrize("sqlstate", ["22P05", "0A000", "XX000"])
def test_a_run_whose_result_is_refused_fails_with_that_reason_and_is_not_repeated(
    sqlstate: str, make_job: Callable[..., Job], tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    command = f"echo once >> {ran}; echo poison"
    make_job("Poison", spec={"command": command}, retries={"max": 3, "backoff": "0s"}, on_lost="retry")
    run = control.trigger(job="Poison", actor="test")
    with refusing(sqlstate):
        running.work("default", hostname="slot")
    assert the_only_attempt(run).verdict == run.state == "failed"
    assert run.reason == "the result of this attempt cannot be stored: the database refuses it: it is poisoned"
    assert ran.read_text() == "once\n"


@callable_job("test.return", in_process=True)
def give_back(value: str) -> str:
    return value


@pytest.mark.usefixtures("own_slot")
def test_one_refused_result_of_a_batch_costs_the_others_nothing(make_job: Callable[..., Job]) -> None:
    job = make_job("Batch", kind="python", spec={"call": "test.return"}, in_process=True)
    runs = [
        control.trigger(job=job.name, actor="test", params={"value": value})
        for value in ("sound", "sound", "poison", "sound", "sound", "poison")
    ]
    with refusing("0A000"):
        running.work("default", hostname="slot")
    assert [the_only_attempt(run).verdict for run in runs] == [
        "succeeded",
        "succeeded",
        "failed",
        "succeeded",
        "succeeded",
        "failed",
    ]


def test_a_lost_attempt_whose_output_is_refused_has_an_end_and_stops_no_others(
    make_job: Callable[..., Job], make_runs: Callable[..., list[Run]], session: Session
) -> None:
    job = make_job("Lost", retries={"max": 0})
    runs = [control.trigger(job=job.name, actor="test") for _ in range(3)]
    for printed in (b"sound", b"poison", b"sound"):
        [claim] = claim_next(session)
        keep_output(session, claim, 0, printed)
    django_connection("UPDATE jobs_run SET lease_until = now() - interval '1 s'", {})
    with refusing("22P05"):
        assert recovery.reap() == 3
    verdicts = [Attempt.objects.get(run=run).verdict for run in runs]
    assert verdicts == ["lost", "failed", "lost"]
    refused = Run.objects.get(pk=runs[1].pk)
    assert (refused.state, "it is poisoned" in refused.reason) == ("failed", True)


@pytest.mark.parametrize("sqlstate", OUTAGES.values(), ids=OUTAGES)
def test_an_outage_is_no_refusal(sqlstate: str, session: Session) -> None:
    with pytest.raises(Unavailable):
        session(f"DO $$ BEGIN RAISE EXCEPTION 'away' USING ERRCODE = '{sqlstate}'; END $$", {})


@pytest.mark.parametrize("sqlstate", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_no_outage(sqlstate: str, session: Session) -> None:
    with pytest.raises(Refused, match="no such thing"):
        session(f"DO $$ BEGIN RAISE EXCEPTION 'no such thing' USING ERRCODE = '{sqlstate}'; END $$", {})


@pytest.mark.usefixtures("own_slot")
def test_output_that_cannot_be_shown_while_it_runs_ends_no_run(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise Refused("the database refuses it")

    monkeypatch.setattr(outputs, "keep", refuse)
    make_job("Printer", spec={"command": "echo first; sleep 2; echo last"})
    run = control.trigger(job="Printer", actor="test")
    running.work("default", hostname="slot")
    assert the_only_attempt(run).output == "first\nlast\n"
    assert run.state == "succeeded"
