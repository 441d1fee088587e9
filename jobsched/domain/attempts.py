"""How many attempts a run has had, in words."""

from __future__ import annotations


def attempts_in_words(begun: int, most: int) -> str:
    """Return `2 of at most 3`. `most` does not count attempts that were lost or handed back, so there may be more."""
    if begun > most:
        return f"{begun}; at most {most} without those that were lost or handed back"
    return f"{begun} of at most {most}"


def attempts_in_short(begun: int, most: int, *, between: str) -> str:
    """Return `2/3` or the like, or the number begun alone where it is more than `most`."""
    return str(begun) if begun > most else f"{begun}{between}{most}"
