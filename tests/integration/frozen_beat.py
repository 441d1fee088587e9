"""A beat that freezes itself in the middle of firing, with its rows locked. Run as a program by test_beat."""

from __future__ import annotations

import os
import signal
import sys

import django

if __name__ == "__main__":
    django.setup()
    from jobs.services import scheduling
    from jobs.store import births

    make = births.create

    def freeze(*args: object) -> object:
        made = make(*args)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGSTOP)
        return made

    scheduling.births.create = freeze  # type: ignore[attr-defined,assignment]
    try:
        scheduling.fire_due()
    except Exception as error:
        sys.exit(f"after the thaw: {type(error).__name__}")
