"""JSON text that PostgreSQL can hold."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobsched.domain.storable import storable

ANY_TEXT = st.text(st.characters(exclude_categories=[]))


def cleaned(value: Any) -> Any:
    match value:
        case str():
            # Halves that belong together are one character to JSON, though not to Python.
            whole = "".join(json.loads(json.dumps(value)))
            return whole.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
        case list():
            return [cleaned(item) for item in value]
    return {cleaned(key): cleaned(item) for key, item in value.items()}


@given(st.recursive(ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner, max_size=1)))
def test_what_cannot_be_stored_is_replaced_and_all_else_is_kept(value: Any) -> None:
    assert json.loads(storable(json.dumps(value))) == cleaned(value)


def test_text_that_only_looks_like_an_escape_is_kept() -> None:
    text = "a backslash, then u0000: \\u0000, \\\\u0000 and \\ud800"
    assert json.loads(storable(json.dumps(text))) == text
