"""Output of any length in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobsched.engine.clip import Clip, as_text


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(1, 40), st.integers(1, 40))
def test_keeps_all_or_the_ends_and_says_how_much_is_left_out(chunks: list[bytes], head: int, tail: int) -> None:
    clip = Clip(head=head, tail=tail)
    for chunk in chunks:
        clip.add(chunk)
    written = b"".join(chunks)
    assert clip.total == len(written)
    if len(written) <= head + tail:
        assert clip.render() == written
    else:
        left_out = len(written) - head - tail
        marker = f"\n[… {left_out} bytes left out …]\n".encode()
        assert clip.render() == written[:head] + marker + written[-tail:]


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
