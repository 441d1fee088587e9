"""Output is cut at the ends of lines, outside of terminal sequences and characters."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobsched.domain.cuts import first_cut, last_cut
from jobsched.domain.outcomes import Part
from jobsched.engine.clip import Clip
from jobsched.engine.printed import Printed

RED = b"\x1b[38;5;196m"
TITLE = b"\x1b]0;a title\nof two lines\x07"
LINK = b"\x1b]8;;https://example.com/\x1b\\"
PIECES = [
    b"a",
    b"\n",
    b"\r",
    "é".encode(),
    "€".encode(),
    "🙂".encode(),
    RED,
    b"\x1b[K",
    TITLE,
    LINK,
    b"\x1bM",
    b"\xff",
]


@pytest.mark.parametrize(
    ("data", "high", "place"),
    [
        (b"one\ntwo\nthree", 13, 8),
        (b"one\ntwo\nthree", 8, 8),
        (b"one\ntwo\nthree", 7, 4),
        (b"abc" + RED + b"red", 8, 3),
        (b"abc" + TITLE + b"text", 20, 3),
        ("abcé".encode(), 4, 3),
        ("ab🙂".encode(), 5, 2),
        (b"ab\xff\xff", 3, 3),
        # A string ends where the next sequence begins.
        (b"\xc2\x9done\ntwo\n\xc2\x9dthree", 17, 10),
    ],
)
def test_the_beginning_ends_with_a_line_or_else_with_a_whole_character(data: bytes, high: int, place: int) -> None:
    assert last_cut(data, 0, high) == place


@pytest.mark.parametrize(
    ("data", "low", "place"),
    [
        (b"one\ntwo\nthree", 0, 4),
        (b"one\ntwo\nthree", 4, 4),
        (b"one\ntwo\nthree", 5, 8),
        (b"ab" + RED + b"red", 4, 2 + len(RED)),
        (b"a" + TITLE + b"text\nend", 2, 1 + len(TITLE) + 5),
        ("🙂b".encode(), 1, 4),
    ],
)
def test_the_end_begins_with_a_line_or_else_with_a_whole_character(data: bytes, low: int, place: int) -> None:
    assert first_cut(data, low, len(data)) == place


def positions(pieces: list[bytes]) -> set[int]:
    """Return the places between pieces, where nothing is split."""
    found, place = {0}, 0
    for piece in pieces:
        if piece.isascii() and b"\x1b" not in piece:
            found.update(range(place, place + len(piece)))
        place += len(piece)
        found.add(place)
    return found


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=60), st.data())
def test_no_cut_splits_a_character_or_a_sequence(pieces: list[bytes], data: st.DataObject) -> None:
    text = b"".join(pieces)
    place = data.draw(st.integers(0, len(text)))
    assert last_cut(text, 0, place) in positions(pieces)
    assert first_cut(text, place, len(text)) in positions(pieces)


@given(
    st.lists(st.sampled_from([*PIECES, b"x" * 50, b"line of text\n" * 5]), max_size=80),
    st.integers(1, 100),
    st.booleans(),
)
@example([b"x" * 50] * 30, 64, False)
def test_a_clip_keeps_all_or_whole_ends(pieces: list[bytes], size: int, step: bool) -> None:
    clip = Clip(head=200, tail=200)
    text = b"".join(pieces)
    for start in range(0, len(text), size):
        clip.add(text[start : start + size])
    shown = clip.render()
    if len(text) <= 400:
        assert shown == text
        return
    match = re.fullmatch(
        rb"(.*?)(?:^|\n|(?<=\n))\[\xe2\x80\xa6 (\d+) bytes left out \xe2\x80\xa6\]\n(.*)", shown, re.DOTALL
    )
    assert match is not None
    tail = match[3]
    assert text.endswith(tail)
    head_length = len(text) - int(match[2]) - len(tail)
    assert shown.startswith(text[:head_length])
    assert {head_length, len(text) - len(tail)} <= positions(pieces)


@given(
    st.lists(st.sampled_from([*PIECES, b"x" * 500, b"line of text\n" * 50]), max_size=400),
    st.integers(1, 3000),
    st.integers(1000, 40_000),
    st.data(),
)
def test_what_is_passed_on_is_all_up_to_the_limit_and_the_ends_beyond(
    pieces: list[bytes], size: int, limit: int, data: st.DataObject
) -> None:
    """Whenever parts are taken, what is kept afterwards is the same."""
    text = b"".join(pieces)
    printed = Printed(limit=limit)
    kept: dict[int, bytes] = {}

    def keep(part: Part) -> None:
        assert text[part.start : part.stop] == part.data
        for other in [other for other in kept if other >= part.replaces_from]:
            del kept[other]
        kept[part.start] = part.data

    for start in range(0, len(text), size):
        printed.add(text[start : start + size])
        while printed.is_unsaved and data.draw(st.booleans()):
            part = printed.next_part()
            keep(part)
            printed.saved(part)
    for part in printed.rest():
        keep(part)
    assert printed.total == len(text)
    stored = sum(map(len, kept.values()))
    assert stored <= limit
    if len(text) <= limit:
        assert b"".join(kept[start] for start in sorted(kept)) == text
        return
    assert stored >= limit // 3
    *head, last = sorted(kept)
    head_stop = max((start + len(kept[start]) for start in head), default=0)
    assert last + len(kept[last]) == len(text)
    assert head_stop < last
    assert {head_stop, last} <= positions(pieces)
