"""How many processes of this worker's control group the kernel has killed because memory ran out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_COUNTER: Final = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)
_MOST_BYTES: Final = 64 * 1024
"""More than /proc/vmstat has, the longest of the files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mount:
    kind: str
    """`cgroup` for version 1, `cgroup2` for version 2."""
    root: str
    """Which control group is mounted."""
    at: Path
    options: frozenset[str]


class MemoryKills:
    """Reads the kernel's counter: `oom_kill` of cgroup v2 (`memory.events`) or of v1 (`memory.oom_control`).

    A process in the root of cgroup v2 has no such file; there the counter of the whole machine in /proc/vmstat is read.
    """

    def __init__(self, file: Path | None) -> None:
        """`file` holds a line `oom_kill N`; None where there is no such file."""
        self.file = file
        self._opened = -1

    @classmethod
    def of_this_process(cls, proc: Path = Path("/proc")) -> Self:
        """Find the counter for the control group that this process, and so every run it starts, is in."""
        try:
            return cls(_counter_file(proc))
        except (OSError, ValueError):  # no /proc, or one that is not laid out as Linux does
            return cls(None)

    def count(self) -> int | None:
        """Return the counter, or None where the kernel gives none: older than Linux 4.13, or no access."""
        if self.file is None:
            return None
        try:
            if self._opened < 0:
                self._opened = os.open(self.file, os.O_RDONLY)
            found = _COUNTER.search(os.pread(self._opened, _MOST_BYTES, 0))
        except OSError:
            return None
        return int(found[1]) if found else None

    def close(self) -> None:
        """Close the counter's file, which stays open between two calls: it is read before each run."""
        if self._opened >= 0:
            os.close(self._opened)
            self._opened = -1

    def since(self, before: int | None) -> int:
        """Return by how much the counter has grown since it was `before`; 0 when that is not known."""
        now = self.count()
        return 0 if now is None or before is None else max(0, now - before)


def _counter_file(proc: Path) -> Path:
    mounts = list(_mounts((proc / "self/mountinfo").read_text()))
    groups = dict(_groups((proc / "self/cgroup").read_text()))
    for mount in mounts:
        if mount.kind == "cgroup" and "memory" in mount.options and "memory" in groups:
            return _within(mount, groups["memory"]) / "memory.oom_control"
    for mount in mounts:
        if mount.kind == "cgroup2" and "" in groups:
            file = _within(mount, groups[""]) / "memory.events"
            if file.exists():
                return file
    return proc / "vmstat"


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    """Yield the mounted control groups; proc(5) describes the fields."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _source, options = after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            _id, _parent, _device, root, at = before.split(" ")[:5]
            yield _Mount(kind=kind, root=root, at=Path(_unescaped(at)), options=frozenset(options.split(",")))


def _groups(cgroup: str) -> Iterator[tuple[str, str]]:
    """Yield each controller and the path of this process's group; the controller of version 2 is an empty text."""
    for line in cgroup.splitlines():
        _number, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _within(mount: _Mount, path: str) -> Path:
    """Return the folder of a group. Raises ValueError for a group outside of what is mounted."""
    return mount.at / Path(path).relative_to(mount.root)


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
