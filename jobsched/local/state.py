"""The folder `.jobsched/`: secrets, the address of the running stack, logs and data. Readable by its owner only."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from jobsched.domain.errors import Conflict, InvalidInput

FOLDER_NAME = ".jobsched"


def _secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """What the processes of one local stack prove themselves with; made once and kept in `secrets.json`."""

    secret_key: str = field(default_factory=_secret, repr=False)
    postgres_password: str = field(default_factory=_secret, repr=False)
    rabbitmq_password: str = field(default_factory=_secret, repr=False)
    erlang_cookie: str = field(default_factory=_secret, repr=False)
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)
    flower_password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)


@dataclass(frozen=True, kw_only=True)
class StackInfo:
    """Where a running stack is to be found, as kept in `stack.json`."""

    url: str
    """Of the web process, without a slash at the end."""
    token: str = field(repr=False)
    """For the REST API: `Authorization: Token …`."""
    pid: int
    """Of the process that stops the whole stack on SIGTERM."""
    broker: str
    flower_url: str | None = None


class DataFolder:
    """One folder of state. Only one stack may run in it at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.logs = self.root / "log"
        self.token_file = self.root / "api-token"

    def create(self) -> None:
        """Make the folder. Raises InvalidInput when that is not possible."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"The data folder {self.root} cannot be made: {error.strerror}; make it, or name another one."
            ) from error

    def secrets(self) -> Secrets:
        """Read the secrets, and make and keep those that are missing. Callers at the same time get the same."""
        path = self.root / "secrets.json"
        with self._alone():
            kept = _read_json(path) or {}
            made = Secrets(**{one.name: kept[one.name] for one in fields(Secrets) if one.name in kept})
            if asdict(made) != kept:
                write_private(path, json.dumps(asdict(made), indent=1))
        return made

    @contextmanager
    def _alone(self) -> Iterator[None]:
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder for one stack, until this process and its forks end. Raises Conflict if it is held."""
        with (self.root / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                stack = self.stack()
                where = f"at {stack.url}" if stack else "and is starting or stopping right now"
                raise Conflict(
                    f"A stack is already running in {self.root} {where}; "
                    "stop it with Ctrl-C there or with `make down`, or use another folder with --data."
                ) from error
            yield

    def is_claimed(self) -> bool:
        """Tell whether a stack is running in this folder."""
        try:
            with (self.root / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def stack(self) -> StackInfo | None:
        """Return where the stack is to be found, as last written; None when none was, or it stopped in order."""
        kept = _read_json(self.root / "stack.json")
        return StackInfo(**kept) if kept else None

    def publish(self, stack: StackInfo) -> None:
        """Let other commands find the stack."""
        write_private(self.root / "stack.json", json.dumps(asdict(stack), indent=1))

    def withdraw(self) -> None:
        """The stack has stopped."""
        (self.root / "stack.json").unlink(missing_ok=True)


def find_stack(start: Path | None = None) -> StackInfo | None:
    """Return the running stack of JOBSCHED_DATA_DIR, or of `start` (default: here) or the nearest folder above it.

    A stack that was killed does not count as running.
    """
    named = os.environ.get("JOBSCHED_DATA_DIR")
    here = (start or Path.cwd()).absolute()
    roots = [Path(named)] if named else [folder / FOLDER_NAME for folder in (here, *here.parents)]
    for root in roots:
        folder = DataFolder(root)
        try:
            if folder.is_claimed() and (stack := folder.stack()):
                return stack
        except PermissionError:  # somebody else's
            continue
    return None


def write_private(path: Path, text: str) -> None:
    """Put `text` into `path` in one step, readable by the owner only."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InvalidInput(f"{path} is damaged: {error}; delete it, and it will be made anew.") from error
