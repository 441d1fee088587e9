"""Expected against actual fires of one job: what the page shows for a period."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.paginator import Page, Paginator
from django.utils import timezone
from django.utils.safestring import SafeString

from jobs.admin.badges import moment, state_badge
from jobs.admin.run_page import short
from jobs.admin.spec_errors import sentence
from jobs.models import Job, Run
from jobs.services import history
from jobs.services.history import Account, Became, Instant
from jobsched.domain.errors import InvalidInput

INSTANTS_A_PAGE = 200
LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}
PERIODS = {name: f"Last {name}" for name in LENGTHS}
COUNTED = {
    Became.UNEXPLAINED: "unexplained",
    Became.RUN: "run",
    Became.SKIPPED: "skipped",
    Became.OWED: "not accounted for yet",
}
"""In the order of the line of counts: what must not be comes first."""


class PeriodForm(forms.Form):
    """Which period: up to now, or between two moments."""

    period = forms.ChoiceField(choices=[*PERIODS.items(), ("between", "between two moments")])
    start = forms.DateTimeField(
        label="From", required=False, widget=forms.DateTimeInput({"type": "datetime-local", "step": "1"})
    )
    end = forms.DateTimeField(
        label="To", required=False, widget=forms.DateTimeInput({"type": "datetime-local", "step": "1"})
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("period") == "between" and not self.errors and not data.get("start"):
            self.add_error("start", "Say from when.")
        return data

    def bounds(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the period that was asked for. Call after `is_valid`."""
        data = self.cleaned_data
        if data["period"] == "between":
            return data["start"], data["end"] or now
        return now - LENGTHS[data["period"]], now


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An instant and the run that tells of it. Without the right to see runs, what became of it and no more."""

    at: SafeString | str
    became: str
    run: Run | None
    badge: SafeString | str
    reason: SafeString | str
    unexplained: bool
    also: tuple[Row, ...] = ()
    """Further records of the same instant."""


def page(job: Job, asked: Any, *, with_runs: bool) -> dict[str, Any]:
    """Return what the page shows: the form, and the account or what is wrong. The same few queries for any period."""
    form = PeriodForm(asked if asked.get("period") else {"period": "day"})
    chosen = {"form": form, "periods": PERIODS, "period": form["period"].value()}
    if not form.is_valid():
        return chosen
    start, end = form.bounds(timezone.now())
    try:
        account = history.account(job, start=start, end=end)
    except InvalidInput as error:
        return {**chosen, "refused": sentence(error.message)}
    shown: Page[Instant] = Paginator(_worst_first(account), INSTANTS_A_PAGE).get_page(asked.get("page"))
    return {
        **chosen,
        "start": moment(start),
        "end": moment(end),
        "counts": [(words, account.count(became), became is Became.UNEXPLAINED) for became, words in COUNTED.items()],
        "total": len(account.instants),
        "shown": shown,
        "rows": [_row(instant, with_runs=with_runs) for instant in shown],
        "unexpected": [_record(run) for run in account.unexpected[:INSTANTS_A_PAGE]] if with_runs else [],
        "unexpected_count": len(account.unexpected),
        "deletions": account.deletions,
    }


def _worst_first(account: Account) -> list[Instant]:
    """What nothing tells of, then the rest, each newest first."""
    newest_first = sorted(account.instants, key=lambda instant: instant.at, reverse=True)
    return sorted(newest_first, key=lambda instant: instant.became is not Became.UNEXPLAINED)


def _row(instant: Instant, *, with_runs: bool) -> Row:
    run = instant.run if with_runs else None
    told = with_runs or instant.run is None
    return Row(
        at=moment(instant.at),
        became=COUNTED[instant.became],
        run=run,
        badge=state_badge(run.state, cancelling=run.cancel_requested_at is not None) if run else "",
        reason=short(instant.reason) if told and instant.reason else "",
        unexplained=instant.became is Became.UNEXPLAINED,
        also=tuple(_record(other) for other in instant.also) if with_runs else (),
    )


def _record(run: Run) -> Row:
    return Row(
        at=moment(run.scheduled_for),
        became="",
        run=run,
        badge=state_badge(run.state),
        reason=short(run.reason) if run.reason else "",
        unexplained=False,
    )
