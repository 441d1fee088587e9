"""What a person sees while the demo runs, and at its end: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jobsched.local.expectations import ENDED, Example, Finding, Run, moment

_COLOURS = {
    "succeeded": "green",
    "failed": "red",
    "timed_out": "yellow",
    "cancelled": "yellow",
    "running": "cyan",
}
_PLAIN_WIDTH = 140
_TAIL_CHARACTERS = 60
_ROWS_OF_ONE_JOB = 4


class Progress:
    """Shows how far the examples are. Use it as a context manager; `report` comes after it."""

    def __init__(self, examples: Sequence[Example]) -> None:
        on_terminal = sys.stdout.isatty()
        self._console = Console(width=None if on_terminal else _PLAIN_WIDTH, highlight=False)
        self._live = Live(console=self._console, transient=True, auto_refresh=False) if on_terminal else None
        self._examples = examples
        self._shown: dict[str, str] = {}
        self._done: set[str] = set()

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, runs: Mapping[str, Sequence[Run]]) -> None:
        """Show the runs of each job, as far as something has changed."""
        now = {example.job: _summary(runs[example.job]) for example in self._examples}
        changed = {job: text for job, text in now.items() if text != self._shown.get(job)}
        self._shown = now
        if self._live:
            table = Table.grid(padding=(0, 2))
            for example in self._examples:
                table.add_row(example.job, Text(now[example.job]), Text(example.promise, style="dim"))
            self._live.update(table, refresh=True)
            return
        for example in self._examples:
            if example.job in changed and example.job not in self._done:
                self._console.print(f"  {example.job}: {changed[example.job]}")
            if example.is_done(runs[example.job]):
                self._done.add(example.job)

    def report(self, runs: Mapping[str, Sequence[Run]], findings: Mapping[str, Finding]) -> None:
        """Print the table of runs, and for each example whether it kept its promise."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("Run", "Job", "State", "Attempts", "Duration"):
            table.add_column(heading, justify="left" if heading in ("Job", "State") else "right", no_wrap=True)
        table.add_column("Output ends with", no_wrap=True, overflow="ellipsis")
        for example in self._examples:
            first, left_out, last = _shortened(runs[example.job])
            for run in first:
                table.add_row(*_row(run))
            if left_out:
                table.add_row("…", "", Text(_summary(left_out), style="dim"))
            for run in last:
                table.add_row(*_row(run))
        self._console.print(table)
        self._console.print()
        for example in self._examples:
            finding = findings[example.job]
            mark = Text("ok    ", style="green") if finding is None else Text("WRONG ", style="bold red")
            self._console.print(mark + Text(f"{example.job}: {example.promise}"))
            if finding:
                self._console.print(Text(f"      {finding}"))


def _shortened(runs: Sequence[Run]) -> tuple[Sequence[Run], Sequence[Run], Sequence[Run]]:
    """Split runs into the first, those not worth a row of their own, and the last."""
    if len(runs) <= _ROWS_OF_ONE_JOB:
        return runs, (), ()
    return runs[:2], runs[2:-1], runs[-1:]


def _row(run: Run) -> tuple[str | Text, ...]:
    state = Text(run["state"], style=_COLOURS.get(run["state"], ""))
    return str(run["id"]), run["job"], state, str(len(run["attempts"])), _duration(run), Text(_tail(run))


def _summary(runs: Sequence[Run]) -> str:
    if not runs:
        return "waits for its time"
    if len(runs) == 1:
        (run,) = runs
        return f"{run['state']}, attempt {run['attempt']}" if run["attempt"] > 1 else str(run["state"])
    counts = Counter(run["state"] for run in runs)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _duration(run: Run) -> str:
    if run["state"] not in ENDED or not run["attempts"]:
        return ""
    took = moment(run["finished_at"]) - moment(run["attempts"][0]["started_at"])
    return f"{took.total_seconds():.1f} s"


def _tail(run: Run) -> str:
    last = run["attempts"][-1] if run["attempts"] else {}
    if last.get("result") is not None:
        return str(last["result"])[:_TAIL_CHARACTERS]
    lines = str(last.get("output") or "").strip().splitlines()
    return lines[-1][-_TAIL_CHARACTERS:] if lines else str(run["reason"] or "")
