"""What a client may take of the web process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Limits of one web process."""

    threads: int = 8
    """Requests that Django works on at a time; each may hold a connection to PostgreSQL."""
    header_seconds: float = 10.0
    """From the start of a connection to the end of its first request's headers."""
    patience_seconds: float = 15.0
    """A body, and a response, may take this long, and in addition the time of `slowest_bytes_per_second`."""
    slowest_bytes_per_second: int = 16 * 1024
    longest_body: int = 10 * 1024 * 1024
    """In bytes; more than the longest that the REST API accepts, whose sentence says more."""
    bodies: int = 64 * 1024 * 1024
    """In bytes: bodies that are held in memory at a time, of all requests together."""
    unfinished: int = 600
    """Connections at a time that have not sent a complete request. Beyond it the oldest is closed."""

    def seconds_for(self, size: int) -> float:
        """Return how long a transfer of `size` bytes may take."""
        return self.patience_seconds + size / self.slowest_bytes_per_second
