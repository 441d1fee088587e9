"""The settings of leases, as this process sees them: how long an outage of PostgreSQL running work survives."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from jobs.conf import HEARTBEATS_A_LEASE, RECONNECT, Conf, conf
from jobs.services.preflight.findings import Finding, Notes
from jobs.store.session import session_parameters

RESTART: Final = timedelta(seconds=5)
"""A restart of PostgreSQL may take as long."""
FEWEST_HEARTBEATS: Final = 5
"""In a lease. With fewer, much of the lease is lost to the pause between two renewals."""
SHORTEST_HEARTBEAT: Final = timedelta(seconds=1)
"""Each worker with running work sends a statement as often."""
LONGEST_STOP_GRACE: Final = timedelta(seconds=50)
"""The compose file of this project allows a worker 60 s to stop, systemd 90 s; then it is killed."""


def look() -> list[Finding]:
    """Return what is to be said of the settings. Needs no server."""
    notes = Notes("leases")
    _outage(notes, conf())
    _heartbeat(notes, conf())
    _dead_connection(notes, conf(), session_parameters())
    _stop_grace(notes, conf())
    return notes.found


def _outage(notes: Notes, settings: Conf) -> None:
    sentence = (
        f"Running work survives an outage of PostgreSQL of up to {_words(settings.outage)}: the lease of "
        f"{_words(settings.lease)} less a margin of {_words(settings.margin)}, the heartbeat of "
        f"{_words(settings.heartbeat)} and {_words(RECONNECT)} to connect again"
    )
    best = settings.lease / HEARTBEATS_A_LEASE
    if settings.outage < RESTART:
        notes.warning("outage", f"{sentence}. A restart may take longer; raise JOBSCHED_LEASE_SECONDS.")
    elif settings.heartbeat > settings.lease / FEWEST_HEARTBEATS:
        notes.warning("outage", f"{sentence}. Leave JOBSCHED_HEARTBEAT_SECONDS out, which makes it {_words(best)}.")
    else:
        notes.fine("outage", f"{sentence}.")


def _heartbeat(notes: Notes, settings: Conf) -> None:
    if settings.heartbeat < SHORTEST_HEARTBEAT and settings.lease >= 2 * HEARTBEATS_A_LEASE * SHORTEST_HEARTBEAT:
        notes.warning(
            "heartbeat",
            f"Leases of {_words(settings.lease)} are renewed every {_words(settings.heartbeat)}, which costs "
            "PostgreSQL more than it gains; leave JOBSCHED_HEARTBEAT_SECONDS out.",
        )
    else:
        notes.fine("heartbeat", f"Leases are renewed every {_words(settings.heartbeat)}.")


def _dead_connection(notes: Notes, settings: Conf, parameters: dict[str, Any]) -> None:
    """A renewal on a dead connection, and then one on a new connection, must both come before the work is killed."""
    unacknowledged = timedelta(milliseconds=int(parameters["tcp_user_timeout"]))
    connecting = timedelta(seconds=int(parameters["connect_timeout"]))
    room = settings.lease - settings.margin - settings.heartbeat
    if not unacknowledged or not connecting:
        notes.warning(
            "dead_connection",
            "Workers wait without end for a PostgreSQL whose host has lost its power, until the work of their runs is "
            "killed; set JOBSCHED_TCP_USER_TIMEOUT_SECONDS, or tcp_user_timeout and connect_timeout of the database, "
            "to more than 0.",
        )
    elif unacknowledged + connecting > room:
        notes.warning(
            "dead_connection",
            f"A connection to a host that has lost its power is given up after {_words(unacknowledged)}, and the next "
            f"attempt to connect after {_words(connecting)}; together that must be at most {_words(room)}, or the work "
            "is killed before: lower JOBSCHED_TCP_USER_TIMEOUT_SECONDS or connect_timeout.",
        )
    else:
        notes.fine("dead_connection", f"A dead connection to PostgreSQL is given up after {_words(unacknowledged)}.")


def _stop_grace(notes: Notes, settings: Conf) -> None:
    if settings.stop_grace > LONGEST_STOP_GRACE:
        notes.warning(
            "stop_grace",
            f"A stopping worker lets its runs go on for {_words(settings.stop_grace)}; give it that long and the "
            "longest grace of your jobs before it is killed (stop_grace_period in compose, TimeoutStopSec in systemd), "
            "or lower JOBSCHED_STOP_GRACE_SECONDS.",
        )
    else:
        notes.fine("stop_grace", f"A stopping worker lets its runs go on for {_words(settings.stop_grace)}.")


def _words(length: timedelta) -> str:
    return f"{length.total_seconds():.3g} s"
