"""Text of other people's programs, cut to a length that every place which keeps or shows it can take."""

from __future__ import annotations

from typing import Final

TEXT_LIMIT: Final = 10_000
"""Characters of a sentence for a person: the reason of a failure, a warning."""
NAME_LIMIT: Final = 500
"""Characters of a name: of an exception's class, of a step."""
_TAIL_SHARE: Final = 0.2
"""How much of a text that is cut is its end: what an exception adds last often says most."""


def cut(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return a text of at most `limit` characters. Of a longer one, the beginning and the end are kept, with a note
    between them that says how many characters are missing."""
    length = str.__len__(text)  # a subclass may redefine it
    if length <= limit:
        return str.__str__(text)
    longest_note = _note(length)
    tail = int((limit - len(longest_note)) * _TAIL_SHARE)
    head = limit - len(longest_note) - tail
    return (
        str.__getitem__(text, slice(0, head)) + _note(length - head - tail) + str.__getitem__(text, slice(-tail, None))
    )


def _note(missing: int) -> str:
    return f" [… {missing} characters left out …] "
