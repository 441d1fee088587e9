"""Keeps the beginning and the end of a stream of any length in bounded memory."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024


class Clip:
    """The first `head` and the last `tail` bytes of what is added, and how many bytes there were."""

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

    def head(self, start: int = 0) -> bytes:
        """Return the kept head from byte `start` on."""
        return bytes(self._head[start:])

    @property
    def head_length(self) -> int:
        return len(self._head)

    def render(self) -> bytes:
        """Return everything, or head and tail with a line between that says how much is left out."""
        left_out = self.total - len(self._head) - min(len(self._tail), self._tail_size)
        if left_out <= 0:
            return bytes(self._head + self._tail)
        marker = f"\n[… {left_out} bytes left out …]\n".encode()
        return bytes(self._head) + marker + bytes(self._tail[-self._tail_size :])


def as_text(output: bytes) -> str:
    """Decode output for a database that stores neither invalid UTF-8 nor NUL."""
    return output.decode("utf-8", errors="replace").replace("\0", "\ufffd")
