"""Small pieces of the pages: badges, moments and durations."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobsched.domain.states import State

NOTHING = "–"  # noqa: RUF001 - a dash for the eye


def state_badge(state: str, *, cancelling: bool = False) -> SafeString:
    """A run's state as a coloured word; the word alone carries the meaning."""
    words = "cancelling" if cancelling and state == State.RUNNING else state.replace("_", " ")
    return format_html('<span class="js-badge js-state-{}">{}</span>', state, words)


def kind_badge(kind: str) -> SafeString:
    return format_html('<span class="js-badge js-kind">{}</span>', kind)


def moment(at: datetime | None) -> SafeString | str:
    """A moment in the site's time zone, to the second, with how far away it is as its title."""
    if at is None:
        return NOTHING
    local = timezone.localtime(at)
    return format_html(
        '<time class="js-time" datetime="{}" title="{}"><span>{}</span> <span>{}</span></time>',
        at.isoformat(),
        away(at),
        f"{local:%Y-%m-%d}",
        f"{local:%H:%M:%S}",
    )


def away(at: datetime) -> str:
    """How far a moment is from now, in words."""
    distance = at - timezone.now()
    return f"in {duration(distance)}" if distance > timedelta() else f"{duration(-distance)} ago"


def duration(length: timedelta | None) -> str:
    """A length of time with its two largest units: `340 ms`, `4.2 s`, `3 min 5 s`, `2 d 4 h`."""
    if length is None:
        return NOTHING
    seconds = length.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // part)} {smaller}"
    raise AssertionError(seconds)
