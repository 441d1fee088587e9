"""Removes what runs and slots leave in the folder of workspaces, as the user who owns it.

A slot's folder belongs to the user of our own processes. Where runs have users of their own, a run's folder in it
belongs to the run's user. This process itself may be allowed to remove neither: root without CAP_DAC_OVERRIDE is not.
Without `users` everything belongs to this process.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from jobsched.shim import run_folder, workspace
from jobsched.shim.users import SlotUsers, User, acting_as

LOCK: Final = "lock"
"""A file in a slot's folder, locked while the slot lives."""


def remove_run(folder: str, users: SlotUsers | None, *, held: int | None = None) -> None:
    """Remove a run's folder once the run is dead. Closes `held`, a descriptor of the folder."""
    if users is None:
        if held is not None:
            run_folder.remove_empty(held)
        workspace.remove(folder, held=held)
        return
    if held is not None:
        with acting_as(users.job):
            run_folder.remove_empty(held)
    if _removed_empty(folder, users.service):  # most are
        if held is not None:
            os.close(held)
    else:
        with acting_as(users.job):
            workspace.remove(folder, held=held)
        _removed_empty(folder, users.service)


def _removed_empty(folder: str, service: User) -> bool:
    with acting_as(service):
        try:
            Path(folder).rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
    return True


def clear_runs(slot: str, users: SlotUsers | None) -> None:
    """Remove the folders of a slot's runs, none of which is alive."""
    for folder in _listed(slot, "run-*/", users):
        remove_run(folder, users)


def clear_slot(slot: str, users: SlotUsers | None) -> None:
    """Remove the folder of a slot that has ended."""
    clear_runs(slot, users)
    with _as_service(users):
        workspace.remove(slot)


def sweep(parent: str, service: User) -> None:
    """Remove the folders of slots that have ended and could not be cleared up after, with runs of whatever user."""
    service_only = SlotUsers(service=service, job=service)
    for slot in _listed(parent, "slot-*/", service_only):
        with acting_as(service):
            if not is_abandoned(Path(slot)):
                continue
            owners = [(run, _owner(run)) for run in _matching(slot, "run-*/")]
        for run, owner in owners:
            remove_run(run, SlotUsers(service=service, job=owner))
        clear_slot(slot, service_only)


def is_abandoned(slot: Path) -> bool:
    """Tell whether no process holds the lock of a slot's folder."""
    try:
        lock = os.open(slot / LOCK, os.O_RDWR)
    except OSError:  # another slot is sweeping it away
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _owner(folder: str) -> User:
    status = Path(folder).lstat()
    return User(status.st_uid, status.st_gid)


def _listed(folder: str, pattern: str, users: SlotUsers | None) -> list[str]:
    with _as_service(users):
        return _matching(folder, pattern)


def _matching(folder: str, pattern: str) -> list[str]:
    return [str(path) for path in Path(folder).glob(pattern)]


def _as_service(users: SlotUsers | None) -> AbstractContextManager[None]:
    return nullcontext() if users is None else acting_as(users.service)
