"""docs/lifecycle.md says what jobsched/domain/states.py does."""

from __future__ import annotations

import re
from pathlib import Path

from jobsched.domain.states import BIRTHS, FINISHED, TRANSITIONS, State, may

PAGE = (Path(__file__).parents[2] / "docs" / "lifecycle.md").read_text()


def documented() -> dict[State, frozenset[State]]:
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", PAGE, re.MULTILINE)
    return {State(state): frozenset(State(s) for s in re.findall(r"`(\w+)`", after)) for state, after in rows}


def test_the_page_has_the_table_of_the_code() -> None:
    assert documented() == TRANSITIONS


def test_every_state_is_reachable_and_ends_are_ends() -> None:
    reachable = set(BIRTHS)
    for _ in State:
        reachable |= {after for state in reachable for after in TRANSITIONS[state]}
    assert reachable == set(State)
    assert all(not TRANSITIONS[state] for state in FINISHED)


def test_an_ended_run_goes_nowhere() -> None:
    assert not any(may(before, after) for before in FINISHED for after in State)
