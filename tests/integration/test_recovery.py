"""What beat does for runs that nobody holds any more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.models import Definition, Job, Run
from jobs.services import control, recovery
from jobs.store.session import Session
from tests.integration.conftest import claim_next


def test_a_definition_that_cannot_be_read_keeps_no_other_lost_run_from_its_next_attempt(
    session: Session, make_job: Callable[..., Job]
) -> None:
    for name in ("Bad", "Good"):
        make_job(name)
        control.trigger(job=name, actor="test")
        claim_next(session, lease_seconds=-1)
    bad = Definition.objects.get(job__name="Bad")
    bad.content["retries"] = {"of a later version": 1}
    bad.save()

    assert recovery.reap() == 2

    found = dict(Run.objects.values_list("job__name", "state"))
    assert found == {"Bad": "failed", "Good": "scheduled"}
    assert "cannot be read" in Run.objects.get(state="failed").reason


@pytest.mark.parametrize("on_lost", ["retry", "fail"])
def test_a_run_that_was_to_be_cancelled_is_cancelled_when_its_worker_is_lost(
    session: Session, make_job: Callable[..., Job], on_lost: str
) -> None:
    make_job("Gone", on_lost=on_lost)
    run = control.trigger(job="Gone", actor="test")
    claim_next(session, lease_seconds=-1)
    control.cancel([run.pk], actor="ada")

    assert recovery.reap() == 1

    run.refresh_from_db()
    assert (run.state, run.reason) == ("cancelled", "cancelled by ada")
