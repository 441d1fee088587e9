"""What a job's description means as a schedule, and whether anything will ever be run by it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from jobs.rules import Rule, as_text, excluded, first_after, rule_for
from jobsched.domain.errors import InvalidInput
from jobsched.domain.specs import JobSpec

_MICROSECOND = timedelta(microseconds=1)


def wanted(spec: JobSpec, *, now: datetime) -> dict[str, Any] | None:
    """Return the schedule that a description asks for as the store stages it; None for a job that runs on request."""
    rule = rule_of_spec(spec, anchor=now, now=now)
    if rule is None:
        return None
    every, period = rule.interval or (None, None)
    said = policies(spec)
    return {
        "crontab": rule.crontab,
        "every": every,
        "period": period,
        "clocked": _text(rule.clocked),
        "stored": None if rule.stored is None else json.loads(rule.stored),
        "start_time": _text(rule.start_time),
        "expires": _text(rule.expires),
        "one_off": spec.run_once or rule.clocked is not None,
        **said,
        "catch_up_window": interval(said["catch_up_window"]),
        "jitter": interval(said["jitter"]),
    }


def rule_of_spec(spec: JobSpec, *, anchor: datetime, now: datetime) -> Rule | None:
    """Return the rule of a description with its exclusions, its intervals counted from `anchor`."""
    timetable = spec.timetable(anchor=now)
    if timetable is None:
        return None
    return replace(
        rule_for(timetable, anchor=anchor),
        start_time=spec.starts_at,
        expires=spec.ends_at,
        exclusions=as_text(policies(spec)["exclusions"]),
    )


def interval(duration: timedelta | None) -> str | None:
    """Return a duration as PostgreSQL reads it, to the microsecond."""
    return None if duration is None else f"{duration // _MICROSECOND} microseconds"


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def refuse_never_due(rule: Rule, *, now: datetime, where: str = "") -> None:
    """Raise InvalidInput when no instant after `now` will be run: by the rule itself, its end or its exclusions."""
    following = first_after(rule, now)
    if following is None:
        key, sentence = _why_over(rule, now)
    else:
        exclusions = excluded(rule)
        if exclusions is None or exclusions.first_outside(partial(first_after, rule), now) is not None:
            return
        key = "'exclude' or 'blackout'"
        sentence = (
            f"every instant from {_clock(following)} on lies in an excluded day or a blackout, so that nothing would "
            "be run; exclude less"
        )
    raise InvalidInput(sentence, where=", ".join(filter(None, (where, f"key {key}"))))


def _why_over(rule: Rule, now: datetime) -> tuple[str, str]:
    """Return the key that leaves a rule without an instant after `now`, and the reason as a sentence."""
    if rule.clocked is not None:
        return "'at'", (
            f"{_clock(rule.clocked)} lies in the past; give a moment to come, or leave 'at' out and request the job"
        )
    if rule.expires is not None and rule.expires <= now:
        return "'end'", f"{_clock(rule.expires)} lies in the past; give a moment to come, or leave 'end' out"
    following = first_after(replace(rule, expires=None), now)
    if following is None or rule.expires is None:
        since = max(filter(None, (now, rule.start_time)))
        return "'schedule'", f"it has no instant after {_clock(since)}; give one that has, or leave it out"
    return "'end'", (
        f"the first instant is {_clock(following)}, and the schedule ends at {_clock(rule.expires)}; "
        "give a later 'end', or leave it out"
    )


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def policies(spec: JobSpec) -> dict[str, Any]:
    """Return what a schedule says beside when it is due."""
    return {
        "catch_up": spec.catch_up.policy,
        "catch_up_window": spec.catch_up.window,
        "catch_up_limit": spec.catch_up.limit,
        "jitter": spec.jitter,
        "exclusions": {"exclude": list(spec.exclude), "blackout": list(spec.blackout), "timezone": spec.timezone}
        if spec.exclude or spec.blackout
        else None,
    }
