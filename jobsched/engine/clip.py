"""Keeps the beginning and the end of a stream of any length in bounded memory."""

from __future__ import annotations

from typing import Final

from jobsched.domain.cuts import first_cut, last_cut
from jobsched.domain.excerpts import left_out

KIB: Final = 1024


class Clip:
    """The first `head` and the last `tail` bytes of what is added, cut at the ends of lines where these are near."""

    __slots__ = ("_head", "_head_size", "_tail", "_tail_size", "total")

    def __init__(self, *, head: int, tail: int) -> None:
        self._head_size, self._tail_size = head, tail
        self._head, self._tail = bytearray(), bytearray()
        self.total = 0

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = self._head_size - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        if chunk:
            self._tail += chunk
            # Trimmed at twice the size, so that each byte is moved once on average and not once a chunk.
            if len(self._tail) > 2 * self._tail_size:
                del self._tail[: len(self._tail) - self._tail_size]

    def render(self) -> bytes:
        """Return everything, or head and tail with a line between that says how much is left out."""
        if self.total <= self._head_size + self._tail_size:
            return bytes(self._head + self._tail)
        head, tail = bytes(self._head), bytes(self._tail)
        low = len(tail) - self._tail_size
        head = head[: last_cut(head, len(head) // 2, len(head))]
        tail = tail[first_cut(tail, low, low + self._tail_size // 2) :]
        return head + left_out(self.total - len(head) - len(tail), after=head) + tail


def as_text(output: bytes) -> str:
    """Decode output for a database that stores neither invalid UTF-8 nor NUL."""
    return output.decode("utf-8", errors="replace").replace("\0", "\ufffd")
