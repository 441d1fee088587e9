"""Cancel or retry all runs that options describe: count, ask, then batch after batch, and say truly what was done."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, Literal

import click

from jobsched.cli import FAILURE, INTERRUPTED, SUCCESS, UNAVAILABLE
from jobsched.cli.terminal import complain, counted, plain, say
from jobsched.client import Client, Which
from jobsched.domain.errors import JobschedError

BATCH: Final = 1000
"""Runs a call: a second or so, which is how long Ctrl-C may take."""


def cancel_many(client: Client, which: Which, *, yes: bool, dry_run: bool) -> int:
    """Cancel runs. Return the exit status."""
    found = client.cancel_many(**which, dry_run=True)
    total = found["ended"] + found["asked"]
    parts = f"{counted(found['ended'], 'waiting run')} and {counted(found['asked'], 'running one')}"
    if dry_run or not total:
        click.echo(f"{parts} would be cancelled")
        return SUCCESS
    if not yes:
        _ask(f"Cancel {parts}?")
    walk = _Walk("cancelling", total, lambda before: client.cancel_many(**which, before=before, limit=BATCH))
    status = walk.go(("ended", "asked"))
    click.echo(f"{counted(walk.done['ended'], 'run')} cancelled, {walk.done['asked']} running asked to end")
    return status


def retry_many(client: Client, which: Which, *, definition: Literal["then", "now"], yes: bool, dry_run: bool) -> int:
    """Retry runs. Return the exit status: a failure also when some could not be repeated."""
    # What is retried has ended, and people think of it by when it failed.
    which = {"by": "finished", **which}
    total = client.retry_many(**which, definition=definition, dry_run=True)["matching"]
    if dry_run or not total:
        click.echo(f"{counted(total, 'run')} would be retried")
        return SUCCESS
    if not yes:
        _ask(f"Retry {counted(total, 'run')}, by the definition as it {'was' if definition == 'then' else 'is now'}?")
    walk = _Walk(
        "retrying", total, lambda before: client.retry_many(**which, definition=definition, before=before, limit=BATCH)
    )
    status = walk.go(("made", "skipped", "waiting", "refused"))
    parts = [f"{counted(walk.done['made'], 'run')} retried"]
    parts += [f"{walk.done['skipped']} skipped by the overlap rule of their job"] * bool(walk.done["skipped"])
    parts += [f"{walk.done['waiting']} left, as a run of their unique job waits already"] * bool(walk.done["waiting"])
    parts += [f"{walk.done['refused']} refused"] * bool(walk.done["refused"])
    click.echo(", ".join(parts))
    if walk.done["refused"]:
        complain(walk.why)
        return status or FAILURE
    return status


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here: give --yes, or --dry-run to see how many.")
    click.confirm(plain(question), abort=True, err=True)


class _Walk:
    """Calls until none is left, and counts what they did."""

    def __init__(self, label: str, total: int, call: Callable[[int | None], dict[str, Any]]) -> None:
        self._label = label
        self._total = total
        self._call = call
        self.done: Counter[str] = Counter()
        self.why = ""

    def go(self, counts: tuple[str, ...]) -> int:
        """Walk, and return the exit status. On Ctrl-C a call under way is waited for, so that counts are true."""
        before: int | None = None
        with _interrupt() as interrupted, self._bar() as bar:
            while True:
                try:
                    answer = self._call(before)
                except JobschedError as error:
                    complain(f"{error} What was done before it stays done; what of the last batch was, is not known.")
                    return UNAVAILABLE if error.transient else FAILURE
                self.done.update({name: answer[name] for name in counts})
                self.why = answer.get("why") or self.why
                bar.update(sum(answer[name] for name in counts))
                before = answer["next"]
                if before is None:
                    return SUCCESS
                if interrupted():
                    break
        say(f"Stopped; runs older than run {before} were left alone.")
        return INTERRUPTED

    def _bar(self) -> Any:
        return click.progressbar(length=self._total, label=self._label, file=sys.stderr, hidden=not sys.stderr.isatty())


@contextmanager
def _interrupt() -> Iterator[Callable[[], bool]]:
    """Note a first Ctrl-C, and tell of it when asked; a second one ends the command as ever."""
    noted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)
