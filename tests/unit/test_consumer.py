"""What a worker makes of a message before Celery sees it."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import pytest
from amqp.serialization import loads
from kombu import compression as kombu_compression
from kombu.message import Message

from jobs.conf import WORK_TASK
from jobs.consumer import compression
from jobs.consumer.frames import _with_names_in_text
from jobs.consumer.inbound import HIGHEST_CLOCK, problem_of_task, why_no_command, why_no_event
from jobs.rejections import Reason

SERVES = ("default", "second")


def message(body: Any, **headers: Any) -> Message:
    return Message(
        json.dumps(body), content_type="application/json", content_encoding="utf-8", headers=headers, properties={}
    )


def hint(body: Any = (["default"], {}, {}), **headers: Any) -> Message:
    return message(body, **{"task": WORK_TASK, "id": "1", "timelimit": [None, None], **headers})


@pytest.mark.parametrize(
    "accepted",
    [
        hint(),
        hint((["second"], {}, {"callbacks": None, "chord": None}), root_id="2", parent_id="3", ignore_result=True),
        message([[], {}, {}], task="other.task", id="1", timelimit=[5, 1.5], eta="2026-01-01T00:00:00", retries=3),
        message([[], {}, {"callbacks": [{"task": "x"}]}], task="other.task", id="1"),
        message({"task": "other.task", "id": "1", "args": [], "kwargs": {}}),
    ],
)
def test_hints_and_other_peoples_tasks_are_accepted(accepted: Message) -> None:
    assert problem_of_task(accepted, serves=SERVES) is None


@pytest.mark.parametrize(
    ("rejected", "reason"),
    [
        (message([]), Reason.NO_TASK),
        (message("task"), Reason.NO_TASK),
        (message({"id": "1"}), Reason.NO_TASK),
        (message([[], {}, {}], task="x", id=None), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id={}), Reason.BAD_TASK),
        (message([[], {}, {}], task=["x"], id="1"), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id="1", timelimit="soon"), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id="1", timelimit=["soon", None]), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id="1", timelimit=[True, None]), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id="1", timelimit=[-1, None]), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id="1", timelimit=[float("nan"), None]), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id="1", timelimit=[1e300, None]), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id="1", timelimit=[1]), Reason.BAD_TASK),
        (message({"task": "x", "id": "1", "timelimit": ["a", "b"]}), Reason.BAD_TASK),
        (message({"args": [], "kwargs": {}, "timelimit": ["a", "b"]}, task="x", id="1"), Reason.BAD_TASK),
        (message({"task": "x", "id": "1", "args": []}, timelimit={"a": 1, "b": 2}), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id="1", shadow=["x"]), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id="1", retries="many"), Reason.BAD_TASK),
        (message([[], {}], task="x", id="1"), Reason.BAD_TASK),
        (message([5, {}, {}], task="x", id="1"), Reason.BAD_TASK),
        (message([[], {}, 5], task="x", id="1"), Reason.BAD_TASK),
        (message([[], {}, {"errbacks": [5]}], task="x", id="1"), Reason.BAD_TASK),
        (message([[], {}, {}], task="x", id="1", other=memoryview(b"\xff")), Reason.UNREADABLE),
        (message([[], {}, {}], task="x", id="1", other={b"\xff": 1}), Reason.UNREADABLE),
        (hint((["elsewhere"], {}, {})), Reason.BAD_HINT),
        (hint(([["default"]], {}, {})), Reason.BAD_HINT),
        (hint(([], {}, {})), Reason.BAD_HINT),
        (hint((["default"], {"queue": "second"}, {})), Reason.BAD_HINT),
        (hint((["default"], {}, {"callbacks": [{"task": "x"}]})), Reason.BAD_HINT),
        (hint((["default"], {}, None)), Reason.BAD_HINT),
        (hint(5), Reason.BAD_TASK),
        (hint(timelimit=[1, None]), Reason.BAD_HINT),
        (hint(eta="2026-01-01T00:00:00"), Reason.BAD_HINT),
        (hint(retries=1), Reason.BAD_HINT),
        (hint(stamped_headers=["a"]), Reason.BAD_HINT),
        (message({"task": WORK_TASK, "id": "1", "args": ["default"]}), Reason.BAD_HINT),
    ],
)
def test_what_is_malformed_is_rejected_for_its_reason(rejected: Message, reason: Reason) -> None:
    problem = problem_of_task(rejected, serves=SERVES)
    assert problem is not None and problem[0] is reason


def ping(state: object) -> str:
    return "pong"


def time_limit(state: object, task_name: object = None, hard: object = None, soft: object = None) -> None:
    pass


def rate_limit(state: object, task_name: object, rate_limit: object) -> None:
    pass


KNOWN = {"ping": ping, "time_limit": time_limit, "rate_limit": rate_limit}


def limit(**arguments: Any) -> dict[str, Any]:
    return {"method": "time_limit", "arguments": {"task_name": "x", **arguments}}


def rate(value: Any) -> dict[str, Any]:
    return {"method": "rate_limit", "arguments": {"task_name": "x", "rate_limit": value}}


@pytest.mark.parametrize(
    ("body", "clock", "fine"),
    [
        ({"method": "ping", "arguments": {}, "destination": None}, 5, True),
        ({"method": "ping", "reply_to": {"exchange": "x", "routing_key": "y"}, "destination": ["a"]}, None, True),
        ([], 5, False),
        ({}, 5, False),
        ({"method": ["ping"]}, 5, False),
        ({"method": "no_such"}, 5, False),
        ({"method": "ping", "arguments": []}, 5, True),  # Celery takes what is empty for none
        ({"method": "ping", "arguments": [1]}, 5, False),
        ({"method": "ping", "arguments": {"no_such": 1}}, 5, False),
        ({"method": "ping", "destination": "a"}, 5, False),
        ({"method": "ping", "reply_to": "x"}, 5, False),
        ({"method": "ping"}, HIGHEST_CLOCK, False),
        ({"method": "ping"}, "now", False),
        ({"method": "ping"}, -1, False),
        (limit(hard=5, soft=1.5), 5, True),
        (limit(hard=None), 5, True),
        (limit(hard="soon"), 5, False),
        (limit(soft="5"), 5, False),
        (limit(hard=[5]), 5, False),
        (limit(soft=float("nan")), 5, False),
        (rate("10/m"), 5, True),
        (rate(5), 5, True),
        (rate(["5"]), 5, False),
        (rate({"a": 1}), 5, False),
        (rate(float("nan")), 5, False),
    ],
)
def test_commands_of_the_remote_control(body: Any, clock: Any, fine: bool) -> None:
    assert (why_no_command(body, {"clock": clock}, KNOWN) is None) is fine


@pytest.mark.parametrize(
    ("body", "fine"),
    [({"clock": 3}, True), ({}, True), ([], False), ({"clock": 1e300}, False), ({"clock": 2**62}, False)],
)
def test_events(body: Any, fine: bool) -> None:
    assert (why_no_event(body) is None) is fine


@pytest.mark.parametrize("name", ["gzip", "bzip2", "lzma"])
def test_a_compressed_message_has_a_limit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "LONGEST", 1000)
    compression.bound()
    short, content_type = kombu_compression.compress(b"x" * 1000, name)
    assert kombu_compression.decompress(short, content_type) == b"x" * 1000
    for broken in (kombu_compression.compress(b"x" * 1001, name)[0], short[:-3]):
        with pytest.raises(ValueError, match="cut off, or longer"):
            kombu_compression.decompress(broken, content_type)


def test_names_that_are_no_text_are_shown_as_text() -> None:
    tag, exchange, key = b"None1", b"celery.pidbox", b"\xff\xfe" + b"x" * 250
    fields = [tag, struct.pack(">QB", 7, 1), exchange, key]
    named = [field if number == 1 else bytes([len(field)]) + field for number, field in enumerate(fields)]
    payload = struct.pack(">HH", 60, 60) + b"".join(named)
    read, _ = loads("sLbss", _with_names_in_text(payload), 4)
    assert read[:4] == ["None1", 7, True, "celery.pidbox"]
    assert read[4].startswith("\\xff\\xfex")


def test_a_message_that_says_it_is_compressed_and_is_not_is_unreadable() -> None:
    told = Message(b"no", headers={"compression": "application/x-gzip"})
    assert told.errors and isinstance(told.errors[0][1], zlib.error)
