"""A pipe to wake a waiting loop, from a signal handler or another thread."""

from __future__ import annotations

import os


class Bell:
    """Becomes readable when rung, until hushed."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self.writer, False)

    def fileno(self) -> int:
        return self._reader

    def descriptors(self) -> tuple[int, int]:
        return self._reader, self.writer

    def ring(self) -> None:
        try:
            os.write(self.writer, b"!")
        except OSError:  # full: it wakes anyway; closed: nobody waits
            return

    def hush(self) -> None:
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """May be called twice."""
        if self._reader >= 0:
            os.close(self._reader)
            os.close(self.writer)
            self._reader = self.writer = -1
