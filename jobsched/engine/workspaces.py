"""The folders that one slot's attempts work in, and the clearing up after slots that were killed."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from jobsched import paramsfile, retryfile
from jobsched.domain.errors import Unavailable
from jobsched.domain.outcomes import Assignment
from jobsched.shim import workspace
from jobsched.shim.clearing import LOCK, is_abandoned


class Workspaces:
    """A folder of this slot below `parent`, locked while the slot lives; attempts get folders in it.

    With `job_users`, runs have another user: it may pass through to its own folder, and see no other name.
    """

    def __init__(self, parent: Path, *, job_users: bool = False) -> None:
        self._parent = parent
        self._job_users = job_users
        self._own: Path | None = None
        self._lock = -1
        self._sweeper: subprocess.Popen[bytes] | None = None

    @property
    def own(self) -> Path:
        """The slot's folder, made at its first use. Raises `Unavailable`."""
        if self._own is None:
            try:
                self._own = self._settle()
            except OSError as error:
                raise self._unavailable(error) from error
        return self._own

    def make(self, assignment: Assignment) -> Path:
        """Make a fresh folder that only this user may enter. Whoever performs the attempt removes it.

        Raises `Unavailable` when that is not possible, e.g. for want of space.
        """
        own = self.own
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"run-{assignment.run_id}-{assignment.attempt}-", dir=own))
            paramsfile.write(assignment.all_params, folder, readable_by_all=self._job_users)
            if self._job_users:
                retryfile.make_writable_by_all(retryfile.file_beside(folder))
        except OSError as error:
            raise self._unavailable(error) from error
        return folder

    def _unavailable(self, error: OSError) -> Unavailable:
        return Unavailable(
            f"no folder can be made for the run in {self._parent}: {error.strerror}; make room there, or see "
            "that this worker may write there"
        )

    def tidy(self) -> None:
        """Remove what an attempt, whose processes are dead, left in this slot's folder."""
        if self._own is not None:
            workspace.empty(str(self._own), keep=LOCK)

    def close(self) -> None:
        """Remove this slot's folder. May be called twice."""
        if self._own is not None:
            workspace.remove(str(self._own))
            os.close(self._lock)
            self._own = None
        if self._sweeper is not None:
            self._sweeper.wait()
            self._sweeper = None

    def _settle(self) -> Path:
        self._parent.mkdir(parents=True, exist_ok=True)
        if not self._job_users:  # else what is left belongs to users of runs: the launcher removes it
            self._sweep()
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=self._parent))
        try:
            self._lock = os.open(fresh / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError:
            fresh.rmdir()
            raise
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if self._job_users:
            fresh.chmod(0o711)
        # Named only now, so that no other slot finds it without its lock and takes it for abandoned.
        return fresh.rename(fresh.with_name(fresh.name.replace("new-", "slot-", 1)))

    def _sweep(self) -> None:
        """Remove what killed slots have left, in another process: it may be much, and a lease is running."""
        stale = [folder for folder in self._parent.glob("slot-*") if is_abandoned(folder)]
        if stale:
            self._sweeper = subprocess.Popen(
                [sys.executable, "-IS", workspace.__file__, *stale], stderr=subprocess.DEVNULL
            )
