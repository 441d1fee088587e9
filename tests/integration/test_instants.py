"""Every due instant has exactly one record, whatever is done to schedules.

`JOBSCHED_MACHINE_EXAMPLES=2000` looks longer, `JOBSCHED_MACHINE_SEED=7` looks again.
"""

from __future__ import annotations

import os
import secrets

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from jobs.models import Project
from tests.integration.clock import DatabaseClock
from tests.integration.machine.schedules import Schedules

EXAMPLES = int(os.environ.get("JOBSCHED_MACHINE_EXAMPLES", "6"))


@pytest.mark.timeout(600)
def test_every_instant_has_exactly_one_record(project: Project, clock: DatabaseClock) -> None:
    number = int(os.environ.get("JOBSCHED_MACHINE_SEED") or secrets.randbelow(2**32))
    print(f"seed: JOBSCHED_MACHINE_SEED={number}")
    Schedules.clock = clock
    Schedules.met.clear()

    run_state_machine_as_test(
        seed(number)(Schedules),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            deadline=None,
            database=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )

    print(dict(Schedules.met))
    assert all(Schedules.met[became] > EXAMPLES for became in ("run", "skipped")), Schedules.met
