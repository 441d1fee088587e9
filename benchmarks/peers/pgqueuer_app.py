"""A pgqueuer worker: `python -m benchmarks.peers.pgqueuer_app BATCH_SIZE`.

As its documentation shows for a run without its command line (which fails with the version of typer at hand):
one connection a worker, uvloop, and the faster driver where it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pgqueuer
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.adapters.connections import connect_asyncpg, connect_psycopg
from pgqueuer.models import Job

from benchmarks.noop import noop


@asynccontextmanager
async def make() -> AsyncIterator[PgQueuer]:
    """Connect and say what the worker performs."""
    url = os.environ["BENCH_DATABASE_URL"]
    if importlib.util.find_spec("asyncpg"):
        async with connect_asyncpg(url) as connection:
            yield _with_noop(PgQueuer.from_asyncpg_connection(connection))
    else:
        async with connect_psycopg(url) as session:
            yield _with_noop(PgQueuer.from_psycopg_connection(session))


def _with_noop(worker: PgQueuer) -> PgQueuer:
    @worker.entrypoint("noop")
    async def perform(job: Job) -> None:
        path, number = json.loads(job.payload or b"[]")
        noop(path, number)

    return worker


if __name__ == "__main__":
    uvloop.run(pgqueuer.run(make, batch_size=int(sys.argv[1])))
