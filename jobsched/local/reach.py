"""Make folders that only root may enter usable by the unprivileged processes of a stack, at their own paths.

A checkout in a root-only folder, or an interpreter below root's home, cannot be read by the service user and by runs.
Here a private mount namespace gives these processes a way in: the folder that stops them is covered by an empty one
that everybody may pass through, and what is needed is bound into it at its own place. Nothing else of the covered
folder is visible there, nothing changes outside of the namespace, and all ends with its last process.

    /root                     0700 on disk       0711 and empty in the namespace
        .pyenv/versions/3.11  needed             bound to its place

A needed folder that is closed itself gets its content bound piece by piece. Pieces that only root may read, as
`umask 077` makes them, are shown by an overlay in which everybody may read; the files themselves stay as they are.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from jobsched.domain.errors import Unavailable
from jobsched.local.account import PROJECT
from jobsched.shim import libc
from jobsched.shim.users import User

_MS_NOSUID_NODEV: Final = 2 | 4
_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_PASS: Final = stat.S_IXOTH
_READ: Final = stat.S_IROTH
_PRIVATE: Final = (".git", ".env")
"""Left out of a closed folder: no process of a stack needs them, and they may hold secrets."""
_WORKBENCH: Final = ".overlay"
_MOST_LINKS: Final = 40
"""The kernel follows no more either."""

OWN: Final = (PROJECT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
"""The project, its packages, and the interpreter."""

Needs = Mapping[Path, int]
"""Folders and what everybody must be allowed there, as bits of a mode."""


def open_ways(
    *, read: Iterable[Path], passed: Iterable[Path], users: Iterable[User], own: Collection[Path] = OWN
) -> None:
    """Let `users` read the folders `read`, and pass through the folders `passed`.

    Files that only root may read become readable as far as they are in `own`, below it, and made with `umask 077`.
    Where that takes a mount namespace, this process and its later children are in it from then on, and PATH loses the
    folders that are closed there. Nothing happens where all that is possible already. The process must have one
    thread. Raises Unavailable when there can be no such namespace here, or when it does not help.
    """
    needs = {**{path.resolve(): _PASS for path in passed}, **dict.fromkeys(read, _PASS | _READ)}
    if _first_obstacle(needs) is None:
        return
    searched = [entry for entry in os.environ.get("PATH", os.defpath).split(os.pathsep) if _is_folder(Path(entry))]
    try:
        _open(needs, own)
    except OSError as error:
        raise Unavailable(_sentence(needs, f"a private mount namespace cannot be made here ({error})")) from error
    for user in users:
        if (closed := next((path for path in needs if not _may_enter(user, path)), None)) is not None:
            raise Unavailable(_sentence([closed], f"user {user.uid} cannot do so in a private mount namespace either"))
    os.environ["PATH"] = os.pathsep.join(_usable(searched))


def public_temporary_folder() -> Path:
    """Return the folder for temporary files, or /tmp when only root may enter that one."""
    usual = Path(tempfile.gettempdir()).resolve()
    return usual if _obstacle(usual, _PASS) is None else Path("/tmp")  # noqa: S108 - made unique by who uses it


def what_is_read() -> list[Path]:
    """Return the folders with the project, its packages and the interpreter."""
    named = [*OWN, *(file.parent for file in PROJECT.glob("*/__init__.py"))]
    # The first is the folder of the script, or the working directory, which is not needed.
    named += [Path(entry) for entry in (*sys.path[1:], *os.environ.get("PYTHONPATH", "").split(os.pathsep)) if entry]
    named += [link.parent for link in _links(Path(sys.executable))]
    return sorted({path.resolve() for path in named if _is_folder(path)})


def _links(program: Path) -> Iterator[Path]:
    """Return the symbolic links from `program` to the file that is executed, and that file."""
    for _ in range(_MOST_LINKS):
        yield program
        if not program.is_symlink():
            return
        program = program.parent / program.readlink()


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _usable(searched: list[str]) -> Iterator[str]:
    """Return the folders of a PATH that can still be entered; the interpreter's takes the place of the first other.

    That one usually held it: a version manager below root's home.
    """
    replaced = False
    for entry in searched:
        if _is_folder(Path(entry)) and _obstacle(Path(entry).resolve(), _PASS) is None:
            yield entry
        elif not replaced:
            replaced = True
            yield str(Path(sys.base_prefix) / "bin")


def _sentence(folders: Iterable[Path], problem: str) -> str:
    return (
        f"Only root may enter {', '.join(map(str, folders))}, and {problem}: run this as an ordinary user, or move the "
        "project and its Python to folders that everybody may read, such as /srv."
    )


def _first_obstacle(needs: Needs) -> Path | None:
    return next((found for path, bits in needs.items() if (found := _obstacle(path, bits)) is not None), None)


def _obstacle(folder: Path, bits: int) -> Path | None:
    """Return the outermost folder on the way to `folder`, or itself, that does not give everybody what is needed."""
    for one, wanted in (*((parent, _PASS) for parent in reversed(folder.parents)), (folder, bits)):
        if one.stat().st_mode & wanted != wanted:
            return one
    return None


def _open(needs: Needs, own: Collection[Path]) -> None:
    here = Path.cwd()
    libc.unshare(libc.CLONE_NEWNS)
    libc.make_mounts_private()
    while (closed := _first_obstacle(needs)) is not None:
        _replace(closed, needs, own)
    # The working directory is still the covered one, in which relative paths would lead elsewhere.
    with suppress(OSError):
        os.chdir(here)


def _replace(closed: Path, needs: Needs, own: Collection[Path]) -> None:
    """Cover `closed` with an empty folder, and bind into it what is needed."""
    whole = closed in needs
    if whole:
        kept = [path for path in closed.iterdir() if path.name not in _PRIVATE]
    else:
        kept = list(_outermost(path for path in needs if closed in path.parents))
    made_private = whole and not {closed, *closed.parents}.isdisjoint(own) and _most_are_closed(kept)
    held = {path: os.open(path, os.O_PATH | os.O_NOFOLLOW) for path in kept}
    try:
        _mount("tmpfs", closed, "tmpfs", _MS_NOSUID_NODEV, "mode=755" if whole else "mode=711")
        for path, handle in held.items():
            _make_way(closed, path.parent)
            if made_private and not path.name.startswith("."):
                _show_readable(path, handle, closed / _WORKBENCH)
            else:
                _show(path, handle)
    finally:
        for handle in held.values():
            os.close(handle)


def _outermost(folders: Iterable[Path]) -> Iterator[Path]:
    shown: set[Path] = set()
    for folder in sorted(folders):
        if shown.isdisjoint(folder.parents):
            shown.add(folder)
            yield folder


def _most_are_closed(paths: list[Path]) -> bool:
    """Tell a folder that was made with `umask 077` from one that has some private files."""
    modes = [path.lstat().st_mode for path in paths if not path.name.startswith(".") and not path.is_symlink()]
    return 2 * sum(not mode & _READ for mode in modes) > len(modes)


def _make_way(cover: Path, folder: Path) -> None:
    """Make the folders between a cover and what is bound into it."""
    for one in (*reversed(folder.parents), folder):
        if cover in one.parents and not one.exists():
            one.mkdir()
            one.chmod(0o711)


def _show(path: Path, handle: int) -> None:
    """Bind what `handle` holds to `path`."""
    mode = os.fstat(handle).st_mode
    if stat.S_ISLNK(mode):
        path.symlink_to(os.readlink("", dir_fd=handle))
        return
    if stat.S_ISDIR(mode):
        path.mkdir()
    else:
        path.touch()
    _mount(_held(handle), path, None, _MS_BIND | _MS_REC)


def _show_readable(path: Path, handle: int, workbench: Path) -> None:
    """Show what `handle` holds at `path`, with everybody allowed to read it."""
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        path.write_bytes(_held(handle).read_bytes())
        path.chmod(stat.S_IMODE(mode))
        _let_read(path)
    elif not stat.S_ISDIR(mode):
        _show(path, handle)
    else:
        path.mkdir()
        _overlay(_held(handle), path, workbench)


def _overlay(source: Path, path: Path, workbench: Path) -> None:
    """Only the modes are copied (`metacopy`), not the content: a virtual environment has tens of thousands of files."""
    workbench.mkdir(mode=0o700, exist_ok=True)
    upper, work = (Path(tempfile.mkdtemp(prefix=f"{name}-", dir=workbench)) for name in ("upper", "work"))
    _mount("overlay", path, "overlay", 0, f"lowerdir={source},upperdir={upper},workdir={work},metacopy=on")
    for folder, _folders, files in os.walk(path):
        _let_read(Path(folder))
        for name in files:
            _let_read(Path(folder, name))


def _let_read(path: Path) -> None:
    """Allow everybody to read a file, and to execute it if its owner may."""
    mode = path.lstat().st_mode
    allowed = _READ | (_PASS if mode & stat.S_IXUSR else 0)
    if not stat.S_ISLNK(mode) and mode & allowed != allowed:
        path.chmod(stat.S_IMODE(mode) | allowed)


def _held(handle: int) -> Path:
    return Path(f"/proc/self/fd/{handle}")


def _mount(source: str | Path, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
    words = (os.fsencode(source), os.fsencode(target), kind and kind.encode(), flags, options and options.encode())
    libc.call("mount", *words)


def _may_enter(user: User, folder: Path) -> bool:
    """Try it as `user`, in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            os.chdir(folder)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
