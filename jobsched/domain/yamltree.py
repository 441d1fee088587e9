"""YAML as plain data with line numbers, held to what a file of jobs needs.

Built from the parser's events, so that a bomb is refused before it unfolds and nothing is ever constructed.
Scalars follow YAML 1.2's core rules: `on`, `yes`, `0755`, `1:30` and dates are the text they look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from jobsched.domain.errors import InvalidInput

MOST_BYTES: Final = 1024 * 1024
DEEPEST: Final = 40
MOST_ALIASED: Final = 10_000
"""How many values aliases may stand for altogether."""

Path = tuple[str | int, ...]

_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS: Final = {text: text.lower() == "true" for text in ("true", "True", "TRUE", "false", "False", "FALSE")}
# Only what is written the one way that the number is printed in, so that text can be had back from it.
_INTEGER: Final = re.compile(r"0|-?[1-9]\d{0,29}", re.ASCII)
_FLOAT: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+(?:[eE][-+]?\d{1,2})?|[eE][-+]?\d{1,2})", re.ASCII)

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """What a file says, and in which line each part begins."""

    data: Any
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """Return the line of a part, or of the nearest part around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(text: str | bytes, *, filename: str) -> Tree:
    """Read one YAML document. Raises `InvalidInput` with file and line for anything else."""
    source = _decoded(text, filename)
    builder = _Builder(filename=filename)
    try:
        for event in _events(source):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # libyaml finds an end that comes too early in the line after the last.
        line = min(mark.line if mark else 0, source.count("\n"))
        raise InvalidInput(
            f"this is not YAML: {_problem(error, source, line)}", where=f"{filename}:{line + 1}"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"this is not YAML: {str(error).splitlines()[0]}", where=filename) from error
    return Tree(data=builder.root, lines=builder.lines)


def _events(source: str) -> Iterator[Any]:
    return yaml.parse(source, Loader=_Parser)


def _decoded(text: str | bytes, filename: str) -> str:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MOST_BYTES:
        raise InvalidInput(
            f"the file has {len(data)} bytes and may have {MOST_BYTES} (1 MiB); split it", where=filename
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InvalidInput("the file is not UTF-8 text; save it as UTF-8", where=f"{filename}:{line}") from error


def _problem(error: yaml.MarkedYAMLError, source: str, line: int) -> str:
    text = source.split("\n")[line] if source else ""
    if "\t" in text[: len(text) - len(text.lstrip())]:
        return "a tab is used for indentation; use spaces"
    return error.problem or error.context or "it cannot be parsed"


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    node: Any
    path: Path
    anchor: str | None
    size: int = 1
    key: str | None = None
    keys: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Builder:
    filename: str
    root: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    documents: int = 0
    aliased: int = 0
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if getattr(event, "tag", None) is not None:
            raise self._refused(f"the tag '{event.tag}' is not allowed; write the plain value", line)
        match event:
            case yaml.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    raise self._refused("a file holds one document; remove the line '---'", line)
            case yaml.AliasEvent():
                self._alias(event.anchor, line)
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.SequenceStartEvent():
                self._begin([], event.anchor, line)
            case yaml.MappingStartEvent():
                self._begin({}, event.anchor, line)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._end()

    def _refused(self, sentence: str, line: int) -> InvalidInput:
        return InvalidInput(sentence, where=f"{self.filename}:{line}")

    def _begin(self, node: Any, anchor: str | None, line: int) -> None:
        if len(self.open) >= DEEPEST:
            raise self._refused(f"lists and mappings are nested more than {DEEPEST} deep; flatten them", line)
        path = self._put(node, line)
        self.open.append(_Open(node=node, path=path, anchor=anchor))

    def _end(self) -> None:
        done = self.open.pop()
        if done.anchor is not None:
            self.anchors[done.anchor] = (done.node, done.size)
        if self.open:
            self.open[-1].size += done.size

    def _scalar(self, event: Any, line: int) -> None:
        if "\0" in event.value:
            raise self._refused("the character NUL cannot be stored; remove it", line)
        parent = self.open[-1] if self.open else None
        if parent is not None and isinstance(parent.node, dict) and parent.key is None:
            self._key(parent, event, line)
            return
        value = _resolved(event.value) if event.implicit[0] else event.value
        self._put(value, line)
        if parent is not None:
            parent.size += 1
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, 1)

    def _key(self, parent: _Open, event: Any, line: int) -> None:
        key: str = event.value
        if key == "<<" and event.implicit[0]:
            raise self._refused("merge keys ('<<') are not supported; repeat the keys", line)
        if key in parent.keys:
            first = self.lines[(*parent.path, key)]
            raise self._refused(f"the key '{key}' is given twice, first in line {first}; keep one", line)
        parent.keys.add(key)
        parent.key = key
        self.lines[(*parent.path, key)] = line

    def _alias(self, name: str | None, line: int) -> None:
        if name is None or name not in self.anchors:
            raise self._refused(f"the alias '*{name}' stands for nothing that ended before it", line)
        value, size = self.anchors[name]
        self.aliased += size
        if self.aliased > MOST_ALIASED:
            raise self._refused(f"aliases stand for more than {MOST_ALIASED} values; write them out", line)
        self._put(value, line)
        if self.open:
            self.open[-1].size += size

    def _put(self, value: Any, line: int) -> Path:
        if not self.open:
            self.root = value
            return ()
        parent = self.open[-1]
        if isinstance(parent.node, list):
            path = (*parent.path, len(parent.node))
            parent.node.append(value)
            self.lines[path] = line
            return path
        if parent.key is None:
            raise self._refused("a key must be plain text", line)
        path = (*parent.path, parent.key)
        parent.node[parent.key] = value
        parent.key = None
        return path


def _resolved(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
