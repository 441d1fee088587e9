"""Where output may be cut: at the end of a line, outside of terminal sequences, and never inside a character."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import Final

_SEQUENCE: Final = re.compile(
    rb"(?:\x1b\[|\xc2\x9b)[0-?]*[ -/]*(?:[@-~]|(?P<csi>\Z))"  # CSI: colours, cursor moves
    rb"|(?:\x1b[\]PX^_]|\xc2[\x90\x98\x9d-\x9f])"  # OSC, DCS, SOS, PM, APC: titles, links and other strings
    # A string ends where the next sequence begins, as in terminals. Else each byte would be read once for each start.
    rb"(?:(?!\xc2[\x90\x98\x9b-\x9f])[^\x07\x1b]){0,4096}(?:\x07|\x1b\\|\xc2\x9c|(?P<string>\x1b?\Z))"
    rb"|\x1b[ -/]*(?:[0-~]|(?P<short>\Z))"
)
"""Terminal sequences. The groups stand for the end of the data, where a sequence is not complete yet."""
_LONGEST_SEQUENCE: Final = 4200


def last_cut(data: bytes, low: int, high: int) -> int:
    """Return the last place in `data` between `low` and `high` to cut at: after a line if one ends there."""
    spans = _sequences(data, low - _LONGEST_SEQUENCE, high)
    place = high
    while (line := data.rfind(b"\n", low, place)) >= 0:
        if not _inside(line + 1, spans):
            return line + 1
        place = line
    return next((place for place in range(high, low, -1) if _is_whole(data, place, spans)), low)


def first_cut(data: bytes, low: int, high: int) -> int:
    """Return the first place in `data` between `low` and `high` to cut at: before a line if one begins there."""
    spans = _sequences(data, low - _LONGEST_SEQUENCE, high)
    place = max(0, low - 1)
    while (line := data.find(b"\n", place, high)) >= 0:
        if not _inside(line + 1, spans):
            return line + 1
        place = line + 1
    return next((place for place in range(low, high) if _is_whole(data, place, spans)), high)


def _sequences(data: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Return where sequences begin and end, from `start` to those that go on beyond `end`."""
    start, stop = max(0, start), min(len(data), end + _LONGEST_SEQUENCE)
    if data.find(b"\x1b", start, stop) < 0 and data.find(b"\xc2", start, stop) < 0:
        return []
    found = []
    for match in _SEQUENCE.finditer(data, start, stop):
        unfinished = match.lastgroup is not None
        found.append((match.start(), match.end() + unfinished))
    return found


def _inside(place: int, spans: list[tuple[int, int]]) -> bool:
    index = bisect_left(spans, (place, 0)) - 1
    return index >= 0 and place < spans[index][1]


def _is_whole(data: bytes, place: int, spans: list[tuple[int, int]]) -> bool:
    return not _inside(place, spans) and not is_inside_character(data, place)


def is_inside_character(data: bytes | bytearray, place: int) -> bool:
    """Tell whether a cut at `place` would split a character of UTF-8."""
    for back in range(1, min(place, 3) + 1):
        byte = data[place - back]
        if byte & 0xC0 != 0x80:
            return back < _length(byte) and (place == len(data) or data[place] & 0xC0 == 0x80)
    return False


def _length(first_byte: int) -> int:
    """Return how many bytes a character has that begins with this one; 1 for what begins none."""
    if 0xC2 <= first_byte <= 0xDF:
        return 2
    if 0xE0 <= first_byte <= 0xEF:
        return 3
    return 4 if 0xF0 <= first_byte <= 0xF4 else 1
