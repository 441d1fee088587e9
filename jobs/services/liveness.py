"""What a beat shows to those who watch over it: a file that is young as long as all is well."""

from __future__ import annotations

import logging
from pathlib import Path

from jobs import messages

logger = logging.getLogger(__name__)


def show(path: Path) -> bool:
    """Renew the file if the broker answers, too. Return whether it did. Call it when the database has answered."""
    if not messages.reachable():
        logger.error("beat cannot reach the broker, its health check fails until it can")
        return False
    try:
        path.touch()
    except OSError as error:
        logger.error("beat cannot renew its health file, its health check fails file=%s error=%s", path, error)
        return False
    return True
