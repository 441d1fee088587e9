"""How deep JSON is nested. Python and PostgreSQL read it by recursion, and both end at some depth."""

from __future__ import annotations

import re
from typing import Final

DEEPEST: Final = 700
"""Levels that are accepted. Python stops at 1000 levels by default, and its caller has used some of them."""

_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def is_too_deep(json_text: str) -> bool:
    """Tell whether JSON text is nested more than `DEEPEST` levels deep. It does not recurse itself."""
    if json_text.count("[") + json_text.count("{") <= DEEPEST:
        return False
    depth = 0
    for token in _TOKENS.finditer(json_text):
        match token[0]:
            case "[" | "{":
                depth += 1
                if depth > DEEPEST:
                    return True
            case "]" | "}":
                depth -= 1
    return False
