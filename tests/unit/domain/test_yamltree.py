"""YAML as plain data: no surprises from YAML 1.1, and nothing that unfolds."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import yaml

from jobsched.domain import yamltree
from jobsched.domain.errors import InvalidInput


@pytest.fixture(autouse=True, params=["CSafeLoader", "SafeLoader"])
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML was built without libyaml, the parser in Python must do the same."""
    monkeypatch.setattr(yamltree, "_Parser", getattr(yaml, request.param))


def read(text: str | bytes) -> Any:
    return yamltree.read(text, filename="f.yaml").data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-0.5", -0.5),
        # text that YAML 1.1 takes for something else
        ("on", "on"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("0755", "0755"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("+5", "+5"),
        ("-0", "-0"),
        ("1e999", "1e999"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("2026-12-01", "2026-12-01"),
        ("2026-12-01 03:00:00", "2026-12-01 03:00:00"),
        ("9" * 31, "9" * 31),
        # quoted is text
        ("'12'", "12"),
        ('"true"', "true"),
        ("''", ""),
        ("|\n  12\n", "12\n"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = read(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_the_text_they_look_like() -> None:
    assert read("{on: 1, 5: 2, null: 3, 'x y': 4}") == {"on": 1, "5": 2, "null": 3, "x y": 4}


def test_nested_data_and_lines() -> None:
    tree = yamltree.read("a:\n  - x\n  - b: 1\n    c:\n      - 2\nd: {e: 3}\n", filename="f.yaml")
    assert tree.data == {"a": ["x", {"b": 1, "c": [2]}], "d": {"e": 3}}
    assert tree.line(("a", 1, "c")) == 4
    assert tree.line(("a", 1, "c", 0)) == 5
    assert tree.line(("a", 1, "missing")) == 3
    assert tree.line(("d", "e")) == 6
    assert tree.line(()) == 1


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read(b"\xef\xbb\xbfa: \xc3\xbc") == {"a": "ü"}


def test_a_few_aliases_are_fine() -> None:
    assert read("a: &x [1, {b: 2}]\nc: *x\nd: [*x, *x]\ne: &s text\nf: *s") == {
        "a": [1, {"b": 2}],
        "c": [1, {"b": 2}],
        "d": [[1, {"b": 2}], [1, {"b": 2}]],
        "e": "text",
        "f": "text",
    }


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
)

REFUSED: list[tuple[str | bytes, str]] = [
    (BOMB, "f.yaml:4: aliases stand for more than 10000 values; write them out"),
    ("a: &x [" + "y, " * 2000 + "]\nb: [" + "*x, " * 6 + "]", "f.yaml:2: aliases stand for more than"),
    ("a: *x", "f.yaml:1: the alias '\\*x' stands for nothing"),
    ("a: &x [*x]", "the alias '\\*x' stands for nothing that ended before it"),
    ("[" * 300_000, "f.yaml:1: lists and mappings are nested more than 40 deep"),
    ("- " * 60 + "x", "nested more than 40 deep"),
    ("{a: " * 60, "nested more than 40 deep"),
    ("a: 1\nb: 2\na: 3", "f.yaml:3: the key 'a' is given twice, first in line 1"),
    ("a: 1\n'a': 3", "f.yaml:2: the key 'a' is given twice"),
    ("a: &x {b: 1}\nc:\n  <<: *x", "f.yaml:3: merge keys"),
    ("? [a]\n: 1", "a key must be plain text"),
    ("a: !!python/object/apply:os.system [id]", "f.yaml:1: the tag .* is not allowed"),
    ("a: !!str 5", "the tag .* is not allowed"),
    ("a: !mine 5", "the tag '!mine' is not allowed"),
    ("a: ! 5", "the tag '!' is not allowed"),
    ("a: 1\n---\nb: 1", "f.yaml:2: a file holds one document"),
    ('a: "\\0"', "f.yaml:1: the character NUL"),
    ("a: \0", "f.yaml: this is not YAML"),
    ("a:\n\tb: 1", "f.yaml:2: this is not YAML: a tab is used for indentation; use spaces"),
    ("a: 'x", "f.yaml:1: this is not YAML"),
    ("a: [1, 2", "f.yaml:1: this is not YAML"),
    ("a:\n  - [1\n  - 2\n", "f.yaml:[34]: this is not YAML"),
    ("a: b: c", "f.yaml:1: this is not YAML: mapping values are not allowed"),
    ("a: @x", "this is not YAML"),
    (b"a: \xff", "f.yaml:1: the file is not UTF-8"),
    ("a: 1\nb: ü".encode("latin-1"), "f.yaml:2: the file is not UTF-8"),
    ("a: 1".encode("utf-16"), "the file is not UTF-8"),
    (
        "a: " + "x" * yamltree.MOST_BYTES,
        "f.yaml: the file has 1048579 bytes and may have 1048576 \\(1 MiB\\); split it",
    ),
    ("\udc80", "the file is not UTF-8"),
]


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=[reason[:40] for _, reason in REFUSED])
def test_what_a_file_of_jobs_never_needs_is_refused_with_its_line(text: str | bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        read(text)


def test_a_bomb_is_refused_before_it_unfolds() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput):
            read(BOMB)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
