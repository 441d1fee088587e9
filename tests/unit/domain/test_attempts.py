"""How many attempts a run has had, in words."""

from __future__ import annotations

import pytest

from jobsched.domain.attempts import attempts_in_short, attempts_in_words


@pytest.mark.parametrize(
    ("begun", "most", "words"),
    [
        (0, 1, "0 of at most 1"),
        (3, 3, "3 of at most 3"),
        (2, 1, "2; at most 1 without those that were lost or handed back"),
    ],
)
def test_attempts_in_words(begun: int, most: int, words: str) -> None:
    assert attempts_in_words(begun, most) == words


@pytest.mark.parametrize(("begun", "most", "short"), [(1, 1, "1/1"), (2, 3, "2/3"), (2, 1, "2")])
def test_attempts_in_short(begun: int, most: int, short: str) -> None:
    assert attempts_in_short(begun, most, between="/") == short
