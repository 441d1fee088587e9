"""A hostile job: it reads everything that it can reach, and tells which secrets it found by their hashes.

It is copied into an image of its own, with no part of the tests, and uses the standard library only.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LENGTH = 43
"""Of the secrets that deploy/new_env.py makes: 32 bytes in URL-safe base64."""
_LARGEST_FILE = 200 * 1024 * 1024
_PIECE = 4 * 1024 * 1024
_SKIPPED = ("/proc", "/sys", "/dev")

Wanted = dict[str, tuple[str, str]]
"""Of each secret, by its name: the characters at its beginning, and the SHA-256 hash of all of it."""


class Finder:
    """Looks for secrets that it does not know."""

    def __init__(self, wanted: Wanted) -> None:
        self._names = {digest: name for name, (_, digest) in wanted.items()}
        self._beginnings = {beginning.encode() for beginning, _ in wanted.values()}
        self.found: dict[str, list[str]] = {}

    def look(self, data: bytes, place: str) -> None:
        """Note the secrets in `data`. A search for each beginning is far faster than an expression for all of them."""
        for beginning in self._beginnings:
            at = data.find(beginning)
            while at >= 0:
                name = self._names.get(hashlib.sha256(data[at : at + LENGTH]).hexdigest())
                if name is not None and place not in self.found.setdefault(name, []):
                    self.found[name].append(place)
                at = data.find(beginning, at + 1)


def look(wanted: Wanted, own_memory: bool = True) -> dict[str, Any]:
    """Read all that can be read. `own_memory=False` leaves this process's own out, which a Python job owns."""
    finder = Finder(wanted)
    processes = [_look_at_process(pid, finder, own_memory) for pid in os.listdir("/proc") if pid.isdigit()]
    files = _look_at_files(finder)
    return {
        "found": finder.found,
        "processes": len(processes),
        "readable": {kind: sum(kind in one for one in processes) for kind in ("environ", "mem", "cwd", "root", "fd")},
        "foreign": sorted({place for one in processes for place in one.get("foreign", [])}),
        "files": files,
        **_identity(),
    }


def _identity() -> dict[str, Any]:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    names = ("CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs", "Groups")
    return {"uid": os.getuid(), "gid": os.getgid(), **{name: status[name].strip() for name in names}}


def _look_at_process(pid: str, finder: Finder, own_memory: bool) -> dict[str, Any]:
    seen: dict[str, Any] = {"foreign": []}
    own = int(pid) == os.getpid()
    for name in ("environ", "cmdline", "auxv", "stack", "syscall", "io", "timers"):
        data = _read(f"/proc/{pid}/{name}")
        if data is not None:
            seen[name] = True
            finder.look(data, f"/proc/{pid}/{name}")
    if (own_memory or not own) and _look_at_memory(pid, finder):
        seen["mem"] = True
    for name in ("cwd", "root"):
        try:
            os.listdir(f"/proc/{pid}/{name}/")
            seen[name] = True
        except OSError:
            pass
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            seen["fd"] = True
            if _is_file(f"/proc/{pid}/fd/{number}"):
                _look_at_file(f"/proc/{pid}/fd/{number}", finder)
    except OSError:
        pass
    if not _is_ours(pid) and {"environ", "mem", "cwd", "fd"} & set(seen):
        seen["foreign"].append(f"{pid} {_name(pid)} {sorted(set(seen) - {'foreign'})}")
    return seen


def _is_ours(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}").stat().st_uid == os.getuid()
    except OSError:
        return True


def _name(pid: str) -> str:
    return (_read(f"/proc/{pid}/comm") or b"?").decode(errors="replace").strip()


def _look_at_memory(pid: str, finder: Finder) -> bool:
    maps = _read(f"/proc/{pid}/maps")
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    except OSError:
        return False
    reached = False
    with os.fdopen(memory, "rb", buffering=0) as opened:
        for line in (maps or b"").splitlines():
            match = re.match(rb"([0-9a-f]+)-([0-9a-f]+) r", line)
            if match is None or b"[v" in line:
                continue
            start, end = int(match[1], 16), int(match[2], 16)
            for at in range(start, end, _PIECE):
                try:
                    data = os.pread(opened.fileno(), min(_PIECE, end - at), at)
                except (OSError, OverflowError):
                    break
                reached = reached or bool(data)
                finder.look(data, f"/proc/{pid}/mem ({_name(pid)})")
    return reached


def _look_at_files(finder: Finder) -> int:
    count = 0
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in _SKIPPED]
        for name in names:
            path = os.path.join(folder, name)
            if _is_file(path) and _look_at_file(path, finder):
                count += 1
    return count


def _is_file(path: str) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size < _LARGEST_FILE


def _look_at_file(path: str, finder: Finder) -> bool:
    try:
        with open(path, "rb") as opened:
            for data in _pieces(opened):
                finder.look(data, path)
    except OSError:
        return False
    return True


def _pieces(opened: Any) -> Iterator[bytes]:
    kept = b""
    while data := opened.read(_PIECE):
        yield kept + data
        kept = data[-400:]


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as opened:
            return opened.read()
    except OSError:
        return None
