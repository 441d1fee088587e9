"""How much is measured, and how long anything may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Seconds, unless a name says otherwise."""

    sizes: tuple[int, ...]
    rounds: int
    idle: float = 20.0
    edits: int = 8
    dues: tuple[int, ...] = (1_000, 10_000)
    offered_per_s: int = 5_000
    steady: float = 10.0
    drained: int = 50_000
    start_within: float = 120.0
    edit_within: float = 60.0
    fired_within: float = 45.0
    intake_within: float = 900.0

    def lead(self, edited: int, *, ours: bool, start: float) -> float:
        """Return how long before an instant its schedules are edited, so that it finds them known.

        Stock beat looks for edits every five seconds and then loads everything, which takes about as long as its start.
        """
        return 5.0 + edited / 800 if ours else 12.0 + 2 * start
