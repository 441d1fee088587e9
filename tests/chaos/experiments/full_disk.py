"""No space left: for workspaces, for the output store, for PostgreSQL's tables. Then there is room again."""

from __future__ import annotations

import os
import shutil
from typing import Final

import psycopg
from django.db import DatabaseError
from psycopg import sql

from tests.chaos.small_disk import SmallDisk, small_disk
from tests.chaos.stage import Stage

NUMBER: Final = 14.5
_LARGE: Final = 300_000
"""Bytes of output that do not fit into a row, and so go to the output store."""
_SYMPTOM: Final = "No space left on device"


def run(stage: Stage) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        stage.done("Nothing was tried: small disks can only be mounted by root.")
        return
    data = stage.folder / "data"
    stage.job()
    stage.job("Prints", run=f"head -c {_LARGE} /dev/zero | tr '\\0' x")
    with (
        small_disk(data / "workspaces", megabytes=1, files=50) as workspaces,
        small_disk(data / "output", megabytes=1) as output,
        small_disk(stage.folder / "tables", megabytes=80) as tables,
    ):
        _move_tables(stage, tables)
        try:
            stage.start_beat()
            stage.start_worker(concurrency=2)
            _work(stage)
            _without_output_store(stage, output)
            _without_workspaces(stage, workspaces)
            _without_database(stage, tables)
        finally:
            tables.make_room()
            _move_back(stage)


def _work(stage: Stage) -> None:
    """See that all is well."""
    stage.submit(3, seconds=0.1)
    stage.wait_until_ended(90)


def _without_output_store(stage: Stage, disk: SmallDisk) -> None:
    disk.fill()
    [run] = stage.submit(1, job="Prints")
    stage.wait_until_ended(60)
    [(state,)] = stage.query("SELECT state FROM jobs_run WHERE id = %s", (run,))
    stage.demand(state == "succeeded", f"a run whose output could not be stored ended as {state}")
    [(kept,)] = stage.query("SELECT sum(octet_length(data)) FROM jobs_outputchunk WHERE run_id = %s", (run,))
    stage.demand(kept == _LARGE, f"the database keeps {kept} bytes of the output that the store did not take")
    disk.make_room()
    stage.wait_for(lambda: _stores(stage), timeout=60, what="output in its store, with room again")
    stage.done("The output store was full: the run succeeded, and all of its output stayed in the database.")


def _stores(stage: Stage) -> bool:
    """Tell whether the output of a new run is in the store."""
    [run] = stage.submit(1, job="Prints")
    stage.wait_until_ended(60)
    return bool(stage.query("SELECT 1 FROM jobs_outputchunk WHERE run_id = %s AND key IS NOT NULL", (run,)))


def _without_workspaces(stage: Stage, disk: SmallDisk) -> None:
    """No file nor folder can be made: the runs wait in their queue until one can."""
    _use_up_files(disk)
    asked = stage.submit(2, seconds=0.1)
    stage.wait_for(
        lambda: stage.query("SELECT 1 FROM jobs_transition WHERE position(%s in reason) > 0 LIMIT 1", (_SYMPTOM,)),
        timeout=60,
        what="a reason that names the full disk",
    )
    shutil.rmtree(disk.folder / "files")
    stage.wait_until_ended(60)
    states = stage.query("SELECT state FROM jobs_run WHERE id = ANY(%s)", (asked,))
    stage.demand(set(states) == {("succeeded",)}, f"runs that could have no workspace ended as {states}")
    lost = stage.query("SELECT count(*) FROM jobs_attempt WHERE verdict = 'lost'")[0][0]
    stage.demand(not lost, f"{lost} attempts were lost for want of a workspace")
    stage.done("No workspace could be made: the runs went back to their queue with the reason, and ran once one could.")


def _use_up_files(disk: SmallDisk) -> None:
    folder = disk.folder / "files"
    folder.mkdir()
    try:
        for number in range(1000):
            (folder / str(number)).touch()
    except OSError:
        return


def _without_database(stage: Stage, disk: SmallDisk) -> None:
    """Tables cannot grow; PostgreSQL's log has a disk of its own, or it would end altogether."""
    stage.submit(6, seconds=3.0)
    stage.wait_for(lambda: stage.count("running") == 2, timeout=30, what="two runs under way")
    disk.fill()
    refused = _ask_until_refused(stage)
    stage.demand(_SYMPTOM in refused, f"a request was not refused for want of space: {refused!r}")
    disk.make_room()
    stage.submit(3, seconds=0.1)
    stage.wait_until_ended(120)
    stage.done("The tables' disk was full: requests were refused with that reason; with room again all runs ended.")


def _ask_until_refused(stage: Stage) -> str:
    """Pages have some room yet. Return what the database says once they have none."""
    for _ in range(200):
        try:
            stage.submit(50, seconds=0.01)
        except DatabaseError as error:
            return str(error)
    return ""


def _move_tables(stage: Stage, disk: SmallDisk) -> None:
    """Move the experiment's database to the small disk; nobody uses it yet."""
    stage.clear()
    _alter(stage, sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(disk.folder))))
    _alter(stage, sql.SQL("ALTER DATABASE {} SET TABLESPACE small").format(_name(stage)))


def _move_back(stage: Stage) -> None:
    """The checker reads the database after the disk is gone."""
    stage.clear()
    _alter(stage, sql.SQL("ALTER DATABASE {} SET TABLESPACE pg_default").format(_name(stage)))
    _alter(stage, sql.SQL("DROP TABLESPACE small"))


def _name(stage: Stage) -> sql.Identifier:
    return sql.Identifier(stage.database_url.rpartition("/")[2])


def _alter(stage: Stage, statement: sql.Composed | sql.SQL) -> None:
    with psycopg.connect(stage.postgres.superuser_url, dbname="postgres", autocommit=True) as connection:
        connection.execute(statement)
