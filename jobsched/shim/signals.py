"""Names of signals for people."""

from __future__ import annotations

import signal


def signal_name(number: int) -> str:
    """Name a signal: `signal 9 (SIGKILL)`."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:  # real-time signals between SIGRTMIN and SIGRTMAX have no name
        return f"signal {number}"
