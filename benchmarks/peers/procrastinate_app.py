"""Procrastinate as its quickstart shows it: async connector with its pool."""

from __future__ import annotations

import os

from procrastinate import App, PsycopgConnector

from benchmarks.noop import noop as do_nothing

app = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_DATABASE_URL"]))


@app.task(name="noop", queue="bench")
async def noop(path: str, number: int) -> None:
    do_nothing(path, number)
