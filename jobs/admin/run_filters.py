"""Filters of the list of runs that read RunFilter's terms, and the list's address read as one RunFilter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from jobs.models import Run
from jobs.models.runfilter import DEAD_ENDS, RunFilter
from jobsched.domain import signals
from jobsched.domain.errors import InvalidInput
from jobsched.domain.states import State

Terms = dict[str, Any]
"""Some fields of a RunFilter."""


class TermsFilter(admin.SimpleListFilter):
    """A filter of the list that says what it means as fields of a RunFilter."""

    @classmethod
    def terms(cls, value: str) -> Terms:
        """Return what a value of the address asks for. Raises InvalidInput for one that says nothing."""
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: QuerySet[Run]) -> QuerySet[Run]:
        value = self.value()
        if not value:
            return queryset
        try:
            return RunFilter(**self.terms(value)).of(queryset)  # type: ignore[arg-type]  # Run's own manager made it
        except InvalidInput:
            return queryset.none()


class DeadEndFilter(TermsFilter):
    """Runs that failed or timed out: those that nobody retried yet, or all."""

    title = "dead ends"
    parameter_name = "failed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("open", "Failed, not retried yet"), ("all", "All that failed")]

    @classmethod
    def terms(cls, value: str) -> Terms:
        if value not in ("open", "all"):
            raise InvalidInput(f"'{value}' is no kind of dead end.")
        return {"states": DEAD_ENDS} | ({"retried": False} if value == "open" else {})


class TypedFilter(TermsFilter):
    """A filter that takes what one types."""

    template = "admin/jobs/run/typed_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [("", "")]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """One form and not a list of links: what else the address says goes along, but not the page."""
        others = changelist.get_filters_params()
        kept = [(name, value) for name, values in others.items() for value in values]
        yield {
            "name": self.parameter_name,
            "value": self.value() or "",
            "others": [pair for pair in kept if pair[0] not in (self.parameter_name, "id__lt")],
            "without": changelist.get_query_string(remove=[str(self.parameter_name), "id__lt"]),
        }


class ReasonFilter(TypedFilter):
    title = "text of the reason"
    parameter_name = "reason"

    @classmethod
    def terms(cls, value: str) -> Terms:
        return {"reason": value}


class ExitCodeFilter(TypedFilter):
    title = "exit code"
    parameter_name = "exit_code"

    @classmethod
    def terms(cls, value: str) -> Terms:
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
            raise InvalidInput(f"'{value}' is no exit code.")
        return {"exit_code": int(value)}


class SignalFilter(TypedFilter):
    title = "signal"
    parameter_name = "signal"

    @classmethod
    def terms(cls, value: str) -> Terms:
        return {"signal": signals.parse(value)}


class ErrorFilter(TypedFilter):
    title = "exception"
    parameter_name = "error"

    @classmethod
    def terms(cls, value: str) -> Terms:
        return {"error": value}


class WorkerFilter(TypedFilter):
    title = "worker"
    parameter_name = "worker"

    @classmethod
    def terms(cls, value: str) -> Terms:
        return {"worker": value}


def _states(value: str) -> Terms:
    if value not in list(State):
        raise InvalidInput(f"'{value}' is not a state.")
    return {"states": frozenset({State(value)})}


def _number(value: str) -> Terms:
    return {"job_id": int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0}


def _moment(value: str) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidInput(f"'{value}' is not a moment.") from None
    return found if found.tzinfo else timezone.make_aware(found)


_TYPED: tuple[type[TermsFilter], ...] = (
    DeadEndFilter,
    ReasonFilter,
    ExitCodeFilter,
    SignalFilter,
    ErrorFilter,
    WorkerFilter,
)
_READ: dict[str, Callable[[str], Terms]] = {
    **{str(one.parameter_name): one.terms for one in _TYPED},
    "state__exact": _states,
    "trigger__exact": lambda value: {"trigger": value},
    "project": lambda value: {"project": value},
    "queue": lambda value: {"queue": value},
    "job": _number,
    "created_at__gte": lambda value: {"start": _moment(value)},
    # The list leaves this moment out, and a RunFilter takes its end in.
    "created_at__lt": lambda value: {"end": _moment(value) - timedelta(microseconds=1)},
}


def asked(params: Mapping[str, str]) -> RunFilter:
    """Return what the address of the list asks for, whichever page of it is shown.

    Raises InvalidInput where the list is narrowed in a way that no filter is.
    """
    terms: Terms = {}
    for name, value in params.items():
        if name == "id__lt" or not value:
            continue
        if name not in _READ:
            raise InvalidInput(
                "A list that is narrowed by a search cannot be handled as a whole; remove the search, "
                "and choose by the filters beside the list."
            )
        found = _READ[name](value)
        if "states" in found and "states" in terms:
            found["states"] &= terms["states"]
            if not found["states"]:
                raise InvalidInput("No run is in both of the states that were chosen.")
        terms |= found
    return RunFilter(**terms)
