"""What the page of one run shows, worked out before the template sees it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobs.admin.badges import NOTHING, duration, moment, state_badge
from jobs.admin.outputs import ending, live_end
from jobs.admin.printable import printable
from jobs.models import Attempt, Run
from jobs.services import reading
from jobsched.domain.attempts import attempts_in_words
from jobsched.domain.excerpts import END_BYTES, after_left_out
from jobsched.domain.signals import signal_name
from jobsched.domain.states import State

REASON_CHARACTERS = 90
RESULT_CHARACTERS = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class SectionView:
    """One step of an attempt."""

    name: str
    badge: SafeString | str
    took: str
    ended_with: str
    output: str
    open: bool
    """The step a reader most likely came for: the one that did not succeed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptView:
    """One attempt, ended or under way."""

    number: int
    badge: SafeString
    facts: list[Any]
    reason: str
    warning: str
    sections: list[SectionView]
    output: str
    extent: str
    result: str
    processes: list[dict[str, Any]]
    """Those that were ended with it."""
    finished: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TransitionView:
    """One change of state."""

    at: SafeString | str
    before: SafeString | str
    after: SafeString
    attempt: int | str
    actor: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPage:
    """A run with all that happened to it; the latest attempt comes first, as it is what people look for."""

    badge: SafeString
    reason: str
    cancelling: str
    """When a running run that was asked to end will, at the latest."""
    version: int
    facts: list[tuple[str, Any]]
    params: str
    attempts: list[AttemptView]
    transitions: list[TransitionView]


def _runs(numbers: Iterable[int]) -> SafeString:
    links = ((reverse("admin:jobs_run_change", args=[number]), number) for number in numbers)
    return format_html_join(", ", '<a href="{}">#{}</a>', links)


def read(run: Run) -> RunPage:
    """Read all that the page of a run shows, in the same few queries for any run."""
    story = reading.story(run.pk)
    found = story.view.run
    attempts = [
        _attempt(
            attempt,
            of=found,
            output_host=story.output_hosts.get(attempt.number),
            not_kept=story.output_not_kept.get(attempt.number, 0),
        )
        for attempt in reversed(story.attempts)
    ]
    if found.state == State.RUNNING:
        attempts.insert(0, _under_way(found))
    return RunPage(
        badge=state_badge(found.state, cancelling=found.cancel_requested_at is not None),
        reason=printable(found.reason),
        version=story.view.version,
        facts=[
            *_facts(story.view),
            *([("Repeats", _runs([found.retry_of]))] if found.retry_of else []),
            *([("Retried as", _runs(story.retries))] if story.retries else []),
        ],
        cancelling=story.view.cancelling,
        params=_json(story.view.params) if story.view.params else "",
        attempts=attempts,
        transitions=[
            TransitionView(
                at=moment(step.at),
                before=state_badge(step.before) if step.before else NOTHING,
                after=state_badge(step.after),
                attempt=step.attempt or NOTHING,
                actor=printable(step.actor),
                reason=printable(step.reason),
            )
            for step in story.transitions
        ],
    )


def short(text: str) -> SafeString:
    """A reason for a cell of a list: its first line, cut, with all of it as the title."""
    clean = printable(text)
    line = clean.partition("\n")[0]
    if len(line) > REASON_CHARACTERS:
        line = line[:REASON_CHARACTERS] + "…"
    return format_html('<span class="js-reason" title="{}">{}</span>', clean[:1000], line)


def outcome(view: reading.RunView) -> str:
    """What the last attempt ended with, for a cell of a list: exit code, signal, HTTP status, exception."""
    parts = _process_end(view.exit_code, view.signal)
    parts += [f"HTTP {view.http_status}"] if view.http_status is not None else []
    return ", ".join([*parts, *([printable(view.error)] if view.error else [])])


def _process_end(exit_code: int | None, signal: int | None) -> list[str]:
    """Return the exit code and the signal of a process that ended, each where there is one."""
    parts = [f"exit code {exit_code}"] if exit_code is not None else []
    return parts + ([signal_name(signal)] if signal is not None else [])


