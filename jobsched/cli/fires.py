"""A schedule as lines of text: in words, its next instants, and what will happen to them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click

from jobsched.cli.tables import moment
from jobsched.cli.terminal import plain


def print_schedule(shown: dict[str, Any], *, name: str = "", zone: str = "UTC") -> None:
    """Print a preview as the API gives it, its instants in UTC and, if that is another, in `zone`."""
    click.echo(plain(f"{name}: {shown['words']}" if name else shown["words"]))
    for line in _lines(shown, zone):
        click.echo(plain(line))


def _lines(shown: dict[str, Any], zone: str) -> Iterator[str]:
    if shown["held"]:
        yield f"  {shown['held']}: nothing fires until `jobsched resume`"
    instants = [(fire, "") for fire in shown["fires"]]
    instants += [(skipped["at"], f"  skipped, {skipped['reason']}") for skipped in shown["skipped"]]
    for at, remark in sorted(instants, key=lambda instant: datetime.fromisoformat(instant[0])):
        local = datetime.fromisoformat(at).astimezone(ZoneInfo(zone))
        beside = "" if zone == "UTC" else f"  {local.isoformat(sep=' ', timespec='seconds')}"
        yield f"  {moment(at)} UTC{beside}{remark}"
    for warned in shown["warnings"]:
        yield f"  clock change: {warned['sentence']}"
