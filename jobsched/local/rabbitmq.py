"""A private RabbitMQ node: loopback only, no guest, its own cookie, name directory (epmd) and ports."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

from jobsched.domain.errors import Unavailable
from jobsched.local.account import give
from jobsched.local.ports import LOOPBACK, answers, free_ports
from jobsched.local.service import Service
from jobsched.local.state import write_private
from jobsched.shim.users import service_user

USER = "jobsched"
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
# What a client says first, and the frame a broker that has finished starting replies with.
_AMQP_HELLO, _AMQP_START = b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00"


def rabbitmq_program() -> Path | None:
    """Return the installed server program, or None.

    Not the one on PATH where the distribution has its own place: that one is a wrapper which insists on being root
    or the user `rabbitmq`.
    """
    if PROGRAM.exists():
        return PROGRAM
    found = shutil.which("rabbitmq-server")
    return Path(found) if found else None


def rabbitmq_url(port: int, password: str) -> str:
    """Return the address of our node. The password is one of ours: it needs no quoting."""
    return f"amqp://{USER}:{password}@{LOOPBACK}:{port}//"


def rabbitmq_services(folder: Path, *, port: int, password: str, cookie: str, log: Path) -> list[Service]:
    """Describe the node whose data lives in `folder`: the name directory first, then the broker.

    Raises Unavailable when RabbitMQ or its Erlang is not installed.
    """
    program, epmd = rabbitmq_program(), _epmd()
    if program is None or epmd is None:
        raise Unavailable("RabbitMQ is not installed: `apt-get install rabbitmq-server`, or use --broker postgres.")
    home = folder.absolute()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    user = service_user(os.environ)
    if user is not None:
        give(home, user)
    epmd_port, dist_port = free_ports(2)
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_NODENAME": "jobsched@localhost",
        "RABBITMQ_DIST_PORT": str(dist_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -noinput",
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        # The machine's own settings are for the distribution's node.
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        # Makes the start script become the server instead of staying between it and our signals.
        "RABBITMQ_ALLOW_INPUT": "yes",
    }

    def configure() -> None:
        write_private(home / "rabbitmq.conf", _configuration(port, password), owner=user)
        write_private(home / "enabled_plugins", "[].\n", owner=user)
        write_private(home / ".erlang.cookie", cookie, owner=user)
        (home / ".erlang.cookie").chmod(0o400)

    return [
        Service(
            name="epmd",
            argv=(epmd, "-port", str(epmd_port), "-address", LOOPBACK),
            env={"PATH": env["PATH"]},
            cwd=home,
            log=log.with_name("epmd.log"),
            user=user,
            is_ready=lambda: answers(epmd_port),
        ),
        Service(
            name="rabbitmq",
            argv=(str(program),),
            env=env,
            cwd=home,
            log=log,
            user=user,
            is_ready=lambda: answers(port, greeting=_AMQP_HELLO, expect=_AMQP_START),
            before_start=configure,
            # A start takes 6 s on an idle machine; a shared one may need many times that.
            ready_within=timedelta(seconds=120),
        ),
    ]


def _epmd() -> str | None:
    on_path = shutil.which("epmd")
    bundled = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
    return on_path or (str(bundled[-1]) if bundled else None)


def _configuration(port: int, password: str) -> str:
    return f"""\
listeners.tcp.1 = {LOOPBACK}:{port}
default_user = {USER}
default_pass = {password}
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 50MB
"""
