"""Whatever arrives at a worker is rejected, counted and reported, and the worker goes on."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import current_app
from kombu import Connection

from jobs.conf import WORK_TASK
from jobs.models import RejectedMessages, Run
from jobs.services import preflight
from tests.acceptance.conftest import ended
from tests.hostile_messages import Fuzzer, HostileMessage, send
from tests.processes import Process, wait_for

BOMB_BYTES = 400_000_000
"""Of a message when it is decompressed."""
FUZZED = 600
"""The chaos experiment `hostile-messages` sends 10,000."""
SLOTS = 2


@pytest.fixture
def worker(start_worker: Callable[..., Process], broker_url: str) -> Iterator[Process]:
    """A worker, whose queue holds nothing afterwards."""
    yield start_worker(concurrency=SLOTS, env={"JOBSCHED_IMPORTS": "tests.sample_tasks"})
    with Connection(broker_url) as connection:
        connection.default_channel.queue_purge("default")


def slots(worker: Process) -> set[int]:
    children = psutil.Process(worker.pid).children()
    return {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}


def waiting(url: str) -> int:
    """Return how many messages wait in the queue, undelivered."""
    with Connection(url) as connection:
        return int(connection.default_channel.queue_declare("default", passive=True).message_count)


def rejected(**where: str) -> int:
    return sum(RejectedMessages.objects.filter(**where).values_list("count", flat=True))


def peak_memory(worker: Process) -> int:
    """Return the most memory that the main process of a worker has had, in bytes."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def task(**changes: Any) -> HostileMessage:
    """Return a message of the second version of Celery's protocol, with some of it changed."""
    headers = {"task": "sample.add", "id": "1", "timelimit": [None, None], **changes.pop("headers", {})}
    body = changes.pop("body", [[1, 2], {}, {}])
    properties = {"content_type": "application/json", "content_encoding": "utf-8", **changes.pop("properties", {})}
    return HostileMessage(routing_key="default", body=json.dumps(body).encode(), headers=headers, properties=properties)


def hint(**changes: Any) -> HostileMessage:
    headers = {"task": WORK_TASK, **changes.pop("headers", {})}
    return task(headers=headers, body=changes.pop("body", [["default"], {}, {}]))


def first_protocol(body: Any) -> HostileMessage:
    return HostileMessage(
        routing_key="default",
        body=json.dumps(body).encode(),
        properties={"content_type": "application/json", "content_encoding": "utf-8"},
    )


MALFORMED = {
    "an empty list": first_protocol([]),
    "a number": first_protocol(5),
    "an id that is a mapping": task(headers={"id": {}}),
    "an id that is a mapping, in the body": first_protocol({"task": "sample.add", "id": {}, "args": []}),
    "a task that is a list": task(headers={"task": ["sample.add"]}),
    "a task that is a list, in the body": first_protocol({"task": [], "id": "1"}),
    "a time limit of words": task(headers={"timelimit": ["soon", "later"]}),
    "a time limit of words, in the body": first_protocol({"task": "sample.add", "id": "1", "timelimit": ["a", "b"]}),
    "a body that is a number": task(body=5),
    "stamps that are lists": task(headers={"stamped_headers": [["a"]], "stamps": {"a": 1}}),
    "a name that is a list": task(headers={"shadow": ["sample.add"]}),
    "a body that is cut off": HostileMessage(
        routing_key="default", body=b"[[", headers={"task": "sample.add", "id": "1"}
    ),
    "a body nested too deep": HostileMessage(
        routing_key="default",
        body=b"[" * 100_000,
        headers={"task": "sample.add", "id": "1"},
        properties={"content_type": "application/json", "content_encoding": "utf-8"},
    ),
    "more than it seems": HostileMessage(
        routing_key="default",
        body=zlib.compress(bytes(BOMB_BYTES)),
        headers={"task": "sample.add", "id": "1", "compression": "application/x-gzip"},
    ),
    "a date far away": HostileMessage(
        routing_key="default", body=b"", raw=b"\x20\x00\x00\x00\x00\x0e\x04lateT\xff\xff\xff\xff\xff\xff\xff\xff"
    ),
    "a content type that is no text": HostileMessage(routing_key="default", body=b"", raw=b"\x80\x00\x02\xff\xfe"),
    "a time limit of words, in a body that headers go with": HostileMessage(
        routing_key="default",
        body=json.dumps({"args": [1, 2], "kwargs": {}, "timelimit": ["a", "b"]}).encode(),
        headers={"task": "sample.add", "id": "1"},
        properties={"content_type": "application/json", "content_encoding": "utf-8"},
    ),
    "a time limit of words, in headers that go with a body": HostileMessage(
        routing_key="default",
        body=json.dumps({"task": "sample.add", "id": "1", "args": [1, 2], "kwargs": {}}).encode(),
        headers={"timelimit": ["a", "b"]},
        properties={"content_type": "application/json", "content_encoding": "utf-8"},
    ),
    "an unknown task": task(headers={"task": "no.such.task"}),
    "a hint of another queue": hint(body=[["elsewhere"], {}, {}]),
    "a hint with a time limit, which would end a run": hint(headers={"timelimit": [1, 1]}),
    "a hint that calls another task": hint(body=[["default"], {}, {"callbacks": [{"task": "sample.add"}]}]),
}


