"""Run the examples on a real stack and find out whether each of them ended as it promises."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from jobsched.client import Client
from jobsched.domain.errors import JobschedError
from jobsched.local.account import PROJECT
from jobsched.local.expectations import ENDED, Example, Run, Start
from jobsched.local.progress import Progress
from jobsched.local.showcase import EXAMPLES, judge
from jobsched.local.stack import Stack
from jobsched.local.state import StackInfo

EXAMPLES_FOLDER = PROJECT / "examples"
DEADLINE_SECONDS = 150.0
"""For all examples together; on an idle machine they need about 20 s, and up to a minute for the crontab."""
_POLL_SECONDS = 0.3
_MOST_RUNS = 400
_SHOWN_AT_LEAST = 4


class Overdue(JobschedError):
    """Some example had not ended when the time was over."""


async def demonstrate(_stack: Stack, info: StackInfo) -> int:
    """Run all examples on the stack; return 0 when each kept its promise, else 1. Raises Overdue."""
    stopping = threading.Event()
    try:
        return await asyncio.to_thread(_Demo(info, stopping).run)
    finally:
        stopping.set()


class _Demo:
    """One pass over the examples. The data of former demos may still be there."""

    def __init__(self, info: StackInfo, stopping: threading.Event) -> None:
        self._client = Client(info.url, info.token)
        self._port = urlsplit(info.url).port
        self._stopping = stopping
        self._newest_before = 0

    def run(self) -> int:
        self._clear_away()
        for path in sorted(EXAMPLES_FOLDER.glob("*.yaml")):
            self._apply(path)
        self._request()
        progress = Progress(EXAMPLES)
        with progress:
            seen = self._watch(progress)
        runs = {example.job: self._in_full(example, seen[example.job]) for example in EXAMPLES}
        findings = judge(runs)
        progress.report(runs, findings)
        return 1 if any(findings.values()) else 0

    def _clear_away(self) -> None:
        """Cancel what an interrupted demo left, and remember which runs are older than this one."""
        kept = self._client.runs(limit=_MOST_RUNS)
        for run in kept:
            if run["state"] not in ENDED and run["trigger"] != "schedule":
                self._client.cancel(run["id"])
        self._newest_before = max((run["id"] for run in kept), default=0)

    def _apply(self, path: Path) -> None:
        self._client.apply(path.read_text(), filename=str(path.relative_to(PROJECT)))

    def _request(self) -> None:
        for example in EXAMPLES:
            if example.start is Start.DEMO:
                params = {"port": self._port} if example.wants_port else None
                self._client.trigger_many(example.job, example.requests, params)

    def _watch(self, progress: Progress) -> dict[str, list[Run]]:
        """Wait until every example has run, and return the runs. Raises Overdue, also when interrupted."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            runs = self._runs()
            progress.update(runs)
            waiting = [example.job for example in EXAMPLES if not example.is_done(runs[example.job])]
            if not waiting:
                return runs
            if self._stopping.wait(_POLL_SECONDS):
                raise Overdue("The demo was interrupted.")
            if time.monotonic() > deadline:
                raise Overdue(
                    f"After {DEADLINE_SECONDS:g} s these examples had not ended: {', '.join(waiting)}; "
                    "the logs in the data folder say more."
                )

    def _runs(self) -> dict[str, list[Run]]:
        """Return this demo's runs by job, the oldest first; where earlier ones will do, the latest of those."""
        # One request for all: asking for each job would take the processor from the jobs themselves.
        # Skipped are the instants between two demos.
        found = [run for run in self._client.runs(limit=_MOST_RUNS) if run["state"] != "skipped"]
        return {example.job: self._those_that_count(example, found) for example in EXAMPLES}

    def _those_that_count(self, example: Example, newest_first: Sequence[Run]) -> list[Run]:
        runs = [run for run in newest_first if run["job"] == example.job]
        new = [run for run in runs if run["id"] > self._newest_before]
        return new[::-1] or (runs[:1] if example.earlier_counts else [])

    def _in_full(self, example: Example, seen: Sequence[Run]) -> Sequence[Run]:
        """Return the latest runs with their attempts: as many as the check needs, and a few for the table."""
        runs = [run for run in seen if run["state"] in ENDED]
        return [self._client.run(run["id"]) for run in runs[-max(example.runs_needed, _SHOWN_AT_LEAST) :]]
