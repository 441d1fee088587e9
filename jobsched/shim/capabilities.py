"""The capabilities of this process: which ones it has, and how it gives all of them up."""

from __future__ import annotations

import ctypes
import errno
from enum import IntEnum
from typing import Final

from jobsched.shim import libc


class Capability(IntEnum):
    """Numbers from linux/capability.h."""

    CHOWN = 0
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    SYS_ADMIN = 21


_VERSION_3: Final = 0x20080522
_WORDS: Final = 2
_LAST_NUMBER: Final = 63


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Word(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


_HEADER: Final = ctypes.byref(_Header(_VERSION_3, 0))
_NONE: Final = (_Word * _WORDS)()


def holds(*wanted: Capability) -> bool:
    """Tell whether all of `wanted` are in the effective set of the calling thread."""
    words = (_Word * _WORDS)()
    libc.call("capget", ctypes.byref(_Header(_VERSION_3, 0)), words)
    return all(words[number // 32].effective >> number % 32 & 1 for number in wanted)


def drop_all() -> None:
    """Empty every capability set of the calling thread, and set no_new_privs so that no program restores one."""
    empty_bounding_set()
    keep_only()
    libc.set_no_new_privileges()


def give_up() -> None:
    """Empty the sets of capabilities of a run's process. The ambient set becomes empty with them.

    Its shim has emptied the bounding set and set no_new_privs, which the process has inherited. Every run pays for this
    call, so the arguments are made once.
    """
    libc.call("capset", _HEADER, _NONE)


def keep_only(*kept: Capability) -> None:
    """Give up all capabilities but `kept`, as far as the calling thread has them."""
    libc.clear_ambient_capabilities()
    words = (_Word * _WORDS)()
    for number in kept:
        if holds(number):
            words[number // 32].effective |= 1 << number % 32
            words[number // 32].permitted |= 1 << number % 32
    libc.call("capset", ctypes.byref(_Header(_VERSION_3, 0)), words)


def empty_bounding_set() -> None:
    """Empty the set that bounds what programs may gain, where CAP_SETPCAP allows it: before a change of the user.

    Without CAP_SETPCAP it stays as it is; no_new_privs makes it ineffective.
    """
    if not holds(Capability.SETPCAP):
        return
    for number in range(_LAST_NUMBER + 1):
        try:
            libc.drop_from_bounding_set(number)
        except OSError as error:
            if error.errno == errno.EINVAL:  # the kernel knows no capability with this number
                return
            raise
