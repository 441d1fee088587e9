"""Cancel or retry all runs that the list shows, on all its pages: count first, then do it when confirmed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from jobs.admin.run_filters import asked
from jobs.models.runfilter import RunFilter
from jobs.services import bulk
from jobsched.domain.errors import InvalidInput

PATIENCE_SECONDS = 15.0
"""A page goes on for so long and then says how much is left; web servers give a request up after a minute or so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A count or an outcome, as a sentence."""

    sentence: str
    number: int
    more: bool = False
    """There were more than could be handled at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """What is done to all of them."""

    title: str
    button: str
    retrying: bool
    count: Callable[[RunFilter], Summary]
    do: Callable[[RunFilter, HttpRequest], Summary]


def definition(request: HttpRequest) -> Literal["then", "now"]:
    """Return which definition a form asks for."""
    return "now" if request.POST.get("definition") == "now" else "then"


def page(site: admin.ModelAdmin[Any], request: HttpRequest, verb: Verb, context: dict[str, Any]) -> HttpResponse:
    """Answer with the count and a button, or after a POST with the list and what was done."""
    query = f"?{request.GET.urlencode()}" if request.GET else ""
    back = reverse("admin:jobs_run_changelist") + query
    said: dict[str, Any] = {"title": verb.title, "button": verb.button, "retrying": verb.retrying, "back": back}
    try:
        chosen = asked(request.GET.dict())
        if request.method == "POST":
            done = verb.do(chosen, request)
            site.message_user(request, done.sentence, messages.WARNING if done.more else messages.SUCCESS)
            return HttpResponseRedirect(request.get_full_path() if done.more else back)
        counted = verb.count(chosen)
        said |= {"count": counted.sentence, "anything": counted.number > 0}
    except InvalidInput as error:
        said["refusal"] = str(error)
    return TemplateResponse(request, "admin/jobs/run/many.html", {**context, **said})


def _count_to_cancel(chosen: RunFilter) -> Summary:
    found = bulk.count_to_cancel(chosen)
    sentence = f"{_runs(found.ended, 'waiting')} would be cancelled, and {_runs(found.asked, 'running')} asked to end."
    return Summary(sentence=sentence, number=found.ended + found.asked)


def _cancel(chosen: RunFilter, request: HttpRequest) -> Summary:
    actor = request.user.get_username()
    done, more = _walk(lambda before: bulk.cancel(chosen, actor=actor, before=before), "ended", "asked")
    sentence = f"{_runs(done['ended'])} cancelled, {_runs(done['asked'], 'running')} asked to end."
    return Summary(sentence=sentence + _left(more), number=done["ended"] + done["asked"], more=more)


def _count_to_retry(chosen: RunFilter) -> Summary:
    found = bulk.count_to_retry(chosen)
    return Summary(
        sentence=f"{_runs(found)} would be retried: those that have ended and were not retried yet.", number=found
    )


def _retry(chosen: RunFilter, request: HttpRequest) -> Summary:
    actor, by, why = request.user.get_username(), definition(request), ""

    def call(before: int | None) -> bulk.RetriedMany:
        nonlocal why
        answer = bulk.retry(chosen, actor=actor, definition=by, before=before)
        why = answer.why or why
        return answer

    done, more = _walk(call, "made", "skipped", "waiting", "refused")
    sentence = f"{_runs(done['made'], 'new')} requested."
    if done["skipped"]:
        sentence += f" {done['skipped']} skipped by the overlap rule of their job."
    if done["waiting"]:
        sentence += f" {done['waiting']} left, as a run of their unique job waits already."
    if done["refused"]:
        sentence += f" {done['refused']} refused. {why}"
    return Summary(sentence=sentence + _left(more), number=done["made"], more=more)


cancelling = Verb(
    title="Cancel all of these runs", button="Cancel them", retrying=False, count=_count_to_cancel, do=_cancel
)
retrying = Verb(title="Retry all of these runs", button="Retry them", retrying=True, count=_count_to_retry, do=_retry)


def _walk(call: Callable[[int | None], Any], *names: str) -> tuple[Counter[str], bool]:
    done: Counter[str] = Counter()
    before: int | None = None
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = call(before)
        done.update({name: getattr(answer, name) for name in names})
        before = answer.next
        if before is None or time.monotonic() > give_up:
            return done, before is not None


def _left(more: bool) -> str:
    return " There are more than one page can handle: go on with those that are left." if more else ""


def _runs(number: int, kind: str = "") -> str:
    return f"{number} {kind + ' ' if kind else ''}run{'' if number == 1 else 's'}"
