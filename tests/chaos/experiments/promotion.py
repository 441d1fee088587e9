"""The primary is killed and a replica that lags is promoted: live attempts go on, and no two attempts overlap."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from tests.acceptance.replicas import promote, replica_of
from tests.chaos.forgotten import kill_server, see_crash, stop_processes, superuser
from tests.chaos.stage import Stage

NUMBER: Final = 9.2


class FailOver:
    """The replica has not received renewals for a while when it is promoted. It is asynchronous."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._folder = stage.folder / "replica"

    def start(self) -> None:
        """Make the replica, and name it to all processes that are started from now on."""
        replica = self._stage.keep(
            replica_of(self._stage.postgres, self._folder, of=self._stage.ground.folder, synchronous=False)
        )
        url = urlsplit(replica.url)
        self._stage.move_database(str(url.hostname), int(url.port or 0))

    def forget(self) -> None:
        """Claims are there, renewals that come now are not."""
        self._stage.wait_for(
            lambda: superuser(
                self._stage, "SELECT 1 FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_flush_lsn()"
            ),
            timeout=60,
            what="the arrival of all claims at the replica",
        )
        stop_processes(self._stage, "walsender")

    def crash(self) -> None:
        kill_server(self._stage)
        promote(self._folder)


def run(stage: Stage) -> None:
    fail_over = FailOver(stage)
    fail_over.start()
    see_crash(stage, fail_over, name="promotion")
    stage.done(
        "The primary was killed after its asynchronous replica had received nothing for the length of a lease, and the "
        "replica promoted, with one worker at work, another frozen, and a beat that was just started."
    )
