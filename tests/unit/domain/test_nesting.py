"""How deep JSON text is nested."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobsched.domain.nesting import DEEPEST, is_too_deep


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", False),
        (nested(DEEPEST), False),
        (nested(DEEPEST + 1), True),
        ('{"a":' * 100_000, True),
        (json.dumps([[]] * DEEPEST * 2), False),
        (json.dumps("[" * DEEPEST * 2), False),
        (json.dumps(['"\\"[{', *["["] * DEEPEST]), False),
        (f'["\\\\", {nested(DEEPEST)}]', True),
    ],
)
def test_levels_are_counted_outside_of_text(text: str, expected: bool) -> None:
    assert is_too_deep(text) is expected


def test_what_is_accepted_can_be_read_and_written_again() -> None:
    value: Any = json.loads(nested(DEEPEST))
    assert json.dumps(value).count("[") == DEEPEST
