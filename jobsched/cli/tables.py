"""Rows as a table: fitted to a terminal, at full width into a pipe. Loaded late: rich takes a while."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobsched.cli.terminal import plain
from jobsched.domain.signals import short_name

_COLOURS: Final = {
    "succeeded": "green",
    "created": "green",
    "updated": "cyan",
    "failed": "red",
    "timed_out": "red",
    "lost": "red",
    "cancelled": "yellow",
    "skipped": "yellow",
    "paused": "yellow",
    "running": "cyan",
    "owed": "yellow",
    "unexplained": "red",
}
_UNBOUNDED: Final = 100_000


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Print rows. Cells are shown as text, never as markup; None as nothing."""
    shown = Table(
        *headings,
        title=Text(plain(title), style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD if sys.stdout.isatty() else None,
        pad_edge=False,
    )
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    _console().print(shown)


def fields(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one a line, leaving out what has no value."""
    grid = Table.grid(padding=(0, 2))
    for name, value in pairs:
        if value not in (None, ""):
            grid.add_row(Text(name, style="dim"), _cell(value))
    _console().print(grid)


def moment(text: str | None) -> str:
    """Return an instant of the API as people read it. All are UTC, as the headings say."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}" if text else ""


def duration(seconds: float | None) -> str:
    """Return a length of time in the two largest units that matter."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def run_duration(run: dict[str, Any]) -> str:
    """Return how long a run that has ended took, from the start of its last attempt."""
    if not run["started_at"] or not run["finished_at"]:
        return ""
    ended, began = datetime.fromisoformat(run["finished_at"]), datetime.fromisoformat(run["started_at"])
    return duration((ended - began).total_seconds())


def ending(run: dict[str, Any]) -> str:
    """Return what a run's last attempt, or an attempt, ended with: exit code, signal, HTTP status, exception."""
    parts = process_end(run["exit_code"], run["signal"])
    parts += [f"HTTP {run['http_status']}"] if run["http_status"] is not None else []
    return ", ".join(parts + ([run["error"]] if run["error"] else []))


def remark(run: dict[str, Any]) -> str:
    """Return why a run or an attempt is as it is, with its warning if it has one."""
    warning = f"warning: {run['warning']}" if run["warning"] else ""
    return "; ".join(part for part in (run["reason"], warning) if part)


def process_end(exit_code: int | None, signal: int | None) -> list[str]:
    """Return the exit code and the signal of a process that ended, each where there is one."""
    parts = [f"exit {exit_code}"] if exit_code is not None else []
    return parts + ([short_name(signal)] if signal is not None else [])


def _cell(value: Any) -> Text:
    text = "" if value is None else plain(value)
    return Text(text, style=_COLOURS.get(text, ""))


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_UNBOUNDED, soft_wrap=True)
