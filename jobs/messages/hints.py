"""Hints to workers, and the word to look at the database.

A hint says "queue Q has work" and nothing more. Losing one costs a second at most: the sweep sends another.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

from jobs.messages import channels, hintmessage, kept
from jobs.messages.channels import BROKER_ERRORS, SHORT_PATIENCE_SECONDS

logger = logging.getLogger(__name__)

HINTS_AT_ONCE: Final = 16
"""More hints than a queue has idle slots are waste: a slot goes on until its queue is empty."""
QUIET_SECONDS: Final = 2.0
"""How long hints are not even tried after one failed: neither beat nor a web request waits for a dead broker twice."""


@dataclass(slots=True)
class _Quiet:
    until: float = 0.0


_quiet = _Quiet()


def hint(waiting: Mapping[str, int]) -> bool:
    """Tell workers which queues have work, given how many runs each holds. Return whether the broker took it.

    Takes no longer than `SHORT_PATIENCE_SECONDS`, whatever the broker does.
    """
    if time.monotonic() < _quiet.until:
        return False
    hints = {queue: min(runs, HINTS_AT_ONCE) for queue, runs in waiting.items() if runs > 0}
    try:
        if hints:
            _send_hints(hints)
    except BROKER_ERRORS as error:
        _quiet.until = time.monotonic() + QUIET_SECONDS
        logger.warning("hint not sent: broker unreachable, the sweep will repeat it error=%s", error)
        return False
    return True


def _send_hints(hints: Mapping[str, int]) -> None:
    """Send hints on the channel that this thread keeps. One that broke meanwhile is opened again.

    Raises BROKER_ERRORS.
    """
    give_up = time.monotonic() + SHORT_PATIENCE_SECONDS
    sender = kept.sender(SHORT_PATIENCE_SECONDS)
    try:
        _send_by(sender, hints, SHORT_PATIENCE_SECONDS if sender.is_new else SHORT_PATIENCE_SECONDS / 2)
    except BROKER_ERRORS:
        kept.forget(sender)
        if sender.is_new:
            raise
        sender = kept.sender(give_up - time.monotonic())
        try:
            _send_by(sender, hints, give_up - time.monotonic())
        except BROKER_ERRORS:
            kept.forget(sender)
            raise


def _send_by(sender: kept.Sender, hints: Mapping[str, int], seconds: float) -> None:
    queues = [queue for queue, count in hints.items() for _ in range(count)]
    if sender.confirms:
        sender.send([(hintmessage.message(queue), {"routing_key": queue}) for queue in queues], seconds)
    else:
        for queue in queues:
            hintmessage.publish(queue, sender.channel)


def hint_on_commit(waiting: Mapping[str, int]) -> None:
    """Send hints once the current transaction has committed; at once when there is none."""
    transaction.on_commit(partial(hint, dict(waiting)), robust=True)


def look() -> None:
    """Make every worker that hears it look at the database now, e.g. for a cancel. Heartbeats do so anyway.

    Takes no longer than `SHORT_PATIENCE_SECONDS`, whatever the broker does.
    """
    try:
        if time.monotonic() < _quiet.until:
            raise OperationalError("it was away a moment ago")
        with channels.lend(SHORT_PATIENCE_SECONDS) as channel:
            _broadcast("jobs_look", channel)
    except BROKER_ERRORS as error:
        _quiet.until = max(_quiet.until, time.monotonic() + QUIET_SECONDS)
        logger.warning("workers not notified, their heartbeats will find it error=%s", error)


def _broadcast(command: str, channel: Any) -> None:
    """Do what Celery's `control.broadcast` does, which would try for ever."""
    mailbox = cast(Any, current_app.control).mailbox
    current_app.amqp.Producer(channel, auto_declare=False).publish(
        {"method": command, "arguments": {}, "destination": None, "pattern": None, "matcher": None},
        exchange=mailbox.exchange.name,
        declare=[mailbox.exchange],
        headers={"clock": mailbox.clock.forward(), "expires": 0},
        serializer=mailbox.serializer,
    )
