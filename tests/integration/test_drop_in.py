"""Plain tasks of django-celery-beat's rows: what reaches RabbitMQ is what stock beat would have sent."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from celery import Celery, current_app
from celery.beat import Scheduler
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry
from kombu import Exchange, Queue

from jobs import messages
from jobs.models import Schedule
from jobs.services import scheduling
from jobs.store.schedules import Message


@dataclass(frozen=True, kw_only=True)
class Shop:
    """Somebody's project: a Celery application with tasks and queues of its own."""

    app: Celery
    queues: tuple[str, ...]
    exchange: str

    def own(self, value: Any) -> Any:
        """Return the name that a queue or exchange of the table has in this shop."""
        return {q.split("-")[0]: q for q in (*self.queues, self.exchange)}.get(value, value) if value else value

    def fetch(self) -> list[Any]:
        """Take every message out of its queues, as RabbitMQ hands them out."""
        found = []
        with self.app.connection_for_read() as connection, connection.channel() as channel:
            for name in self.queues:
                channel.queue_declare(name, durable=True, auto_delete=False)
                while (message := channel.basic_get(name, no_ack=True)) is not None:
                    found.append(message)
        return found


@pytest.fixture
def shop(broker_url: str) -> Iterator[Shop]:
    mark = uuid4().hex[:8]
    plain, fast, topic = f"plain-{mark}", f"fast-{mark}", f"topic-{mark}"
    app = Celery(f"shop-{mark}", broker=broker_url, set_as_current=False)
    orders = Exchange(f"orders-{mark}", type="topic")
    app.conf.update(
        task_default_queue=plain,
        task_queues=[Queue(plain), Queue(fast), Queue(topic, exchange=orders, routing_key="orders.#")],
        task_routes={"shop.routed": {"queue": fast, "priority": 3}, "shop.topical": {"queue": topic}},
        timezone="Europe/Berlin",
        broker_transport_options={},
    )

    options: dict[str, dict[str, Any]] = {
        "shop.add": {},
        "shop.routed": {},
        "shop.topical": {},
        "shop.busy": {"queue": fast, "priority": 7, "time_limit": 60, "soft_time_limit": 50, "expires": 90},
        "shop.quiet": {"ignore_result": True, "serializer": "yaml", "compression": "zlib"},
        "shop.fleeting": {"delivery_mode": "transient"},
    }
    for name, own in options.items():

        @app.task(name=name, shared=False, **own)
        def add(a: int = 0, b: int = 0) -> int:
            return a + b

    former = current_app._get_current_object()
    app.set_current()
    shop = Shop(app=app, queues=(plain, fast, topic), exchange=orders.name)
    try:
        shop.fetch()
        with app.connection_for_write() as connection, connection.channel() as channel:
            app.conf.task_queues[-1].bind(channel).declare()
        yield shop
    finally:
        former.set_current()
        with app.connection_for_write() as connection, connection.channel() as channel:
            for queue in shop.queues:
                channel.queue_delete(queue)
        app.close()


class Wire:
    """A TCP wire to RabbitMQ that can be cut, and held so that nothing passes while both ends believe it open."""

    def __init__(self, url: str) -> None:
        there = urlsplit(url)
        self._address = (there.hostname or "", there.port or 5672)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self._flows = threading.Event()
        self._flows.set()
        self._open = True
        self.calls = 0
        account = there.netloc.rpartition("@")[0]
        self.url = there._replace(netloc=f"{account}@127.0.0.1:{self._listener.getsockname()[1]}").geturl()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close what is open. New connections are accepted."""
        while self._ends:
            with suppress(OSError):
                self._ends.pop().shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Let nothing pass from here on."""
        self._flows.clear()

    def refuse(self) -> None:
        """Be cut, and let nobody in."""
        self._open = False
        self.cut()

    def restore(self) -> None:
        """Let everybody and everything pass again."""
        self._open = True
        self._flows.set()

    def close(self) -> None:
        self._listener.close()
        self._flows.set()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                if not self._open:
                    here.close()
                    continue
                self.calls += 1
                there = socket.create_connection(self._address)
                self._ends += [here, there]
                for source, target in ((here, there), (there, here)):
                    threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(shop: Shop, broker_url: str) -> Iterator[Wire]:
    """The shop sends through a wire, and fetches without."""
    wire = Wire(broker_url)
    shop.app.conf.broker_write_url = wire.url
    yield wire
    wire.close()
    assert wire.calls


def message_of(row: PeriodicTask, *, now: datetime | None = None) -> Message:
    columns = {name: getattr(row, name) for name in Message.__dataclass_fields__ if name != "now"}
    return Message(**columns, now=now or timezone.now())


@pytest.fixture
def row(transactional_db: None) -> Callable[..., PeriodicTask]:
    def make(**columns: Any) -> PeriodicTask:
        interval, _ = IntervalSchedule.objects.get_or_create(every=1, period="days")
        return PeriodicTask.objects.create(
            **{"name": f"row {uuid4().hex[:8]}", "task": "shop.add", "interval": interval, **columns}
        )

    return make


