"""What runs cannot reach in the present mode, and what they can: for the start-up log and for `doctor`.

The kinds of protection, and the modes that have each, are the table of docs/security.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jobsched.shim.isolation import Isolation


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What a shim could arrange for its runs."""

    own_proc: bool
    """They see their own processes only."""
    covered: bool
    """Private folders and files are covered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mode:
    """How the runs of a worker are performed."""

    isolation: Isolation
    view: View
    root: bool
    """The worker, and with it its runs, is root."""
    job_users: bool
    """The runs of each slot have a user of their own."""
    open_entries: tuple[str, ...] = ()
    """Entries of the data folder, and files with secrets, that users of runs may open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protection:
    """One sentence for each kind of protection."""

    given: tuple[str, ...]
    missing: tuple[str, ...]


def protection(mode: Mode) -> Protection:
    """Say what is protected from runs in a mode, and what is not."""
    sentences = list(_sentences(mode))
    return Protection(
        given=tuple(sentence for is_given, sentence in sentences if is_given),
        missing=tuple(sentence for is_given, sentence in sentences if not is_given),
    )


def _sentences(mode: Mode) -> Iterator[tuple[bool, str]]:
    """Yield whether a kind of protection is given, and the sentence about it."""
    if mode.root:
        yield False, "Runs are root, without capabilities: they can read and change every file that root owns."
    yield _ending(mode)
    yield _processes(mode)
    yield _data_folder(mode)
    if mode.job_users:
        yield (
            True,
            "Runs have a user for each slot: they cannot open files of this worker's user or of other slots' runs.",
        )
    elif not mode.root:
        yield (
            False,
            (
                "Runs have the user of this worker: they can read and change all other files of that user, such as its "
                "programs and temporary files of other runs."
            ),
        )


def _ending(mode: Mode) -> tuple[bool, str]:
    if mode.job_users or mode.isolation is not Isolation.SUBREAPER:
        return True, "A run can end only its own processes."
    return False, (
        "A run can end every process of this worker's user (kill -9 -1), this worker itself and local servers of the "
        "same user included."
    )


def _processes(mode: Mode) -> tuple[bool, str]:
    if mode.job_users:
        return True, "Runs cannot read the memory and the environment of processes outside of their slot."
    if mode.view.own_proc:
        return True, "Runs see their own processes only."
    return False, (
        "Runs can read the environment of every process of this worker's user that is none of jobsched's: of runs in "
        "other slots, of local servers, of a container's init and of health checks."
    )


def _data_folder(mode: Mode) -> tuple[bool, str]:
    if mode.view.covered:
        return True, "Runs cannot open the data folder and the files with the installation's secrets."
    if not mode.job_users:
        return False, (
            "Runs can read and change the data folder (stored output of all runs; of a local stack also its secrets "
            "and tokens) and read the files with the installation's secrets."
        )
    if mode.open_entries:
        return (
            False,
            f"Runs can open these of the data folder and the files with secrets: {', '.join(mode.open_entries)}; take "
            "others' rights away.",
        )
    return True, "Runs cannot open the files with secrets, and of the data folder only their own workspace."
