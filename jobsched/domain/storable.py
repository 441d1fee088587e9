"""What PostgreSQL's text and jsonb cannot hold: the character NUL and halves of surrogate pairs."""

from __future__ import annotations

import re
from typing import Any, Final

_ESCAPES: Final = re.compile(
    r"(\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|(\\u0000)|\\ud[89a-f][0-9a-f]{2}", re.IGNORECASE
)
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Tell whether PostgreSQL's text can hold a text."""
    return _UNSTORABLE.search(text) is None


def storable(json_text: str) -> str:
    """Put U+FFFD or a question mark in place of them in JSON text as `json.dumps` writes it, however deep it is.

    A backslash that is itself escaped begins no escape, and two halves that belong together are a character.
    """
    if "\\u" not in json_text:
        return json_text
    return _ESCAPES.sub(lambda found: found[1] or ("\\ufffd" if found[2] else "?"), json_text)


def check_storable(value: Any) -> None:
    """Refuse text that PostgreSQL and a process's environment cannot hold, however deep. Raises ValueError."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise ValueError(f"{item[:40]!r} holds the character NUL, which cannot be stored")
            if not item.isprintable() and any("\ud800" <= char <= "\udfff" for char in item):
                raise ValueError(f"{item[:40]!r} holds half of a surrogate pair, which is not a character")
        elif isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
