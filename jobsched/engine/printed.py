"""What an attempt prints: passed on piece by piece up to a limit, with the end beyond it kept in bounded memory.

Up to its limit all output is kept. Of longer output, the beginning and the end are. Offsets count the bytes that were
printed, also those that are left out, so that they mean the same while the attempt runs and after its end.
"""

from __future__ import annotations

from typing import Final

from jobsched.domain.cuts import first_cut, last_cut
from jobsched.domain.excerpts import left_out
from jobsched.domain.outcomes import Part
from jobsched.engine.clip import KIB

_PIECE: Final = 256 * KIB
"""Bytes that are passed on at once."""
_MOST_UNSAVED: Final = 512 * KIB
"""Bytes that wait to be passed on. With more, the work waits until it can print on."""
_END: Final = 256 * KIB
"""Bytes of the end of output that is longer than its limit."""
_LINE: Final = 32 * KIB
"""A line that is longer may be cut inside."""
_FIRST: Final = 64 * KIB
"""Bytes of the beginning that stay in memory."""
_LOOK_AHEAD: Final = 4
"""Bytes after a place that show whether it is inside a character."""


class Printed:
    """The output of one attempt, of which at most `limit` bytes are kept."""

    def __init__(self, *, limit: int) -> None:
        self.total = 0
        self._limit = limit
        self._end_size = min(_END, limit // 2)
        self._line = min(_LINE, self._end_size // 2)
        self._head_stop = limit - self._end_size
        self._cut: int | None = None
        """Where the beginning ends and the end begins, once it is known."""
        self._unsaved = bytearray()
        self._saved = 0
        self._saved_total = 0
        self._first = bytearray()
        self._last = bytearray()

    def add(self, chunk: bytes) -> None:
        """Take what was printed next."""
        self.total += len(chunk)
        self._first += chunk[: max(0, _FIRST - len(self._first))]
        self._last += chunk
        keep = self._end_size + 2 * self._line
        if len(self._last) > keep + _PIECE:
            del self._last[:-keep]
        if self._cut is None:
            self._unsaved += chunk
            if self.total >= self._head_stop + _LOOK_AHEAD:
                self._find_cut()

    def _find_cut(self) -> None:
        low, high = self._head_stop - self._line - self._saved, self._head_stop - self._saved
        place = last_cut(bytes(self._unsaved), max(0, low), high)
        self._cut = self._saved + place
        # What follows is in `_last`, which is longer than a line and what was read at once.
        del self._unsaved[place:]

    # -- passing on ----------------------------------------------------------------------------------------

    @property
    def is_unsaved(self) -> bool:
        """Something was printed that has not been passed on."""
        return self.total > self._saved_total

    @property
    def is_piece_ready(self) -> bool:
        """There is enough to be passed on at once."""
        return self._final_stop - self._saved >= _PIECE

    @property
    def is_full(self) -> bool:
        """Too much waits to be passed on."""
        return self._final_stop - self._saved >= _MOST_UNSAVED

    def next_part(self) -> Part:
        """Return what is to be passed on next. Call `saved` after that was done."""
        size = min(_PIECE, self._final_stop - self._saved)
        if size > 0:
            return self._head(size)
        return self._end()

    def saved(self, part: Part) -> None:
        """Note that a part was passed on."""
        if part.final:
            self._saved = part.stop
            del self._unsaved[: len(part.data)]
        self._saved_total = max(self._saved_total, part.stop)

    def rest(self) -> tuple[Part, ...]:
        """Return what is still to be passed on when the attempt has ended."""
        head = self._head(len(self._unsaved))
        parts = [head] if self._cut is None else [head, self._end()]
        return tuple(part for part in parts if part.data)

    @property
    def _final_stop(self) -> int:
        """How far the output will not be replaced: not in the last line before the cut, before that is known."""
        return min(self.total, self._head_stop - self._line) if self._cut is None else self._cut

    def _head(self, size: int) -> Part:
        data = bytes(self._unsaved[:size])
        return Part(start=self._saved, data=data, replaces_from=self._saved, final=True)

    def _end(self) -> Part:
        begin = head_stop = self._saved if self._cut is None else self._cut
        last_start = self.total - len(self._last)
        if self.total > self._limit and (low := self.total - self._end_size) > begin:
            low -= last_start
            begin = last_start + first_cut(bytes(self._last), low, low + self._line)
        data = bytes(self._last[begin - last_start :])
        return Part(start=begin, data=data, replaces_from=head_stop, final=False)

    # -- at the end ----------------------------------------------------------------------------------------

    def shown(self) -> bytes:
        """Return all output if it is short, else its first and last part with a line between."""
        last_start = self.total - len(self._last)
        if last_start <= len(self._first):
            return bytes(self._first[:last_start] + self._last)
        data = bytes(self._last)
        first = last_cut(bytes(self._first), len(self._first) - self._line, len(self._first))
        last = first_cut(data, 0, self._line)
        return bytes(self._first[:first]) + left_out(last_start + last - first, after=self._first[:first]) + data[last:]
