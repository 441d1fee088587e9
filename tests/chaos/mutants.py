"""Switches one guarantee off in the processes that import this, to see whether the suite notices.

`python -m tests.chaos --mutant NAME` names this module in JOBSCHED_IMPORTS and the mutant in CHAOS_MUTANT. Nothing in
the product knows of it: statements are rewritten as workers and beats start.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from jobs import messages
from jobs.services.running.inline import Inline
from jobs.store import claims
from jobsched.shim.lease import Lease


def no_fence() -> None:
    """Let whoever once held a run record its end and renew its lease."""
    _rewrite_statements("AND r.attempt = i.attempt AND r.claim_token = i.token AND r.state", "AND r.state")
    # The constraint that allows an attempt to be recorded once is the fence's second line.
    recorded_once = "FROM settled s JOIN i ON i.run_id = s.id"
    _rewrite_statements(recorded_once, f"{recorded_once} ON CONFLICT DO NOTHING")
    claims._HEARTBEAT = _without(claims._HEARTBEAT, " AND r.attempt = %(attempt)s AND r.claim_token = %(token)s")
    claims._HEARTBEATS = _without(claims._HEARTBEATS, " AND r.attempt = h.attempt AND r.claim_token = h.token")


def no_compare_and_set() -> None:
    """Let claims take a run because it was queued when they looked, whatever it is when they write."""
    _rewrite_statements("LIMIT %(limit)s FOR UPDATE SKIP LOCKED", "LIMIT %(limit)s")


def no_confirm() -> None:
    """Count a message as sent once it was handed to the socket.

    Closing the channel waits for the broker's word as well, so that must not be waited for either.
    """

    def forget(self: messages.Confirming) -> None:
        self._waiting.clear()
        self._channel.close = lambda: None

    messages.Confirming._wait = forget  # type: ignore[method-assign]


def no_lease_check() -> None:
    """Start work without a look at its lease."""
    Lease.check = lambda self: None  # type: ignore[method-assign]
    Inline._check_lease = lambda self: None  # type: ignore[method-assign]


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    "no-fence": no_fence,
    "no-compare-and-set": no_compare_and_set,
    "no-confirm": no_confirm,
    "no-lease-check": no_lease_check,
}


def _rewrite_statements(old: str, new: str) -> None:
    changed = {key: statement.replace(old, new) for key, statement in claims._STATEMENTS.items()}
    if changed == claims._STATEMENTS:
        raise LookupError(f"no statement holds {old!r} any more; this mutant would change nothing")
    claims._STATEMENTS.update(changed)


def _without(statement: str, *parts: str) -> str:
    for part in parts:
        if part not in statement:
            raise LookupError(f"no {part!r} is there any more; this mutant would change nothing")
        statement = statement.replace(part, "")
    return statement


if chosen := os.environ.get("CHAOS_MUTANT"):
    MUTANTS[chosen]()
