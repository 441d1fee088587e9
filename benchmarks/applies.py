"""Measure what it takes to apply a file of thousands of jobs, and to request a run; see docs/benchmarks.md.

Run by `make bench-applies`, on servers that it starts. CPU is that of this process and of its session of PostgreSQL;
the seconds also depend on what else the machine does.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import click
import psutil

_TRIGGERS = 300
_ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one piece of work took."""

    seconds: float
    client_cpu: float
    postgres_cpu: float


@click.command()
@click.option("--jobs", type=click.IntRange(10, 7000), default=5000, show_default=True, help="Jobs in the file.")
def main(jobs: int) -> None:
    """Apply one file as it is new, unchanged and changed, and request runs; print what each took."""
    _set_up()
    text = written(jobs)
    for label, changed in (
        ("new", text),
        ("unchanged", text),
        ("other timeouts", text.replace("10m", "11m")),
        ("other schedules", text.replace("10m", "11m").replace("* * *", "* * 1-5")),
    ):
        whole, publication = _applied(changed)
        click.echo(
            f"{label:<16} whole {_shown(whole)}   publication {_shown(publication)}   ({jobs} jobs, {len(text)} bytes)"
        )
    now, before = _triggers()
    click.echo(
        f"trigger          {now:.2f} ms CPU of the client; read back and with a channel of its own {before:.2f} ms"
    )


def written(jobs: int) -> str:
    """Return a file of so many jobs with schedules in two time zones."""
    lines = ["jobs:"]
    for number in range(jobs):
        zone = "Europe/Berlin" if number % 2 else "UTC"
        lines.append(f"  - name: report-{number:04d}")
        lines.append(f'    schedule: "{number % 60} {number // 60 % 24} * * *"')
        lines.append(f"    timezone: {zone}")
        lines.append(f"    run: ./report {number:04d}")
        lines.append("    timeout: 10m")
    return "\n".join(lines) + "\n"


def _set_up() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("JOBSCHED_SECRET_KEY", secrets.token_urlsafe(48))
    os.environ["JOBSCHED_LOG_LEVEL"] = "ERROR"
    import django

    django.setup()
    from django.db import connection

    connection.creation.create_test_db(verbosity=0, autoclobber=True)


def _applied(text: str) -> tuple[Cost, Cost]:
    from django.db import transaction

    from jobs.services.definitions.batch import Batch
    from jobs.store import publishing, staging
    from jobs.store.session import django_connection
    from jobsched.domain import manifest

    publication: list[Cost] = []

    def publish(batch: Batch) -> None:
        with transaction.atomic():
            batch.publish(actor="benchmark")

    def work() -> None:
        file = manifest.parse(text, filename="jobs.yaml")
        batch = Batch(id=staging.new_batch(django_connection), project="default", specs=file.jobs)
        batch.stage()
        staging.count_anew(django_connection)
        batch.compare_and_check()
        publication.append(_measured(lambda: publish(batch)))

    whole = _measured(work)
    publishing.count_anew(django_connection)
    return whole, publication[0]


def _measured(work: Callable[[], Any]) -> Cost:
    from django.db import connection

    connection.ensure_connection()
    session = psutil.Process(connection.connection.info.backend_pid)
    started, client, server = time.perf_counter(), time.process_time(), sum(session.cpu_times()[:2])
    work()
    return Cost(
        seconds=time.perf_counter() - started,
        client_cpu=time.process_time() - client,
        postgres_cpu=sum(session.cpu_times()[:2]) - server,
    )


def _triggers() -> tuple[float, float]:
    """Return the CPU milliseconds of a trigger, and of one that reads its run back and opens a channel, as medians.

    Both take turns, so that other programs slow both down alike.
    """
    from jobs.messages import channels
    from jobs.models import Run
    from jobs.services import control

    def now() -> None:
        control.trigger(job="report-0000", actor="benchmark")

    def before() -> None:
        made = control.trigger(job="report-0000", actor="benchmark")
        Run.objects.select_related("job__project").in_bulk([made.pk])
        with channels.lend():
            pass

    for work in (now, before):
        work()
    rounds: dict[Callable[[], None], list[float]] = {now: [], before: []}
    for _ in range(_ROUNDS):
        for work, taken in rounds.items():
            started = time.process_time()
            for _ in range(_TRIGGERS):
                work()
            taken.append((time.process_time() - started) / _TRIGGERS * 1000)
    return median(rounds[now]), median(rounds[before])


def _shown(cost: Cost) -> str:
    return f"{cost.seconds:5.2f} s, CPU {cost.client_cpu:.2f} s and in PostgreSQL {cost.postgres_cpu:.2f} s"


if __name__ == "__main__":
    sys.exit(main())
