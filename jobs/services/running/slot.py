"""What a slot keeps from hint to hint: its database session, its engine, its line to Flower."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from django.db import close_old_connections, connections

from jobs import messages, worker
from jobs.conf import conf
from jobs.installation_secrets import installation_secrets
from jobs.services.running.board import board
from jobs.services.running.recording import settle_and_claim
from jobs.services.running.storing import Storing
from jobs.store import claims as store
from jobs.store.claims import Claim, ClaimRequest, Settled, Settlement
from jobs.store.session import NotConnected, Session
from jobsched import callables
from jobsched.domain.content import Content
from jobsched.domain.errors import InvalidInput, Unavailable
from jobsched.domain.outcomes import Assignment
from jobsched.engine import Slot
from jobsched.hidden_settings import HiddenSettings
from jobsched.secretfiles import OF_AN_INSTALLATION, SUFFIX, files_read
from jobsched.shim.launch import Handle
from jobsched.shim.launcher import Launcher
from jobsched.shim.lease import lease_clock
from jobsched.shim.protection import Mode

logger = logging.getLogger(__name__)

DOUBT_SECONDS = 600.0
"""How long a slot keeps a result it cannot record, and asks for a claim whose answer was lost: an outage of the
database may last minutes."""
DOUBT_PAUSE_SECONDS = 2.0
"""How long it waits at most before it asks again. After an outage beat leaves time for that before it judges leases."""
_AWS_CREDENTIALS = "AWS_SHARED_CREDENTIALS_FILE"
"""Names the file with the keys of the bucket, which boto3 reads by itself."""


_launcher: Launcher | None = None
_open_entries: tuple[str, ...] = ()
_covered: tuple[Path, ...] = ()


def use_launcher(launcher: Launcher, *, open_entries: tuple[str, ...]) -> None:
    """Let the slots that are forked from this process have their shims started by `launcher`.

    `open_entries` are files with secrets, and entries of the data folder, that users of runs may open.
    """
    global _launcher, _open_entries
    _launcher, _open_entries = launcher, open_entries


def cover_private_files() -> None:
    """Let slots cover the data folder and the files with the installation's secrets, where their runs could open them.

    To be called before the slots are forked: they remove the variables that name the files.
    """
    global _covered
    _covered = (conf().data_dir, *secret_files())


def secret_files() -> list[Path]:
    """Return the files that secrets of the installation were read from, or that variables name."""
    variables = (*(name + SUFFIX for name in OF_AN_INSTALLATION), _AWS_CREDENTIALS)
    named = {Path(file).absolute() for name in variables if (file := os.environ.get(name))}
    return sorted(named | files_read())


def make_engine(*, after_fork: Callable[[], None]) -> Slot:
    """Return the supervisor of child processes of one slot."""
    return Slot(
        workspace_dir=conf().workspace_dir,
        after_fork=after_fork,
        hidden=hidden_settings(),
        covered=_covered,
        launcher=_launcher,
    )


def mode(shim: Handle) -> Mode:
    """Return how the runs of this worker are performed, given the shim of one slot."""
    return Mode(
        isolation=shim.isolation,
        view=shim.view,
        root=os.geteuid() == 0,
        job_users=_launcher is not None,
        open_entries=_open_entries,
    )


def hidden_settings() -> HiddenSettings:
    """Return which environment variables a run must not see."""
    return HiddenSettings(secrets=installation_secrets(), kept=conf().kept_variables)


def forget_shared() -> None:
    """In a run's process: forget Django's connections without sending anything on them, and what slots share."""
    board.close()
    for connection in connections.all(initialized_only=True):
        connection.connection = None


class SlotProcess:
    """One pool child of a Celery worker."""

    def __init__(self, *, hostname: str) -> None:
        self.name = f"{hostname}/{os.getpid()}"
        self.session = Session()
        self.events = messages.Events(hostname=hostname, enabled=conf().task_events)
        self.claimed_at = 0.0
        """When the present claims were requested, by `lease_clock`: their leases count from then at the earliest."""
        self.storing = Storing()
        self._contents: dict[int, tuple[str, str, Content]] = {}

    @cached_property
    def engine(self) -> Slot:
        """The supervisor of child processes, made when the first run needs one."""
        return make_engine(after_fork=self._after_fork)

    def _after_fork(self) -> None:
        """In a run's process: forget the slot's connections without sending anything on them, and what slots share."""
        self.session.forget()
        forget_shared()

    def warm(self) -> None:
        """Make all ready that the first run needs, before a lease begins to count. Without it, that run does so."""
        callables.allowed_modules()  # found out once here, and not in the process of each run
        with suppress(Unavailable, InvalidInput):  # the run that finds it so will say so
            self.engine.warm()
        with suppress(Unavailable):  # it is noted later
            self.storing.register(self.session)

    def lease_deadline(self) -> float:
        """The moment, by `lease_clock`, by which the present claims must have been renewed, or their work be dead."""
        return self.claimed_at + deadline_seconds()

    def record(self, settlements: Sequence[Settlement], *, claim_from: str | None, limit: int = 1) -> list[Claim]:
        """Record ended attempts and claim the next runs, in one commit. Return the claims in order of work."""
        request = claim_from and ClaimRequest(
            token=uuid4(), queue=claim_from, limit=limit, worker=self.name, lease=conf().lease
        )
        self.claimed_at = lease_clock()
        try:
            settled = settle_and_claim(self.session, settlements, request or None, actor=self.name)
        except NotConnected as error:
            logger.debug("not recorded, nothing was sent error=%s", error)
            if not settlements:  # nothing can have been claimed: the slot is free for other tasks
                return []
            settled = self._after_doubt(settlements, request or None)
        except Unavailable as error:  # the main process logs that there is an outage, once for all slots
            logger.debug("record in doubt, asking again error=%s", error)
            settled = self._after_doubt(settlements, request or None)
        for settlement in settlements:
            if settlement.run_id not in settled.recorded:
                logger.warning(
                    "result refused: claim was lost run=%d attempt=%d", settlement.run_id, settlement.attempt
                )
        return settled.claims

    def _after_doubt(self, settlements: Sequence[Settlement], request: ClaimRequest | None) -> Settled:
        """A failed commit may have committed: look the claim tokens up, and record what still stands open."""
        give_up = time.monotonic() + DOUBT_SECONDS
        pause = 0.1
        while True:
            try:
                still_open = store.unsettled(self.session, settlements) if settlements else []
                again = settle_and_claim(self.session, still_open, None, actor=self.name)
                open_ids = {s.run_id for s in still_open}
                recorded = {s.run_id: s.after for s in settlements if s.run_id not in open_ids}
                claims = store.claimed_as(self.session, request) if request else []
                # Trusted callables share Django's connections with this process; those broke, too.
                close_old_connections()
                return Settled(recorded=recorded | again.recorded, claims=claims)
            except Unavailable:
                # A claim whose answer is not known yet would count as lost, although its run has not begun.
                if time.monotonic() > give_up or worker.stopping():
                    if settlements:
                        logger.error("gave up recording runs=%s", [s.run_id for s in settlements])
                    return Settled(recorded={s.run_id: s.after for s in settlements})
                time.sleep(pause)
                pause = min(pause * 2, DOUBT_PAUSE_SECONDS)

    def content(self, claim: Claim) -> tuple[str, str, Content]:
        """Return project name, job name and definition of a claimed run. Definitions never change: cached."""
        known = self._contents.get(claim.definition_id)
        if known is None:
            project, job, data = store.definition(self.session, claim.definition_id)
            if len(self._contents) > 10_000:
                self._contents.clear()
            known = self._contents[claim.definition_id] = project, job, Content.from_json(data)
        return known

    def assignment(self, claim: Claim) -> Assignment:
        """Return what an executor is given for a claimed run."""
        project, job, content = self.content(claim)
        return Assignment(
            run_id=claim.run_id,
            attempt=claim.attempt,
            tries=claim.tries,
            project=project,
            job=job,
            kind=content.kind,
            spec=content.spec,
            params={**content.params, **(claim.params or {})},
            env=content.env,
            timeout_seconds=content.timeout_seconds,
            deadline_seconds=self._seconds_to_deadline(claim),
            grace_seconds=content.grace_seconds,
            background=content.background,
            scheduled_for=claim.scheduled_for,
        )

    def _seconds_to_deadline(self, claim: Claim) -> float | None:
        left = claim.seconds_to_deadline
        return None if left is None else max(0.0, left - (lease_clock() - self.claimed_at))

    def close(self) -> None:
        """End the engine's processes and close the session."""
        if "engine" in self.__dict__:
            self.engine.close()
        self.storing.close()
        self.session.close()


def deadline_seconds() -> float:
    """How long after a renewal was sent the work must be dead if no other followed: the lease less a margin."""
    return (conf().lease - conf().margin).total_seconds()
