"""How many attempts a run has had, in words."""

from __future__ import annotations


def attempts_in_words(begun: int, most: int) -> str:
    """Return `2 of at most 3`. `most` does not count attempts that were lost or handed back, so there may be more."""
    if begun > most:
        return f"{begun}; at most {most} without those that were lost or handed back"
    return f"{begun} of at most {most}"
