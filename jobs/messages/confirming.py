"""Many messages to RabbitMQ, with one wait for its confirms."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import amqp
from amqp.exceptions import ChannelError, FrameSyntaxError
from celery import current_app

from jobs.messages import channels
from jobs.messages.taskmessage import TaskMessage, Unsent


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What RabbitMQ is to be sent for a task."""

    task: TaskMessage
    message: amqp.Message
    exchange: str
    key: str


class Confirming:
    """Publishes many messages and waits for RabbitMQ's confirms once, at the end.

    A message that RabbitMQ objects to closes the channel and takes those behind it along, and it does not say which
    it was. So the first to each exchange is waited for alone: only an exchange that works gets many.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._last_tag = 0
        self._waiting: dict[int, Prepared] = {}
        self._unsent: list[Unsent] = []
        self._returned: list[str] = []
        channel.events["basic_ack"].add(self._settled)
        channel.events["basic_nack"].add(self._refused)
        channel.events["basic_return"].add(self._came_back)
        channel.confirm_select()

    def send(self, prepared: Sequence[Prepared]) -> list[Unsent]:
        """Publish all, in order within each exchange. Return those that RabbitMQ refuses. Raises BROKER_ERRORS."""
        rest, working = deque[Prepared](), set[str]()
        for one in prepared:
            if one.exchange in working:
                rest.append(one)
            elif self._send_alone(one):
                working.add(one.exchange)
        try:
            while rest:
                self._put(rest[0])
                rest.popleft()
            self._wait()
        except ChannelError:
            # Some may have arrived, and are sent twice then: better than not at all.
            again = [*self._waiting.values(), *rest]
            self._begin_anew()
            for one in again:
                self._send_alone(one)
        self._send_again_what_came_back(prepared)
        return self._unsent

    def _send_alone(self, one: Prepared) -> bool:
        try:
            self._put(one)
            self._wait()
        except ChannelError as error:
            self._unsent.append(Unsent(message=one.task, why=str(error)))
            self._begin_anew()
            return False
        return True

    def _put(self, one: Prepared) -> None:
        try:
            amqp.Channel.basic_publish(
                self._channel,
                one.message,
                exchange=one.exchange,
                routing_key=one.key,
                mandatory=not one.exchange,
                timeout=channels.PATIENCE_SECONDS,
            )
        except (FrameSyntaxError, struct.error, ValueError, TypeError) as error:  # a header that AMQP cannot hold
            self._unsent.append(Unsent(message=one.task, why=f"{type(error).__name__}: {error}"))
        else:
            self._last_tag += 1
            self._waiting[self._last_tag] = one

    def _wait(self) -> None:
        while self._waiting:
            self._channel.connection.drain_events(timeout=channels.PATIENCE_SECONDS)

    def _begin_anew(self) -> None:
        """py-amqp has opened the channel again; its confirms are off, and count from 1."""
        self._waiting.clear()
        self._last_tag = 0
        self._channel.confirm_select()

    def _send_again_what_came_back(self, prepared: Sequence[Prepared]) -> None:
        """A queue that somebody deleted is declared once in the life of a connection, so declare it now."""
        returned, self._returned = set(self._returned), []
        for one in prepared:
            queue = current_app.amqp.queues.get(one.key)
            if queue is not None and one.message.properties.get("correlation_id") in returned:
                queue.bind(self._channel).declare()
                self._send_alone(one)

    def _settled(self, tag: int, multiple: bool) -> None:
        for settled in [t for t in self._waiting if t <= tag] if multiple else [tag]:
            self._waiting.pop(settled, None)

    def _refused(self, tag: int, multiple: bool) -> None:
        why = "the broker refused it; its queue may be full"
        for nacked, one in self._waiting.items():
            if nacked == tag or (multiple and nacked < tag):
                self._unsent.append(Unsent(message=one.task, why=why))
        self._settled(tag, multiple)

    def _came_back(self, error: Exception, exchange: str, key: str, message: amqp.Message) -> None:
        self._returned.append(message.properties["correlation_id"])
