"""Output of jobs is hostile: make text from it safe and readable before it is put on a page."""

from __future__ import annotations

import re
from typing import Final

_SEQUENCES: Final = re.compile(
    r"\x1b(?:"
    r"\[[0-?]*[ -/]*[@-~]"  # colours, cursor moves
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links and other strings, up to their end
    r"|[ -/]*[0-~]"
    r")"
)
_OVERWRITTEN: Final = re.compile(r"[^\n]*\r(?!\n|$)", re.MULTILINE)
"""A progress bar goes back to the start of its line; what stood there before is not seen on a terminal."""

_NAMED: Final[dict[int, int | str]] = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"}
_NAMED[0x7F] = 0x2421
_ESCAPED: Final = {
    code: f"\\u{code:04x}"
    for code in (
        *range(0x80, 0xA0),
        0x061C,
        0x200B,
        *range(0x200E, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        0xFEFF,
    )
}
_TABLE: Final = {**_NAMED, **_ESCAPED}


def printable(text: str) -> str:
    """Return text without terminal sequences, and with every other control character made visible.

    Characters that reorder text or take no room are shown as escapes, so that a line reads as it is.
    The result is plain text: HTML escaping is still up to the template.
    """
    text = _SEQUENCES.sub("", text.replace("\r\n", "\n"))
    return _OVERWRITTEN.sub("", text).replace("\r", "").translate(_TABLE)
