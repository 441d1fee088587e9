"""PostgreSQL, or one process of it, is killed and forgets renewals: live attempts go on, no two attempts overlap."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import Final

import psycopg

from tests.chaos.forgotten import kill_server, see_crash, stop_processes, superuser
from tests.chaos.stage import Stage

NUMBER: Final = 9.1
_ROUNDS: Final = 2


class ServerKilled:
    """All processes are killed, and the server is started again a moment later."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def forget(self) -> None:
        stop_processes(self._stage, "walwriter")

    def crash(self) -> None:
        kill_server(self._stage)
        time.sleep(self._stage.random.uniform(0.0, 2.0))
        self._stage.postgres.start()


class SessionKilled:
    """One session is killed; the main process of the server goes on and starts all others anew."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def forget(self) -> None:
        """The WAL writer must live, since the main process waits for its end; it is slowed down instead."""
        superuser(self._stage, "ALTER SYSTEM SET wal_writer_delay = '10s'")
        superuser(self._stage, "SELECT pg_reload_conf()")

    def crash(self) -> None:
        with suppress(psycopg.OperationalError), psycopg.connect(self._stage.postgres.superuser_url) as session:
            os.kill(session.info.backend_pid, signal.SIGKILL)
            session.execute("SELECT pg_sleep(60)")


def run(stage: Stage) -> None:
    rounds = stage.scaled(_ROUNDS)
    ways = {"server": ServerKilled(stage), "session": SessionKilled(stage)}
    chosen = list(ways) if stage.is_full else [stage.random.choice(list(ways))]
    try:
        for number in range(rounds):
            for way in chosen:
                see_crash(stage, ways[way], name=f"{way} {number + 1}")
                stage.clear()
    finally:
        superuser(stage, "ALTER SYSTEM RESET wal_writer_delay")
        superuser(stage, "SELECT pg_reload_conf()")
    stage.done(
        f"{rounds} times a {' and a '.join(chosen)} of PostgreSQL was killed, after renewals had been kept from the "
        "disk for the length of a lease, with one worker at work, another frozen, and a beat that was just started."
    )
