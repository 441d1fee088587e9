"""Makes the first heartbeats of every slot that imports it raise what nobody expects."""

from __future__ import annotations

from typing import Any

from jobs.store import claims

_left = 2
_heartbeat = claims.heartbeat


def _sick(*arguments: Any, **named: Any) -> dict[int, bool]:
    global _left
    if _left > 0:
        _left -= 1
        raise RuntimeError("the heart skipped a beat")
    return _heartbeat(*arguments, **named)


claims.heartbeat = _sick