def command(body: Any, **headers: Any) -> HostileMessage:
    """Return a message for the remote control of all workers."""
    return HostileMessage(
        exchange="celery.pidbox", routing_key="", body=json.dumps(body).encode(), headers=headers, properties=AS_JSON
    )


def event(body: Any) -> HostileMessage:
    """Return a message of one worker to the others."""
    return HostileMessage(
        exchange="celeryev", routing_key="worker.heartbeat", body=json.dumps(body).encode(), properties=AS_JSON
    )


AS_JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
FAR_AHEAD = 2**62
"""A logical clock that soon could not be sent any more."""
MALFORMED_COMMANDS = [
    command(5),
    command({"method": "no_such_command", "arguments": {}}),
    command({"method": "rate_limit", "arguments": {}}),
    command({"method": "time_limit", "arguments": {"task_name": "celery.accumulate", "hard": "soon"}}),
    command({"method": "ping", "arguments": {}, "reply_to": 5}),
    command({"method": "ping", "arguments": {}}, clock=FAR_AHEAD),
]
OLD_HEARTBEAT = event(
    {
        "type": "worker-heartbeat",
        "hostname": "longgone",
        "clock": 1,
        "timestamp": 1.0,
        "utcoffset": 0,
        "pid": 1,
        "freq": 2,
    }
)
MALFORMED_EVENTS = [
    event([]),
    event({"type": "worker-elect", "hostname": "elsewhere", "clock": 1}),
    event({"type": "worker-heartbeat", "hostname": "elsewhere", "clock": FAR_AHEAD}),
]


def test_malformed_commands_and_events_are_counted_and_the_worker_still_answers(
    worker: Process, broker_url: str
) -> None:
    send(broker_url, [*MALFORMED_COMMANDS, *MALFORMED_EVENTS])
    send(broker_url, [OLD_HEARTBEAT])
    # Each queue keeps its order: the worker has handled the messages above once it shows that it handled a later one.
    wait_for(lambda: current_app.control.ping(timeout=2.0), timeout=60, what="an answer to the remote control")
    wait_for(lambda: "missed heartbeat from longgone" in worker.log(), timeout=60, what="the look at other workers")
    worker.stop()
    assert rejected(queue="(remote control)") == len(MALFORMED_COMMANDS)
    assert rejected(queue="(events)") == len(MALFORMED_EVENTS)


def test_malformed_messages_are_rejected_and_the_worker_goes_on(
    worker: Process, broker_url: str, save: Callable[..., str], request_run: Callable[..., Run], tmp_path: Path
) -> None:
    save(run="true")
    before = slots(worker)

    send(broker_url, MALFORMED.values())
    for repeat in range(SLOTS + 1):  # what takes a place in the pool for good stops the worker then
        send(broker_url, [MALFORMED["stamps that are lists"]] * (repeat + 1))

    assert ended(request_run()).state == "succeeded"
    current_app.send_task("sample.note", args=[str(tmp_path / "note")], kwargs={"word": "done"}, queue="default")
    wait_for((tmp_path / "note").exists, what="another project's task")
    wait_for(lambda: waiting(broker_url) == 0, what="the end of the messages")
    assert worker.is_running()
    assert slots(worker) == before
    assert peak_memory(worker) < BOMB_BYTES
    worker.stop()
    wait_for(lambda: waiting(broker_url) == 0, what="an empty queue: of what was given back, only hints expire")
    assert rejected() == len(MALFORMED) + 6
    [*findings] = [finding for finding in preflight.examine().findings if finding.check == "rejected"]
    assert {finding.level for finding in findings} == {"warning"}
    assert any("'default'" in finding.sentence for finding in findings)


def test_random_messages_end_no_worker_and_fill_no_log(
    worker: Process, broker_url: str, save: Callable[..., str], request_run: Callable[..., Run]
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    save(run="true")
    before = slots(worker)

    sent = send(broker_url, Fuzzer(random.Random(seed), queue="default").messages(FUZZED))
    assert sent > FUZZED * 0.8  # RabbitMQ itself refuses some 7 of 100

    wait_for(lambda: waiting(broker_url) == 0, timeout=60, what="the end of the messages")
    assert ended(request_run()).state == "succeeded"  # no beat repeats its hint, which would have expired before
    assert worker.is_running()
    assert slots(worker) == before
    assert current_app.control.ping(timeout=5.0), "the worker does not answer the remote control any more"
    worker.stop()
    wait_for(lambda: waiting(broker_url) == 0, what="an empty queue: of what was given back, only hints expire")
    assert rejected() > FUZZED / 4
    reports = worker.log().count("messages rejected")
    assert 0 < reports < 50, f"{reports} reports for {rejected()} messages"
