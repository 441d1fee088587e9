"""The folder `.jobsched/`: secrets, the address of the running stack, logs and data. Readable by its owner only.

Where root starts the stack, runs have users of their own, whose way to their workspaces leads through this folder. They
may then pass through it and through `workspaces/`, but list and enter nothing else:

    .jobsched/            root 0711    secrets.json, stack.json, lock: root 0600
        log/              root 0700
        service/          service user 0700    api-token, beat-schedule
        output/           service user 0700
        postgres/ rabbitmq/    service user 0700
        workspaces/       service user 0711

In a checkout that belongs to the service user (`sudo make up`), what is root's above is that user's.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from jobsched.domain.errors import Conflict, InvalidInput
from jobsched.engine.folders import require_own
from jobsched.local.account import give, keeper
from jobsched.shim.users import User, service_user

FOLDER_NAME = ".jobsched"
ELSEWHERE_NAME = "elsewhere"
"""Names, in the folder FOLDER_NAME of where it was started, the data folder of a stack that has another one."""


def _secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """What the processes of one local stack prove themselves with; made once and kept in `secrets.json`."""

    secret_key: str = field(default_factory=_secret, repr=False)
    postgres_password: str = field(default_factory=_secret, repr=False)
    """Of the role of our processes, which owns one database."""
    postgres_superuser_password: str = field(default_factory=_secret, repr=False)
    """Used only to start and prepare the server; no other process gets it."""
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
        self.root = root.resolve()
        self.logs = self.root / "log"
        self.service = self.root / "service"
        """For files that the service user writes."""
        self.token_file = self.service / "api-token"

    def create(self) -> None:
        """Make the folder, and give its parts to those who use them. Raises InvalidInput when that is not possible."""
        try:
            require_own(self.root)
            user = service_user(os.environ)
            for folder in (*reversed(self.root.parents), self.root):
                if not folder.exists():
                    folder.mkdir(mode=0o700, exist_ok=True)
                    folder.chmod(0o700 if user is None else 0o711)
            for folder in (self.logs, self.service):
                folder.mkdir(mode=0o700, exist_ok=True)
            self._move_token()
            if user is not None:
                self._share(user)
        except OSError as error:
            raise InvalidInput(
                f"The data folder {self.root} cannot be made: {error.strerror}; make it, or name another one."
            ) from error

    def _move_token(self) -> None:
        """Find the token where an earlier version kept it."""
        former = self.root / self.token_file.name
        if former.exists() and not self.token_file.exists():
            former.rename(self.token_file)

    def _share(self, user: User) -> None:
        """Give the folder's parts to their owners, and let others pass through to the workspaces."""
        own = keeper(user)
        for folder, owner, mode in (
            (self.logs, own, 0o700),
            (self.service, user, 0o700),
            (self.root / "output", user, 0o700),
            (self.root / "workspaces", user, 0o711),
        ):
            folder.mkdir(mode=mode, exist_ok=True)
            give(folder, owner)
            folder.chmod(mode)
        for name in ("secrets.json", "stack.json", "lock"):
            path = self.root / name
            if path.exists():
                os.chown(path, own.uid, own.gid, follow_symlinks=False)
                path.chmod(0o600)
        status = self.root.stat()
        if status.st_uid == 0:
            os.chown(self.root, own.uid, own.gid)
        self.root.chmod(stat.S_IMODE(status.st_mode) | 0o111)

    @property
    def _owner(self) -> User | None:
        """Return who owns what root keeps in this folder; None when this process is not root."""
        if os.geteuid() != 0:
            return None
        status = self.root.stat()
        return User(status.st_uid, status.st_gid)

    def secrets(self) -> Secrets:
        """Read the secrets, and make and keep those that are missing. Callers at the same time get the same."""
        path = self.root / "secrets.json"
        with self._alone():
            kept = _read_json(path) or {}
            made = Secrets(**{one.name: kept[one.name] for one in fields(Secrets) if one.name in kept})
            if asdict(made) != kept:
                write_private(path, json.dumps(asdict(made), indent=1), owner=self._owner)
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
        with os.fdopen(os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600), "rb") as lock:
            if (owner := self._owner) is not None:
                os.fchown(lock.fileno(), owner.uid, owner.gid)
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
            with (self.root / "lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def stack(self) -> StackInfo | None:
        """Return where the stack is to be found, as last written; None when none was, or it stopped in order."""
        path = self.root / "stack.json"
        kept = _read_json(path)
        if kept is None:
            return None
        try:
            return StackInfo(**{one.name: kept[one.name] for one in fields(StackInfo) if one.name in kept})
        except TypeError as error:
            raise InvalidInput(f"{path} is damaged: {error}; delete it, and it will be made anew.") from error

    def publish(self, stack: StackInfo) -> None:
        """Let other commands find the stack: by its folder, and from the present folder."""
        write_private(self.root / "stack.json", json.dumps(asdict(stack), indent=1), owner=self._owner)
        usual = Path.cwd() / FOLDER_NAME
        if usual.resolve() != self.root:
            with suppress(OSError):  # in a folder that cannot be written to, --data finds it
                self._point_to_it(usual)

    def _point_to_it(self, usual: Path) -> None:
        owner = self._owner
        if not usual.exists():
            usual.mkdir(mode=0o700)
            if owner is not None:
                os.chown(usual, owner.uid, owner.gid)
        write_private(usual / ELSEWHERE_NAME, f"{self.root}\n", owner=owner)

    def withdraw(self) -> None:
        """The stack has stopped."""
        (self.root / "stack.json").unlink(missing_ok=True)
        pointer = Path.cwd() / FOLDER_NAME / ELSEWHERE_NAME
        with suppress(OSError):
            if pointer.read_text().strip() == str(self.root):
                pointer.unlink()


def write_private(path: Path, text: str, *, owner: User | None = None) -> None:
    """Put `text` into `path` in one step, readable by the owner only: who writes it, or `owner`."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        if owner is not None:
            os.fchown(file.fileno(), owner.uid, owner.gid)
        file.write(text)
    fresh.replace(path)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InvalidInput(f"{path} is damaged: {error}; delete it, and it will be made anew.") from error
