"""Functions that the example jobs call."""

from __future__ import annotations

from collections import Counter


def word_count(text: str) -> dict[str, int | str]:
    """Return how many words a text has, how many different ones, and the most frequent."""
    words = Counter(text.lower().split())
    return {
        "words": words.total(),
        "different": len(words),
        "most_frequent": words.most_common(1)[0][0] if words else "",
    }