def send_as_stock(shop: Shop, row: PeriodicTask) -> None:
    entry = ModelEntry(row, app=shop.app)
    Scheduler(shop.app, lazy=True).apply_async(entry, advance=False)


ONLY_ONE_HAS_IT = {"id", "root_id", "correlation_id"}
UNTIL = "expires"


def contents(message: Any) -> dict[str, Any]:
    """Return a message field by field, without what differs between any two messages."""
    fields = {"body": message.body, **message.delivery_info, **message.properties, **message.headers}
    for name in ("application_headers", "delivery_tag", "message_count", *ONLY_ONE_HAS_IT):
        fields.pop(name, None)
    return fields


IN_A_WEEK = timezone.now() + timedelta(days=7)
UNKNOWN = {"task": "elsewhere.add"}
ROWS: dict[str, dict[str, Any]] = {
    "a task this process knows": {},
    "a task it does not know": UNKNOWN,
    "arguments": {"args": '[1, "zwei", null]', "kwargs": '{"b": {"c": [2.5]}}', **UNKNOWN},
    "arguments with a type of their own": {
        "args": '[{"__type__": "datetime", "__value__": "2026-11-21T10:00:00+00:00"}]',
        **UNKNOWN,
    },
    "routed by the application": {"task": "shop.routed"},
    "routed to a topic": {"task": "shop.topical", "routing_key": "orders.new"},
    "a queue in the row": {"task": "shop.routed", "queue": "fast"},
    "an exchange and a key": {"exchange": "orders", "routing_key": "orders.late", **UNKNOWN},
    "an exchange and a key for a known task": {"exchange": "orders", "routing_key": "orders.late"},
    "the task's own options": {"task": "shop.busy"},
    "options of the row over the task's": {"task": "shop.busy", "priority": 0, "queue": "plain", "expire_seconds": 5},
    "the lowest priority": {"priority": 0, **UNKNOWN},
    "the highest priority": {"priority": 255},
    "headers": {"headers": '{"tenant": "a", "celery_beat_task": false, "deep": {"x": [1]}}'},
    "headers that hide Celery's": {"headers": '{"expires": null, "lang": "rb"}', "expire_seconds": 60},
    "seconds to live": {"expire_seconds": 3600, **UNKNOWN},
    "no second to live": {"expire_seconds": 0},
    "an end of the schedule": {"expires": IN_A_WEEK},
    "another serializer": {"task": "shop.quiet", "kwargs": '{"a": 1}'},
    "not kept on disk": {"task": "shop.fleeting"},
}


@pytest.mark.parametrize("columns", [pytest.param(columns, id=name) for name, columns in ROWS.items()])
def test_a_row_sends_what_stock_beat_sends(
    shop: Shop, row: Callable[..., PeriodicTask], columns: dict[str, Any]
) -> None:
    task = row(**{name: shop.own(value) for name, value in columns.items()})

    send_as_stock(shop, task)
    assert messages.send_many([message_of(task)]) == []

    stock, ours = (contents(message) for message in shop.fetch())
    for kind in (stock, ours):  # both count from a clock: to the minute
        kind["lives"] = round(int(kind.pop("expiration", 0)) / 60_000)
        kind["until"] = (until := kind.pop(UNTIL, None)) and round(datetime.fromisoformat(until).timestamp() / 60)
    assert abs((ours.pop("until") or 0) - (stock.pop("until") or 0)) <= 1
    assert ours == stock
    assert stock["periodic_task_name"] == task.name


def test_an_expiry_counts_from_the_clock_of_the_database(shop: Shop, row: Callable[..., PeriodicTask]) -> None:
    elsewhere = timezone.now() - timedelta(hours=5)

    messages.send_many(
        [
            message_of(row(expire_seconds=60), now=elsewhere),
            message_of(row(task="shop.busy"), now=elsewhere),
            message_of(row(expires=elsewhere + timedelta(seconds=30)), now=elsewhere),
        ]
    )

    found = {m.properties["expiration"]: datetime.fromisoformat(m.headers[UNTIL]) - elsewhere for m in shop.fetch()}
    assert found == {f"{s}000": timedelta(seconds=s) for s in (30, 60, 90)}


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "arguments that are no JSON": ({"args": "[1"}, "JSONDecodeError"),
    "arguments that are no list": ({"args": '{"a": 1}', **UNKNOWN}, "list or tuple"),
    "arguments that the task does not take": ({"args": "[1, 2, 3]"}, "positional arguments"),
    "headers that are no object": ({"headers": "[1]"}, "TypeError"),
    "a header that AMQP cannot hold": ({"headers": '{"x": 99999999999999999999999}'}, "int too large|format"),
    "a priority that AMQP cannot hold": ({"priority": 1000}, "format requires"),
    "an exchange that is not there": ({"exchange": "nowhere", "routing_key": "x"}, "no exchange"),
    "a queue that is there with other properties": ({"queue": "odd"}, "PRECONDITION_FAILED|inequivalent"),
}


