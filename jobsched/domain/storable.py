"""What PostgreSQL's text and jsonb cannot hold: the character NUL and halves of surrogate pairs."""

from __future__ import annotations

import re
from typing import Final

_ESCAPES: Final = re.compile(
    r"(\\\\|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2})|(\\u0000)|\\ud[89a-f][0-9a-f]{2}", re.IGNORECASE
)


def storable(json_text: str) -> str:
    """Put U+FFFD or a question mark in place of them in JSON text as `json.dumps` writes it, however deep it is.

    A backslash that is itself escaped begins no escape, and two halves that belong together are a character.
    """
    if "\\u" not in json_text:
        return json_text
    return _ESCAPES.sub(lambda found: found[1] or ("\\ufffd" if found[2] else "?"), json_text)
