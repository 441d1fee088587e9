"""Text of any length is cut to its limit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsched.domain.outcomes import Outcome, Section, Verdict
from jobsched.domain.texts import NAME_LIMIT, TEXT_LIMIT, cut
from jobsched.engine.sections import Sections


@given(st.text(max_size=400), st.integers(min_value=60, max_value=200))
def test_a_text_is_kept_or_its_ends_are_with_the_number_of_what_is_missing(text: str, limit: int) -> None:
    found = cut(text, limit)
    if len(text) <= limit:
        assert found == text
        return
    assert len(found) <= limit
    match = re.fullmatch(r"(.*) \[… (\d+) characters left out …\] (.*)", found, re.DOTALL)
    assert match is not None
    head, missing, tail = match.groups()
    assert head and text.startswith(head)
    assert text.endswith(tail)
    assert len(head) + int(missing) + len(tail) == len(text)


def test_every_text_of_an_outcome_is_cut_and_nothing_else_changes() -> None:
    long = "x" * 1_000_000
    outcome = Outcome(
        verdict=Verdict.FAILED, reason=long, error=long, warning=long, exit_code=3, retry_after_seconds=7.0
    )
    cut_outcome = outcome.with_texts_cut()
    texts = ((cut_outcome.reason, TEXT_LIMIT), (cut_outcome.error or "", NAME_LIMIT), (cut_outcome.warning, TEXT_LIMIT))
    for text, limit in texts:
        assert limit * 0.9 < len(text) <= limit
    assert (cut_outcome.verdict, cut_outcome.exit_code, cut_outcome.retry_after_seconds) == (Verdict.FAILED, 3, 7.0)


@pytest.mark.parametrize("planned", [True, False])
def test_the_name_of_a_section_is_cut(planned: bool) -> None:
    sections = Sections()
    if planned:
        sections.plan(["x" * 100_000])
    else:
        sections.begin("x" * 100_000)
        sections.close(Verdict.SUCCEEDED)
    [section] = sections.all()
    assert isinstance(section, Section)
    assert len(section.name) <= NAME_LIMIT
