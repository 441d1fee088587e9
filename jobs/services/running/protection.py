"""What is protected from the runs of this worker: found out once, when it starts."""

from __future__ import annotations

import logging

from jobs.services.running.slot import forget_shared, make_engine, mode
from jobsched.domain.errors import InvalidInput, Unavailable
from jobsched.shim.protection import Protection, protection

logger = logging.getLogger(__name__)

_present = Protection(given=(), missing=())


def note() -> None:
    """In a worker's main process, before its slots exist: start a shim as they will, and log what is not protected."""
    global _present
    try:
        with make_engine(after_fork=forget_shared) as engine:
            found = mode(engine.warm())
    except (InvalidInput, Unavailable) as error:
        logger.error("no run can be performed here: %s", error)
        _present = Protection(given=(), missing=(f"No run can be performed: {error}",))
        return
    _present = protection(found)
    logger.info("runs are kept together by: %s", found.isolation)
    for sentence in _present.missing:
        logger.warning("not protected: %s", sentence)


def present() -> Protection:
    """Return what `note` found."""
    return _present
