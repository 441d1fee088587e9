"""Beat, web and Flower give up root by themselves when root starts them directly."""

from __future__ import annotations

from typing import Any

import click
from celery.bin.celery import celery

from jobsched.shim.users import give_up_root


def drop_unless_worker() -> None:
    """Drop in a process of the command `celery`, before it reads the settings or connects to anything.

    A worker does so by itself, once it has a process that may give runs users of their own. Processes that merely
    import the Celery application keep their user.
    """
    context = click.get_current_context(silent=True)
    if context is not None and context.command is celery and context.invoked_subcommand != "worker":
        give_up_root()


def drop_web(server: Any) -> None:
    """Drop in gunicorn's main process; its workers come from it. For gunicorn's hook `when_ready`."""
    user = give_up_root()
    if user is not None:
        # Otherwise gunicorn gives the files of its workers to the user that it was started by.
        server.cfg.set("user", user.uid)
        server.cfg.set("group", user.gid)
