"""Start the launcher of a worker that is root."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jobsched import registry
from jobsched.engine.child import make_work
from jobsched.hidden_settings import HiddenSettings
from jobsched.shim.guard import JobUsers
from jobsched.shim.launcher import Launcher, start_launcher


def launcher(
    users: JobUsers,
    *,
    workspace_dir: Path,
    after_fork: Callable[[], None],
    hidden: HiddenSettings,
    prepare: Callable[[], None],
) -> Launcher:
    """Fork the launcher, for `Slot`s of this process and of those forked from it later. Raises OSError.

    `prepare` is called in it, once. `after_fork` is called in each run's process before the project's own code,
    and `hidden` says which environment variables runs do not see.
    """
    registry.preload()
    work = make_work(after_fork=after_fork, hidden=hidden)
    return start_launcher(work, users, prepare=prepare, workspaces=str(workspace_dir))
