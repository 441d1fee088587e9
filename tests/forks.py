"""Checks that change the process they are made in, and so need one of their own."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def in_child(check: Callable[[], None]) -> None:
    """Run `check` in a fork of this process; fail when it fails."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0, "see the output of the child"


def as_user(uid: int, check: Callable[[], None]) -> None:
    """Run `check` in a fork of this process that is user and group `uid`; fail when it fails."""

    def changed() -> None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        check()

    in_child(changed)
