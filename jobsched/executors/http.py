"""Kind `http`: one request, judged by its status."""

from __future__ import annotations

import email.utils
import json
import math
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, ClassVar, Final

from jobsched import net
from jobsched.domain.errors import InvalidInput
from jobsched.domain.outcomes import Assignment, Outcome, Verdict
from jobsched.domain.urltemplate import expand
from jobsched.executor import Context, required

_BUSY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class HttpExecutor:
    """Spec: `url`; optionally `method`, `headers`, `body` (text, or JSON), `expected_status` (a list),
    `timeout_seconds`, `max_bytes` and `follow_redirects`."""

    in_interpreter: ClassVar[bool] = False
    needs_workspace: ClassVar[bool] = False
    ends_by_exception: ClassVar[bool] = True

    def perform(self, work: Assignment, context: Context) -> Outcome:
        spec = work.spec
        method = required(spec, "method", str, default="GET").upper()
        url = expand(required(spec, "url", str), work.all_params)
        headers, body = _headers_and_body(spec)
        expected = _expected(spec)
        context.start_work()
        try:
            answer = net.fetch(
                url,
                method=method,
                headers=headers,
                body=body,
                timeout_seconds=required(spec, "timeout_seconds", (int, float), default=30.0),
                max_bytes=required(spec, "max_bytes", int, default=net.MIB),
                follow_redirects=required(spec, "follow_redirects", bool, default=True),
            )
        except net.RequestFailed as error:
            return Outcome(verdict=Verdict.FAILED, reason=f"{method} {error}", error="RequestFailed")
        return _judge(method, answer, expected)


def _judge(method: str, answer: net.Answer, expected: frozenset[int]) -> Outcome:
    sys.stdout.flush()
    sys.stdout.buffer.write(answer.body)
    if answer.truncated:
        sys.stdout.write(f"\n[… the answer is longer than {len(answer.body)} bytes; the rest is left out …]\n")
    good = answer.status in expected
    reason = f"{method} {answer.url} answered {answer.status} {answer.phrase}".rstrip()
    return Outcome(
        verdict=Verdict.SUCCEEDED if good else Verdict.FAILED,
        reason="" if good else f"{reason}; expected {_in_words(expected)}",
        http_status=answer.status,
        error=None if good else "UnexpectedStatus",
        result={"status": answer.status, "bytes": len(answer.body), "seconds": round(answer.seconds, 6)},
        retry_after_seconds=_retry_after(answer) if not good and answer.status in _BUSY else None,
    )


_SUCCESS: Final = frozenset(range(200, 300))


def _expected(spec: Mapping[str, Any]) -> frozenset[int]:
    statuses = required(spec, "expected_status", list, default=[]) or _SUCCESS
    if not all(isinstance(status, int) for status in statuses):
        raise InvalidInput("the job's 'expected_status' must be a list of numbers, like [200, 204]")
    return frozenset(statuses)


def _in_words(expected: frozenset[int]) -> str:
    if expected == _SUCCESS:
        return "200 to 299"
    return " or ".join(str(status) for status in sorted(expected))


def _headers_and_body(spec: Mapping[str, Any]) -> tuple[dict[str, str], bytes | None]:
    headers = {str(name): str(value) for name, value in required(spec, "headers", dict, default={}).items()}
    body = spec.get("body")
    if body is None:
        return headers, None
    if isinstance(body, str):
        return headers, body.encode()
    if "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = "application/json"
    return headers, json.dumps(body).encode()


def _retry_after(answer: net.Answer) -> float | None:
    """Read the Retry-After header: seconds, or a date. What cannot be understood is ignored."""
    told = next((value for name, value in answer.headers.items() if name.lower() == "retry-after"), "")
    try:
        seconds = float(told)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(told)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
