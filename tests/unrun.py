"""Loaded by every pytest (`-p tests.unrun`): tests that did not run are listed at the end, and fail the run.

A reason that begins with `needs NAME:` says what is missing. JOBSCHED_ACCEPT_SKIPS accepts what it names, separated by
commas: such a NAME, or a test by its node id, in which `*` stands for any text.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import pytest

ACCEPTED_VARIABLE: Final = "JOBSCHED_ACCEPT_SKIPS"
LIST_VARIABLE: Final = "JOBSCHED_UNRUN_TESTS_FILE"
"""Names a file to which the list is appended as well: `make test` shows it after the output of both lanes."""
_NEED: Final = re.compile(r"(?:Skipped: )?needs ([\w.-]+): (.*)", re.DOTALL)


def needs(name: str, why: str) -> NoReturn:
    """Skip the present test because `name`, such as a Debian package, is missing. Without acceptance the run fails."""
    pytest.skip(f"needs {name}: {why}")


def needs_root(why: str) -> pytest.MarkDecorator:
    """Return a mark for tests that only root can run."""
    return pytest.mark.skipif(os.geteuid() != 0, reason=f"needs root: {why}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Unrun:
    """One test, or one module, that did not run."""

    test: str
    """Its node id."""
    reason: str

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names by which it can be accepted."""
        need = _NEED.match(self.reason)
        return (self.test,) if need is None else (need[1], self.test)

    def is_accepted(self, accepted: Collection[str]) -> bool:
        return any(_stands_for(pattern, name) for name in self.names for pattern in accepted)


def _stands_for(pattern: str, name: str) -> bool:
    """Tell whether `name` matches; brackets, which node ids have, are ordinary characters."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None


def accepted_names(environ: Mapping[str, str]) -> list[str]:
    """Return the names and patterns that are accepted."""
    return [name for entry in environ.get(ACCEPTED_VARIABLE, "").split(",") if (name := entry.strip())]


def listed(unrun: Collection[Unrun], accepted: Collection[str]) -> list[str]:
    """Return the lines that show what did not run, and how to accept what was not accepted."""
    by_reason = defaultdict[str, list[Unrun]](list)
    for one in unrun:
        by_reason[one.reason].append(one)
    lines, refused = [], dict[str, None]()
    for reason, tests in sorted(by_reason.items()):
        lines.append(reason.removeprefix("Skipped: "))
        for one in tests:
            is_accepted = one.is_accepted(accepted)
            lines.append(f"    {one.test}{' (accepted)' if is_accepted else ''}")
            if not is_accepted:
                refused[one.names[0]] = None
    if refused:
        lines.append(f"The run fails because of them; to accept that: {ACCEPTED_VARIABLE}={','.join(refused)}")
    return lines


class _Listing:
    """Collects the tests of one session that did not run."""

    def __init__(self) -> None:
        self._unrun: dict[Unrun, None] = {}
        self._accepted = accepted_names(os.environ)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not hasattr(report, "wasxfail"):
            self._note(report)

    def _note(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            self._unrun[Unrun(test=report.nodeid, reason=str(report.longrepr[2]))] = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        refused = [one for one in self._unrun if not one.is_accepted(self._accepted)]
        if refused and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._unrun:
            return
        lines = listed(self._unrun, self._accepted)
        terminalreporter.section("tests that did not run")
        for line in lines:
            terminalreporter.write_line(line)
        if file := os.environ.get(LIST_VARIABLE):
            with Path(file).open("a") as kept:
                kept.writelines(f"{line}\n" for line in lines)


def pytest_configure(config: pytest.Config) -> None:
    """Start to collect."""
    config.pluginmanager.register(_Listing(), "unrun-tests")
