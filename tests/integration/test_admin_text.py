"""What the admin makes of text from outside: output of jobs, versions of definitions, JSON in fields."""

from __future__ import annotations

import unicodedata
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from jobs.admin.badges import duration
from jobs.admin.differences import difference
from jobs.admin.fields import CodeField, JsonField, ListField
from jobs.admin.printable import printable

ESC = "\x1b"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        (f"{ESC}[1;31mred{ESC}[0m", "red"),
        (f"{ESC}]0;a title\x07after", "after"),
        (f"{ESC}]8;;https://example.com{ESC}\\link{ESC}]8;;{ESC}\\", "link"),
        (f"{ESC}[2J{ESC}[Hcleared", "cleared"),
        (f"an unfinished {ESC}", "an unfinished \u241b"),
        ("bell\x07 nul\x00 del\x7f", "bell\u2407 nul\u2400 del\u2421"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("10%\r50%\r100%\nnext", "100%\nnext"),
        ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
        ("c1\x9b31m", "c1\\u009b31m"),
        ("naïve 日本語 🎉", "naïve 日本語 🎉"),
    ],
)
def test_output_is_made_readable(raw: str, shown: str) -> None:
    assert printable(raw) == shown


@given(st.text(alphabet=st.one_of(st.characters(max_codepoint=0x9F), st.sampled_from("\x1b[]\u202e\u2066;m\r\n"))))
def test_no_control_character_is_left(raw: str) -> None:
    left = {char for char in printable(raw) if unicodedata.category(char) in ("Cc", "Cf")}
    assert left <= {"\t", "\n", "\xad"}


def test_versions_are_compared_line_by_line() -> None:
    before = {"kind": "shell", "spec": {"command": "make\nmake test\n"}, "priority": 5}
    lines = difference(before, {**before, "spec": {"command": "make\nmake check\n"}})
    assert [(line.change, line.text.strip()) for line in lines if line.change in ("added", "removed")] == [
        ("removed", "make test"),
        ("added", "make check"),
    ]


def test_the_first_version_is_shown_whole() -> None:
    assert {line.change for line in difference(None, {"kind": "shell", "spec": {}})} == {"same"}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 ms"), (0.34, "340 ms"), (4.21, "4.2 s"), (185, "3 min 5 s"), (7320, "2 h 2 min"), (187200, "2 d 4 h")],
)
def test_durations_have_two_units_at_most(seconds: float, words: str) -> None:
    assert duration(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "line 1, column 2"),
        ("[1]", "must be an object"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": NaN}', "NaN is no number"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_a_json_field_says_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        JsonField().clean(text)


def test_fields_read_what_they_show() -> None:
    value = {"customer": 7, "näme": ["x", None]}
    field = JsonField()
    assert field.clean(field.prepare_value(value)) == value
    assert field.clean("") == {}
    numbers = ListField(number=True)
    assert numbers.clean(numbers.prepare_value([1, 75])) == [1, 75]
    assert CodeField().clean("a\r\n\tb\r\n") == "a\n\tb\n"
    with pytest.raises(ValidationError, match="whole numbers"):
        numbers.clean("1, x")
