"""What changed between two versions of a job, line by line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of a comparison: `added`, `removed`, `same`, or `gap` where unchanged lines were left out."""

    change: str
    text: str


def as_text(content: Any, *, sort: bool = True) -> str:
    """Write JSON as a person would read it: YAML, strings of several lines as blocks."""
    return yaml.dump(content, Dumper=_Blocks, sort_keys=sort, allow_unicode=True, width=100)


def difference(before: dict[str, Any] | None, after: dict[str, Any]) -> list[Line]:
    """Compare two definitions. Without a `before`, every line is `same`: there is nothing to compare with."""
    new = as_text(after).splitlines()
    if before is None:
        return [Line(change="same", text=line) for line in new]
    return list(_lines(as_text(before).splitlines(), new))


_CHANGES = {"+": "added", "-": "removed", " ": "same", "@": "gap"}


def _lines(old: list[str], new: list[str]) -> Iterator[Line]:
    for line in list(difflib.unified_diff(old, new, n=2, lineterm=""))[2:]:
        yield Line(change=_CHANGES[line[0]], text="…" if line[0] == "@" else line[1:])


class _Blocks(yaml.SafeDumper):
    """Strings of several lines as blocks."""


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Blocks.add_representer(str, _string)