@pytest.mark.parametrize(("columns", "why"), [pytest.param(*broken, id=name) for name, broken in BROKEN.items()])
def test_a_row_that_cannot_be_sent_holds_up_no_other(
    shop: Shop, row: Callable[..., PeriodicTask], columns: dict[str, Any], why: str
) -> None:
    with shop.app.connection_for_write() as connection, connection.channel() as channel:
        channel.queue_declare("odd", durable=False, exclusive=False, auto_delete=True, arguments={"x-expires": 60000})
    good = [row(task=task) for task in ("shop.add", "shop.routed", "elsewhere.add", "shop.topical")]
    broken = message_of(row(**columns))

    [unsent] = messages.send_many([*map(message_of, good[:2]), broken, *map(message_of, good[2:])])

    assert unsent.message is broken and re.search(why, unsent.why), unsent.why
    assert sorted(m.headers["periodic_task_name"] for m in shop.fetch()) == sorted(task.name for task in good)


def test_what_a_full_queue_refuses_is_told_and_not_tried_for_ever(shop: Shop, row: Callable[..., PeriodicTask]) -> None:
    with shop.app.connection_for_write() as connection, connection.channel() as channel:
        limits = {"x-max-length": 1, "x-overflow": "reject-publish", "x-expires": 60_000}
        full = channel.queue_declare("", auto_delete=False, exclusive=False, arguments=limits).queue
        channel.queue_bind(full, shop.exchange, "full")
    task = message_of(row(exchange=shop.exchange, routing_key="full"))

    unsent = messages.send_many([task] * 5)

    assert len(unsent) == 4 and "its queue may be full" in unsent[0].why


def test_a_queue_that_was_deleted_meanwhile_is_made_again(shop: Shop, row: Callable[..., PeriodicTask]) -> None:
    task = message_of(row())
    messages.send_many([task])
    with shop.app.connection_for_write() as connection, connection.channel() as channel:
        channel.queue_delete(shop.queues[0])

    assert messages.send_many([task] * 3) == []

    assert len(shop.fetch()) == 3


def test_a_connection_that_died_unnoticed_costs_nothing(
    shop: Shop, wire: Wire, row: Callable[..., PeriodicTask]
) -> None:
    task = message_of(row())
    messages.send_many([task])
    wire.cut()

    assert messages.send_many([task]) == []

    assert len(shop.fetch()) == 2


@pytest.fixture
def due(row: Callable[..., PeriodicTask]) -> Callable[..., PeriodicTask]:
    """A row whose first instant has come."""

    def make(**columns: Any) -> PeriodicTask:
        task = row(**columns)
        scheduling.refresh_edited()
        Schedule.objects.filter(pk=task.pk).update(next_fire_at=timezone.now() - timedelta(seconds=5))
        return task

    return make


@pytest.mark.parametrize("trouble", ["it says nothing", "it is gone"])
def test_what_the_broker_does_not_take_stays_due(
    shop: Shop, wire: Wire, due: Callable[..., PeriodicTask], trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.messages.channels.PATIENCE_SECONDS", 0.5)
    former, task = due(), due()
    PeriodicTask.objects.filter(pk=task.pk).update(task="shop.routed")
    messages.send_many([message_of(former)])
    shop.fetch()

    (wire.hold if trouble == "it says nothing" else wire.refuse)()
    with pytest.raises(messages.BROKER_ERRORS):
        scheduling.send_due()
    task.refresh_from_db()
    assert (task.last_run_at, task.total_run_count) == (None, 0)

    wire.restore()
    assert scheduling.send_due() == 2
    names = {message.headers["periodic_task_name"] for message in shop.fetch()}
    assert names == {former.name, task.name}
    task.refresh_from_db()
    assert (task.last_run_at is not None, task.total_run_count) == (True, 1)


def test_a_row_that_is_switched_off_sends_nothing(shop: Shop, due: Callable[..., PeriodicTask]) -> None:
    task = due()
    PeriodicTask.objects.update(enabled=False)
    scheduling.refresh_edited()
    scheduling.send_due()
    assert shop.fetch() == []
    task.refresh_from_db()
    assert task.total_run_count == 0


def test_what_stock_beat_ran_meanwhile_is_not_run_again(shop: Shop, due: Callable[..., PeriodicTask]) -> None:
    task = due()
    PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=timezone.now(), total_run_count=3)

    scheduling.send_due()

    assert shop.fetch() == []
    following = Schedule.objects.get(pk=task.pk).next_fire_at
    assert following is not None and following > timezone.now()


def test_stock_beat_can_still_read_its_rows(transactional_db: None) -> None:
    """Our row beside a task must not take the name of a property that stock beat needs."""
    every = IntervalSchedule.objects.create(every=7, period="seconds")
    PeriodicTask.objects.create(name="seven", task="x", interval=every)
    entries = DatabaseScheduler(current_app, lazy=True).all_as_schedule()
    assert entries["seven"].schedule.run_every == timedelta(seconds=7)