def _facts(view: reading.RunView) -> list[tuple[str, Any]]:
    run = view.run
    facts: list[tuple[str, Any]] = [
        (
            "Trigger",
            f"{run.get_trigger_display()} by {run.requested_by}" if run.requested_by else run.get_trigger_display(),
        ),
        ("Queue", run.queue),
        ("Priority", run.priority),
        ("Attempts", attempts_in_words(run.attempt, view.max_attempts)),
    ]
    if run.scheduled_for:
        facts.append(("Due", moment(run.scheduled_for)))
    if run.skipped_until and run.skipped_count and run.skipped_count > 1:
        stands_for = format_html("{} instants, up to {}", run.skipped_count, moment(run.skipped_until))
        facts.append(("Stands for", stands_for))
    if run.state in (State.SCHEDULED, State.QUEUED) and run.expires_at:
        facts.append(("Given up unless begun by", moment(run.expires_at)))
    if run.wait_seconds is not None:
        facts.append(("May wait", duration(timedelta(seconds=run.wait_seconds))))
    if run.deadline_at:
        facts.append(("Deadline", moment(run.deadline_at)))
    if run.state == State.QUEUED and run.held:
        facts.append(("Held", run.get_held_display()))
    if run.lane:
        facts.append(("Lane", printable(run.lane)))
    facts.append(("Created", moment(run.created_at)))
    if run.state == State.SCHEDULED:
        facts.append(("Not before", moment(run.run_at)))
    if run.started_at:
        facts.append(("Started", moment(run.started_at)))
        facts.append(("Took", duration((run.finished_at or timezone.now()) - run.started_at)))
    if run.finished_at:
        facts.append(("Ended", moment(run.finished_at)))
    if run.worker:
        facts.append(("Worker", run.worker))
    if run.cancel_requested_at:
        by = f" by {run.cancel_requested_by}" if run.cancel_requested_by else ""
        facts.append(("Cancel requested", format_html("{}{}", moment(run.cancel_requested_at), by)))
    return facts


def _attempt(attempt: Attempt, *, of: Run, output_host: str | None, not_kept: int) -> AttemptView:
    excerpt = str(getattr(attempt, "excerpt", ""))
    sections = [_section(section) for section in attempt.sections or []]
    facts: list[Any] = [
        duration(attempt.finished_at - attempt.started_at),
        format_html("began {}", moment(attempt.started_at)),
    ]
    facts += [f"on {attempt.worker}"] if attempt.worker else []
    facts += _process_end(attempt.exit_code, attempt.signal)
    facts += [f"HTTP {attempt.http_status}"] if attempt.http_status is not None else []
    facts += [printable(attempt.error)] if attempt.error else []
    if attempt.killed:
        facts.append(f"{attempt.killed} process{'' if attempt.killed == 1 else 'es'} had to be killed")
    return AttemptView(
        number=attempt.number,
        badge=state_badge(attempt.verdict),
        facts=facts,
        reason="" if attempt.reason == of.reason else printable(attempt.reason),
        warning=printable(attempt.warning),
        sections=sections,
        output=ending(after_left_out(excerpt)),
        extent=_extent(len(excerpt), attempt.output_total, output_host, not_kept),
        result="" if attempt.result is None else _json(attempt.result),
        processes=[
            {name: printable(str(process.get(name, ""))) for name in ("pid", "name", "ended")}
            for process in attempt.processes or []
        ],
        finished=True,
    )


def _under_way(run: Run) -> AttemptView:
    output, printed = live_end(run.pk, run.attempt)
    return AttemptView(
        number=run.attempt,
        badge=state_badge(run.state, cancelling=run.cancel_requested_at is not None),
        facts=[f"on {run.worker}"] if run.worker else [],
        reason="",
        warning="",
        sections=[],
        output=output,
        extent=f"{'the end of ' if printed > END_BYTES else ''}{_size(printed)} so far; reload the page for more",
        result="",
        processes=[],
        finished=False,
    )


def _section(section: dict[str, Any]) -> SectionView:
    verdict, seconds = section.get("verdict"), section.get("duration_seconds")
    return SectionView(
        name=printable(str(section.get("name", ""))),
        badge=state_badge(str(verdict)) if verdict else "not run",
        took="" if seconds is None else duration(timedelta(seconds=float(seconds))),
        ended_with=", ".join(_process_end(section.get("exit_code"), section.get("signal"))),
        output=ending(str(section.get("output") or "")),
        open=verdict not in (None, "succeeded"),
    )


def _extent(shown: int, total: int, host: str | None, not_kept: int) -> str:
    size = _size(total)
    if host is not None:
        return f"the end of {size}; the rest is on the disk of host {printable(host)}, which this server cannot read"
    if not_kept:
        return f"the end of {size}; {_size(not_kept)} in the middle were beyond the limit and are not kept"
    return f"the end of {size}" if shown >= reading.EXCERPT_CHARACTERS or shown * 4 < total else size


def _size(count: int) -> str:
    return f"{count:,} byte{'' if count == 1 else 's'}"


def _json(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    if len(text) > RESULT_CHARACTERS:
        text = text[:RESULT_CHARACTERS] + "\n… (cut here)"
    return printable(text)
