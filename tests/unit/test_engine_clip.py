"""Output of any length in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobsched.engine.clip import Clip, as_text


@given(st.binary())
def test_text_can_be_stored_in_postgresql(output: bytes) -> None:
    text = as_text(output)
    assert "\0" not in text
    text.encode("utf-8")


def test_memory_stays_bounded_for_a_long_stream() -> None:
    clip = Clip(head=100, tail=100)
    for _ in range(10_000):
        clip.add(b"x" * 150)
    assert len(clip._tail) <= 350
