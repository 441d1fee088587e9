"""A worker slot: performs attempts one after the other, through one long-lived shim."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from jobsched import registry, retryfile
from jobsched.domain.errors import InvalidInput, Unavailable
from jobsched.domain.outcomes import Assignment, Outcome, Report, Verdict
from jobsched.engine import reasons
from jobsched.engine.attempt import Attempt, ShimDied
from jobsched.engine.child import make_work
from jobsched.engine.memory import MemoryKills
from jobsched.engine.watch import Watch
from jobsched.engine.workspaces import Workspaces
from jobsched.hidden_settings import HiddenSettings
from jobsched.shim.launch import Forking, Handle, Starter, launch
from jobsched.shim.launcher import Launcher

_log: Final = logging.getLogger(__name__)


def _nothing() -> None:
    return


class Slot:
    """Performs one attempt at a time. Not for use by two threads at once.

    `workspace_dir` holds the folders of running attempts. `after_fork` is called in each run's process before the
    project's own code, to forget connections it shares with this process. `hidden` says which environment variables
    runs do not see: their shim removes them from itself. Modules that many runs need are best
    imported before the first `perform`, since that forks the shim which every run is forked from.

    `covered` are folders and files that runs must not open; they are covered where a mount namespace is possible. With
    a `launcher`, it forks the shims, with its own `after_fork` and `hidden`, and each slot's runs have a user of their
    own.
    """

    def __init__(
        self,
        *,
        workspace_dir: Path,
        after_fork: Callable[[], None] = _nothing,
        hidden: HiddenSettings | None = None,
        covered: Sequence[Path] = (),
        launcher: Launcher | None = None,
    ) -> None:
        work = make_work(after_fork=after_fork, hidden=hidden or HiddenSettings())
        self._starter: Starter = launcher or Forking(work)
        self._workspaces = Workspaces(workspace_dir, job_users=self._starter.job_users)
        self._covered = tuple(map(str, covered))
        self._shim: Handle | None = None
        self._memory = MemoryKills.of_this_process()
        self._shown: str | None = None
        """The folder that the present shim was started with."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def shim(self) -> Handle | None:
        """The present shim, for those who look after processes."""
        return self._shim

    def warm(self) -> Handle:
        """Start the shim unless there is one, and return it: a lease counts from its claim, and this may take seconds.

        Raises `Unavailable` when no process can be started here, `InvalidInput` for an isolation that does not exist.
        """
        if self._shim is None:
            registry.preload()
            self._shown = self._folder_for_runs()
            try:
                self._shim = launch(self._starter, folder=self._shown, covered=self._covered)
            except OSError as error:  # no process, or no descriptor, is to be had
                raise Unavailable(f"no process can be started for runs here: {error.strerror}") from error
        return self._shim

    def perform(self, assignment: Assignment, watch: Watch, *, deadline: float) -> Report:
        """Perform one attempt and return when nothing of it is left running.

        `deadline` is when the lease ends, in seconds by `jobsched.shim.lease.lease_clock`; `watch` renews it. Work
        whose lease has ended is not started. Every way the work can end is a Report. Raises `Unavailable` when no
        process can be started for it, and what `watch` raises besides `Unavailable`, after the work has been killed.
        """
        try:
            executor = registry.executor(assignment.kind)
        except InvalidInput as error:
            return Report(outcome=Outcome(verdict=Verdict.FAILED, reason=str(error), no_retry=True))
        folder = self._workspaces.make(assignment) if executor.needs_workspace else None
        attempt = Attempt(assignment, watch, deadline=deadline, memory=self._memory)
        try:
            self._start(attempt, folder)
            return _with_requested_retry(attempt.supervise(), folder)
        except ShimDied:
            self._end_shim()
            return attempt.report_of_shim_death()
        except RecursionError:
            self._end_shim()
            return Report(outcome=Outcome(verdict=Verdict.FAILED, reason=reasons.NESTED_TOO_DEEP, no_retry=True))
        except BaseException:
            self._end_shim()
            raise
        finally:
            attempt.close()
            if folder is not None:
                self._workspaces.tidy()

    def _folder_for_runs(self) -> str | None:
        """Return the slot's folder, or None while there is no room for one: callables need none."""
        try:
            return str(self._workspaces.own)
        except Unavailable:
            return None

    def close(self) -> None:
        """End the shim and all that it holds. May be called twice."""
        self._end_shim()
        self._workspaces.close()
        self._memory.close()

    def _start(self, attempt: Attempt, folder: Path | None) -> None:
        if folder is not None and self._shown is None:  # the shim would not see it
            self._end_shim()
        if self._shim is not None:
            try:
                attempt.start(self._shim.sock, folder, give_folder=self._starter.job_users)
                return
            except OSError:
                _log.warning("the shim of this worker slot had ended; starting another")
                self._end_shim()
        try:
            attempt.start(self.warm().sock, folder, give_folder=self._starter.job_users)
        except OSError as error:  # also when no descriptor is left: the work was not started in any case
            raise Unavailable(f"no process could be started for the run: {error.strerror}") from error

    def _end_shim(self) -> None:
        shim, self._shim = self._shim, None
        if shim is not None:
            shim.end()


def _with_requested_retry(report: Report, folder: Path | None) -> Report:
    if folder is None:
        return report
    return replace(report, outcome=retryfile.applied(report.outcome, retryfile.file_beside(folder)))
