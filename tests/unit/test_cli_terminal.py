"""Text from jobs cannot command the terminal it is shown on."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsched.cli.terminal import Cleaner, plain

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(*pieces: str) -> str:
    cleaner = Cleaner()
    return "".join([*(cleaner.feed(piece) for piece in pieces), cleaner.rest()])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("größer → 🙂\n", "größer → 🙂\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1b]0;new title\x07text", "text"),
        ("\x1b]52;c;Zm9v\x1b\\text", "text"),
        ("\x1bP1$r\x1b\\text", "text"),
        ("\x1b(0box\x1bc", "box"),
        ("\x9b31mred\x9d0;title\x9ctext", "redtext"),
        ("10%\r20%\r\n", "10%\n20%\n"),
        ("typed\b\b\b\bhidden", "typedhidden"),
        ("bell\x07 nul\x00 del\x7f", "bell nul del"),
        ("left\u202eto right", "leftto right"),
        ("\x1b]0;no end\nnext line", "\nnext line"),
        ("cut off \x1b[3", "cut off [3"),
        ("\x1b[1;\x1b[31mtwo", "[1;two"),
    ],
)
def test_a_terminal_is_shown_text_without_controls(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.lists(st.text(alphabet=st.sampled_from("ab\x1b[]0;m\x07\\\r\n\t\x9b\x9d\x9cP(é")), max_size=8))
def test_where_a_stream_is_cut_makes_no_difference(pieces: list[str]) -> None:
    assert clean(*pieces) == clean("".join(pieces))
    assert not CONTROL.search(clean(*pieces))


@given(st.text())
def test_whatever_is_printed_no_control_character_passes(text: str) -> None:
    assert not CONTROL.search(clean(text))
    assert not CONTROL.search(plain(text))
    assert "\n" not in plain(text)


def test_a_sequence_that_never_ends_does_not_hold_output_back_for_ever() -> None:
    cleaner = Cleaner()
    shown = "".join(cleaner.feed("x" * 1000) for _ in range(2)) + cleaner.feed("\x1b]" + "y" * 5000)
    assert shown.count("y") == 5000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("build\x1b[31m", r"build\x1b[31m"),
        ("two\nlines\tof it", "two lines of it"),
        ("abc\u202ecba", r"abc\u202ecba"),
        (7, "7"),
    ],
)
def test_in_tables_controls_are_made_visible(text: object, shown: str) -> None:
    assert plain(text) == shown
