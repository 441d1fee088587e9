"""The few calls of Linux that Python 3.11 does not offer."""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_PDEATHSIG: Final = 2
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_DROP: Final = 24
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_MADV_COLLAPSE: Final = 25
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND = 1 << 5, 1 << 12
_MS_REC, _MS_PRIVATE, _MS_SLAVE = 1 << 14, 1 << 18, 1 << 19
_TFD_NONBLOCK, _TFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
_TFD_TIMER_ABSTIME: Final = 1

_libc: Final = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """Call a function of the C library that returns 0 on success. Raises OSError otherwise."""
    _check(getattr(_libc, name)(*arguments), name)


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` names. Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def die_with_parent(signal_number: int) -> None:
    """Ask for `signal_number` when the thread that forked this process ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def parent_death_signal() -> int:
    """Return what `die_with_parent` asked for; 0 for nothing."""
    found = ctypes.c_int()
    _check(_libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(found), 0, 0, 0), "prctl(PR_GET_PDEATHSIG)")
    return found.value


def set_dumpable(allowed: bool) -> None:
    """Decide whether other processes of this user may read this one's memory and environment in /proc."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, int(allowed), 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def set_no_new_privileges() -> None:
    """Let no program that this process or its descendants execute give them more rights. Cannot be undone."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def drop_from_bounding_set(capability: int) -> None:
    """Remove one capability from the bounding set. Raises OSError: EINVAL for an unknown number."""
    _check(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "prctl(PR_CAPBSET_DROP)")


def clear_ambient_capabilities() -> None:
    """Empty the set of capabilities that programs without file capabilities would inherit."""
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl(PR_CAP_AMBIENT)")


def collapse(start: int, length: int) -> bool:
    """Put memory into huge pages now. Return whether the kernel did so."""
    return int(_libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_COLLAPSE)) == 0


def become_subreaper() -> None:
    """Adopt every descendant whose parent ends."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def unshare_mounts() -> None:
    """Get a mount namespace: what is mounted from now on is not seen by other processes. Raises OSError."""
    unshare(CLONE_NEWNS)
    # Slave, not private: what the host mounts later still appears, what the run mounts does not leak out.
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None), "mount(/)")


def make_mounts_private() -> None:
    """Let no mount pass between this mount namespace and others, in either direction. Raises OSError."""
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "mount(/)")


def mount_proc() -> None:
    """Mount a /proc that shows the PID namespace of this process. Raises OSError."""
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _check(_libc.mount(b"proc", b"/proc", b"proc", flags, None), "mount(/proc)")


def mount_empty(folder: str) -> None:
    """Cover a folder by an empty one in this mount namespace. Raises OSError."""
    flags = _MS_NOSUID | _MS_NODEV
    _check(_libc.mount(b"none", os.fsencode(folder), b"tmpfs", flags, b"size=64k,mode=0711"), "mount(tmpfs)")


def make_read_only(folder: str) -> None:
    """Make what `mount_empty` mounted read-only. Raises OSError."""
    flags = _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    _check(_libc.mount(b"none", os.fsencode(folder), None, flags, None), "mount(read-only)")


def bind(source: str, target: str) -> None:
    """Show `source` at `target`, too, in this mount namespace. Raises OSError."""
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, _MS_BIND, None), "mount(bind)")


class _TimeSpec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _TimerSpec(ctypes.Structure):
    _fields_ = [("interval", _TimeSpec), ("value", _TimeSpec)]


def make_timer(clock: int) -> int:
    """Return the descriptor of a timer on a clock of `time`; it is readable once the timer has expired."""
    made = int(_libc.timerfd_create(clock, _TFD_NONBLOCK | _TFD_CLOEXEC))
    _check(min(made, 0), "timerfd_create")
    return made


def set_timer(timer: int, moment: float) -> None:
    """Let a timer expire at a moment of its clock, in seconds; 0 disarms it. Raises OSError."""
    whole = int(moment)
    value = _TimeSpec(whole, int((moment - whole) * 1e9))
    new = ctypes.byref(_TimerSpec(_TimeSpec(0, 0), value))
    _check(_libc.timerfd_settime(timer, _TFD_TIMER_ABSTIME, new, None), "timerfd_settime")
