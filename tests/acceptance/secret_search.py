"""Run by a job: look for secrets in everything that the job can reach, and write down where each was found.

    python secret_search.py NEEDLES DATA_FOLDER REPORT

NEEDLES is a JSON file of names and secrets, each secret in hexadecimal digits, so that neither this process nor its
files hold one as it is. The report is a JSON list of [name of the secret, kind of place, place].
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

_CHUNK = 1 << 20
_MOST = 256 << 20
"""Bytes of one process's memory."""
_KNOWN = ("secrets.json", "api-token", "output/of-another-run")
"""Files of the data folder that can be opened by name where folders cannot be listed."""
Hit = tuple[str, str, str]


def main(needles_file: str, data: str, report: str) -> None:
    needles = {name: bytes.fromhex(text) for name, text in json.loads(Path(needles_file).read_text()).items()}
    hits = [*_of_processes(needles, data), *_of_folder(needles, Path(data), "file"), *_writes(Path(data))]
    Path(report).write_text(json.dumps(sorted(set(hits))))


def _of_processes(needles: dict[str, bytes], data: str) -> Iterator[Hit]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            name = _text(process / "cmdline").replace(b"\0", b" ").decode(errors="replace")[:120]
            for file in ("environ", "cmdline"):
                yield from ((needle, file, name) for needle in _in(needles, _text(process / file)))
            yield from ((needle, "memory", name) for needle in _in_memory(needles, process))
            yield from ((needle, "descriptor", name) for needle in _in_descriptors(needles, process))
            yield from _by_way(needles, process / "root" / data.lstrip("/"), "root")
            yield from _by_way(needles, process / "cwd", "cwd")


def _by_way(needles: dict[str, bytes], folder: Path, way: str) -> Iterator[Hit]:
    """Look through a folder as another process sees it: nothing may be covered there. Known names are enough."""
    for name in _KNOWN:
        yield from ((needle, f"by /proc/PID/{way}", name) for needle in _in(needles, _text(folder / name)))


def _in_memory(needles: dict[str, bytes], process: Path) -> Iterator[str]:
    left = _MOST
    try:
        maps = (process / "maps").read_text()
        memory = os.open(process / "mem", os.O_RDONLY)
    except OSError:
        return
    for start, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw", maps, re.M):
        for at in range(int(start, 16), int(end, 16), _CHUNK):
            try:
                chunk = os.pread(memory, min(_CHUNK, int(end, 16) - at), at)
            except (OSError, OverflowError):
                continue
            left -= len(chunk)
            yield from _in(needles, chunk)
        if left < 0:
            break
    os.close(memory)


def _in_descriptors(needles: dict[str, bytes], process: Path) -> Iterator[str]:
    try:
        links = list((process / "fd").iterdir())
    except OSError:
        return
    for link in links:
        try:
            opened = os.open(link, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            if stat.S_ISREG(os.fstat(opened).st_mode):
                yield from _in(needles, os.pread(opened, _CHUNK, 0))
        except OSError:
            pass
        finally:
            os.close(opened)


def _of_folder(needles: dict[str, bytes], folder: Path, kind: str) -> Iterator[Hit]:
    files = {folder / name for name in _KNOWN} | {
        Path(top, name) for top, _, names in os.walk(folder) for name in names
    }
    for file in files:
        yield from ((needle, kind, str(file)) for needle in _in(needles, _text(file)))


def _writes(data: Path) -> Iterator[Hit]:
    """Try to change stored output: in place, by a new file, by putting another folder in its place."""
    store = data / "output"
    for change in (
        lambda: (store / "of-another-run").open("a").close(),
        lambda: (store / "new").touch(),
        lambda: store.rename(data / "moved").rename(store),
        lambda: store.chmod(0o777),
    ):
        try:
            change()
        except OSError:
            continue
        yield ("output", "write", str(store))


def _text(file: Path) -> bytes:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return b""
        with file.open("rb") as opened:
            return opened.read(_CHUNK)
    except OSError:
        return b""


def _in(needles: dict[str, bytes], text: bytes) -> Iterator[str]:
    return (name for name, needle in needles.items() if needle in text)


if __name__ == "__main__":
    main(*sys.argv[1:])
