"""What an administrator can do to the suite's RabbitMQ: alarms, time limits, a wipe, a look at its queues."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

from kombu import Connection

from jobsched.local.rabbitmq import rabbitmq_program
from jobsched.local.servers import Server
from tests.chaos.errors import Broken

_PATIENCE_SECONDS: Final = 60.0
_MEMORY_SHARE: Final = "0.4"
"""RabbitMQ's own default for `vm_memory_high_watermark`."""


def control(server: Server, *words: str) -> str:
    """Run `rabbitmqctl` on a node of ours and return what it says. Raises Broken when it fails."""
    program = rabbitmq_program()
    if program is None:
        raise Broken("RabbitMQ is not installed")
    done = subprocess.run(
        [str(program.with_name("rabbitmqctl")), "--quiet", *words],
        env=dict(server.environment),
        cwd=server.environment["HOME"],
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise Broken(f"rabbitmqctl {words[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def raise_memory_alarm(server: Server) -> None:
    """Let the node believe that it has no memory left: it takes no more messages from anybody."""
    control(server, "set_vm_memory_high_watermark", "absolute", "1MB")


def end_memory_alarm(server: Server) -> None:
    """Let it see its memory again."""
    control(server, "set_vm_memory_high_watermark", _MEMORY_SHARE)


def limit_consumers(server: Server, *, seconds: float, checked_every: float) -> None:
    """Set the `consumer_timeout` of channels that are opened from now on, and how often it is looked at."""
    for name, value in (("consumer_timeout", seconds), ("channel_tick_interval", checked_every)):
        control(server, "eval", f"application:set_env(rabbit, {name}, {round(value * 1000)}).")


def waiting(broker_url: str, queue: str) -> int:
    """Return how many messages wait in a queue. Raises NotFound of `amqp` when there is no such queue."""
    with Connection(broker_url) as connection:
        return int(connection.default_channel.queue_declare(queue, passive=True).message_count)


def wipe(server: Server) -> None:
    """Kill it, and take everything from it that it has ever been told. It is started by `server.start()`."""
    server.kill()
    shutil.rmtree(Path(server.environment["RABBITMQ_MNESIA_BASE"]))
