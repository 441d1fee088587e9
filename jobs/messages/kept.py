"""A connection and a channel to RabbitMQ for each thread, kept from one hint to the next.

To open and close a channel takes two trips to the broker, several times as long as to send a hint. Pools of Kombu lend
connections to one thread after the other, and a channel cannot be shared, so each thread has a connection of its own.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import amqp
from celery import current_app

from jobs.messages import channels
from jobs.messages.channels import BROKER_ERRORS


class Sender:
    """The connection of one thread of one process. What it sends counts as sent when the broker has confirmed it."""

    def __init__(self, seconds: float) -> None:
        """Connect within so many seconds. Raises BROKER_ERRORS."""
        self.is_new = True
        channels.load_transport()
        self._connection = current_app.connection_for_write()
        self._sent = 0
        self._open: set[int] = set()
        self._refused = False
        try:
            self.channel: Any = channels.opened(self._connection, seconds)
            if self.confirms:
                with channels.bounded(self._connection, seconds):
                    self.channel.confirm_select()
                self.channel.events["basic_ack"].add(self._acknowledged)
                self.channel.events["basic_nack"].add(self._not_acknowledged)
        except BROKER_ERRORS:
            self.close()
            raise

    @property
    def confirms(self) -> bool:
        """Whether the channel is one of RabbitMQ, which confirms what it takes."""
        return isinstance(self.channel, amqp.Channel)

    def send(self, messages: Sequence[tuple[amqp.Message, dict[str, Any]]], seconds: float) -> None:
        """Send messages, and wait until the broker has confirmed all of them.

        Raises BROKER_ERRORS, also when the broker refuses one or is silent for so long.
        """
        give_up = time.monotonic() + seconds
        self._refused = False
        with channels.bounded(self._connection, seconds):
            for message, options in messages:
                amqp.Channel.basic_publish(self.channel, message, **options)
                self._sent += 1
                self._open.add(self._sent)
            while self._open:
                self._connection.connection.drain_events(timeout=max(0.001, give_up - time.monotonic()))
        if self._refused or not self.channel.is_open:
            raise amqp.RecoverableChannelError("the broker refused a message")

    def close(self) -> None:
        """Close the connection without a word: a broker that is away would not answer."""
        self._connection.collect()

    def _acknowledged(self, tag: int, multiple: bool) -> None:
        self._open -= {one for one in self._open if one <= tag} if multiple else {tag}

    def _not_acknowledged(self, tag: int, multiple: bool) -> None:
        self._refused = True
        self._acknowledged(tag, multiple)


_senders: Final[dict[tuple[int, int, str], tuple[threading.Thread, Sender]]] = {}
"""By process, thread and address. Those of a parent process stay here unused: if Python deleted them after a fork, it
would shut the parent's connections down. Who removes an entry (in one step, so there is no lock) is the only one that
has its sender."""


def sender(seconds: float) -> Sender:
    """Return this thread's sender, connected within so many seconds if it is new. Raises BROKER_ERRORS."""
    key = _key()
    # The number of an ended thread may be given to another, which then takes its sender over.
    if found := _senders.pop(key, None):
        _, known = found
        _senders[key] = (threading.current_thread(), known)
        known.is_new = False
        return known
    made = Sender(seconds)
    _close_those_of_ended_threads()
    _senders[key] = (threading.current_thread(), made)
    return made


def forget(broken: Sender) -> None:
    """Close a sender of this thread that failed. The next hint opens another."""
    _senders.pop(_key(), None)
    broken.close()


def _key() -> tuple[int, int, str]:
    conf = current_app.conf
    return os.getpid(), threading.get_ident(), str(conf.broker_write_url or conf.broker_url)


def _close_those_of_ended_threads() -> None:
    for key, (thread, _) in list(_senders.items()):
        if key[0] != os.getpid() or thread.is_alive() or not (found := _senders.pop(key, None)):
            continue
        thread, kept = found
        if thread.is_alive():  # another thread has taken it over meanwhile
            _senders[key] = found
        else:
            kept.close()
