"""Says what is wrong with a message before Celery handles it.

Celery trusts what it receives: some values raise in its event loop only later, when a time limit is set or a process
of the pool is given the message. Those are found here. What is only unusual is left to Celery.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from inspect import signature
from typing import Any, Final

from jobs.conf import WORK_TASK
from jobs.rejections import Reason

HIGHEST_CLOCK: Final = 2**53
"""A logical clock of Celery's only ever grows, by one for each event. One that is set higher by a message can, after a
while, no longer be sent in a header, and then no worker answers any more."""

_PLAIN: Final = (type(None), bool, int, float, str, bytes, datetime, Decimal)
_EMPTY_IN_HINTS: Final = ("eta", "expires", "shadow", "group", "retries", "stamped_headers", "stamps", "chord")

_KINDS: Final[Mapping[str, Any]] = {
    "shadow": str | None,
    "root_id": str | None,
    "parent_id": str | None,
    "group": str | None,
    "retries": int | None,
    "stamped_headers": list | tuple | None,
    "stamps": dict | None,
}
"""Values that Celery uses later without a check: a name that is no text cannot be counted, and the message would never
be acknowledged."""

Problem = tuple[Reason, object]
"""Why a message is rejected, and a detail for the log."""


def problem_of_task(message: Any, *, serves: Collection[str]) -> Problem | None:
    """Return what is wrong with a message of a queue, or None. `serves` are the queues that this worker consumes.

    Raises what decoding raises.
    """
    if not _is_plain(message.headers) or not _is_plain(message.properties):
        return Reason.UNREADABLE, "a header holds bytes that are no text"
    headers, has_task = message.headers, "task" in message.headers
    if has_task and (problem := _problem(headers, message, serves)):
        return problem
    payload = message.decode()
    if has_task and not (isinstance(payload, dict) and "args" in payload):
        return None
    if not isinstance(payload, dict) or not (has_task or "task" in payload):
        return Reason.NO_TASK, payload
    # Where the body holds arguments by name, it describes the task, and headers replace what it says (as in
    # `hybrid_to_proto2` of Celery's strategy).
    return _problem({**payload, **headers} if "args" in payload else payload, message, serves)


def _problem(described: Mapping[str, Any], message: Any, serves: Collection[str]) -> Problem | None:
    """Judge what describes the task: the headers in the second version of Celery's protocol, the body in the first."""
    name, task_id = described.get("task"), described.get("id")
    if not isinstance(name, str) or not isinstance(task_id, str):
        return Reason.BAD_TASK, f"task {name!r}, id {task_id!r}"
    if not _is_time_limit(described.get("timelimit")):
        return Reason.BAD_TASK, f"timelimit {described['timelimit']!r}"
    for header, kinds in _KINDS.items():
        if not isinstance(described.get(header), kinds):
            return Reason.BAD_TASK, f"{header} {described[header]!r}"
    payload = message.decode()
    if not _is_call(payload):
        return Reason.BAD_TASK, payload
    if name == WORK_TASK and (why := _why_no_hint(message, serves)):
        return Reason.BAD_HINT, why
    return None


def _is_call(payload: Any) -> bool:
    """Tell whether a body holds arguments, and what is to be called afterwards, as either version of the protocol."""
    if isinstance(payload, dict):
        payload = payload.get("args", ()), payload.get("kwargs", {}), payload
    if not isinstance(payload, list | tuple) or len(payload) != 3:
        return False
    args, kwargs, embedded = payload
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        return False
    if not isinstance(embedded, dict):
        return embedded is None
    lists = [embedded.get(name) or [] for name in ("callbacks", "errbacks", "chain")]
    return isinstance(embedded.get("chord"), dict | None) and all(map(_is_list_of_mappings, lists))


def _is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, dict) for one in value)


def _why_no_hint(message: Any, serves: Collection[str]) -> str | None:
    """A hint names a queue and carries nothing else: neither a time limit, which would end a run, nor a callback."""
    headers, payload = message.headers, message.decode()
    if "task" not in headers or not isinstance(payload, list | tuple) or len(payload) != 3:
        return "it is not of the second version of the protocol"
    args, kwargs, embedded = payload
    if kwargs or not isinstance(args, list) or len(args) != 1 or args[0] not in serves:
        return f"its arguments {args!r:.80} name no queue of this worker"
    if not isinstance(embedded, dict) or any(embedded.values()):
        return "it has callbacks"
    if any(headers.get("timelimit") or ()):
        return "it has a time limit"
    unusual = [name for name in _EMPTY_IN_HINTS if headers.get(name)]
    return f"it has {', '.join(unusual)}" if unusual else None


def _is_time_limit(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, list | tuple) and (not value or (len(value) == 2 and all(map(_is_seconds, value))))


def _is_seconds(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < 1e9


def _is_rate(value: Any) -> bool:
    """Tell whether a value has a type that Celery can read a rate limit from. It judges texts itself."""
    return isinstance(value, str) or _is_seconds(value)


_COMMAND_VALUES: Final[Mapping[str, Mapping[str, Callable[[Any], bool]]]] = {
    "time_limit": {"hard": _is_seconds, "soft": _is_seconds},
    "rate_limit": {"rate_limit": _is_rate},
}
"""What commands set on a task without a check. The pool and the next connection use it, and end the worker if they
cannot."""


def _is_plain(value: Any) -> bool:
    """Tell whether a value can be passed to another process. It does not recurse: tables may be nested deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if not all(isinstance(key, str) for key in one):
                return False
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
        elif not isinstance(one, _PLAIN):
            return False
    return True


def why_no_command(body: Any, headers: Mapping[str, Any], known: Mapping[str, Callable[..., Any]]) -> str | None:
    """Return why a message of the remote control is no command of Celery's, or None. `known` are the commands."""
    if not isinstance(body, dict):
        return "its body is no mapping"
    method, reply_to = body.get("method"), body.get("reply_to")
    if not isinstance(method, str) or method not in known:
        return f"there is no command {method!r:.80}"
    arguments = body.get("arguments") or {}
    if not isinstance(arguments, dict):
        return "its arguments are no mapping"
    try:
        signature(known[method]).bind(None, **arguments)
    except TypeError as error:
        return f"{method} does not take its arguments: {error}"
    for name, is_usable in _COMMAND_VALUES.get(method, {}).items():
        if not is_usable(arguments.get(name)):
            return f"{method} cannot use the {name} {arguments[name]!r:.80}"
    if not isinstance(body.get("destination") or [], list):
        return "its destination is no list"
    if reply_to and not (
        isinstance(reply_to, dict) and all(isinstance(reply_to.get(name), str) for name in ("exchange", "routing_key"))
    ):
        return "its reply_to names no exchange and routing key"
    return _why_no_clock(headers.get("clock"))


def why_no_event(body: Any) -> str | None:
    """Return why a message of the event exchange is no event of a worker's, or None."""
    if not isinstance(body, dict):
        return "its body is no mapping"
    if str(body.get("type")).startswith("worker-elect") and not isinstance(body.get("id"), str):
        return "it is an election without an id"
    return _why_no_clock(body.get("clock"))


def _why_no_clock(clock: Any) -> str | None:
    if clock is None or (isinstance(clock, int) and not isinstance(clock, bool) and 0 <= clock < HIGHEST_CLOCK):
        return None
    return f"its clock is {clock!r:.80}"
