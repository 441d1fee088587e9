"""Jobs that kill the worker which performs them: each stops after its attempts, and the rest are not held up."""

from __future__ import annotations

import time
from typing import Final

from jobsched.domain.retry import LOST_RETRIES
from tests.chaos.journal import LOG
from tests.chaos.stage import Stage
from tests.processes import Process

NUMBER: Final = 15

_HARMLESS: Final = 400
_OF_EACH: Final = 3
_ENV: Final = {"JOBSCHED_ISOLATION": "subreaper", "JOBSCHED_JOB_UIDS": "off"}
# Without a namespace and without a user of its own, a run can signal the processes above it. When it kills the main
# process, the whole worker ends.
_REGICIDE: Final = (
    LOG
    + """\
log start
pid=$$
while [ "$pid" -gt 1 ]; do
  if tr '\\0' ' ' </proc/$pid/cmdline | grep -q ' celery '; then above=$pid; fi
  pid=$(awk '/^PPid:/ { print $2 }' /proc/$pid/status)
done
kill -9 "$above"
sleep 600
log end
"""
)


def run(stage: Stage) -> None:
    retries = {"max": 0, "backoff": "1s"}
    stage.job("Regicide", run=_REGICIDE, retries=retries)
    stage.job("Suicide", call="chaos.suicide", retries=retries)
    stage.job("Harmless", retries=retries)
    stage.job("Harmless in process", call="chaos.harmless", retries=retries)
    stage.start_beat()
    workers = stage.start_workers(2, env=_ENV)
    for job in ("Regicide", "Suicide"):
        stage.submit(_OF_EACH, job=job)
    half = stage.scaled(_HARMLESS, 20) // 2
    stage.submit(half, seconds=0.1, job="Harmless")
    stage.submit(half, job="Harmless in process")
    began = time.monotonic()

    restarts = 0

    def replace_the_dead() -> None:
        nonlocal restarts
        for number, worker in enumerate(workers):
            if not worker.is_running():
                worker.kill()
                workers[number] = _worker(stage)
                restarts += 1

    stage.wait_until_ended(300, busy=replace_the_dead)
    seconds = time.monotonic() - began
    stage.done(
        f"{_OF_EACH} runs that kill their slot and {_OF_EACH} that kill their worker's main process, among {2 * half} "
        f"harmless ones on two workers; {restarts} workers were started again."
    )
    _judge(stage)
    stage.figure("until all had ended", seconds, "s")


def _worker(stage: Stage) -> Process:
    return stage.start_worker(env=_ENV)


def _judge(stage: Stage) -> None:
    most = 1 + LOST_RETRIES
    poison = stage.query(
        "SELECT r.id, r.state, r.attempt - r.handed_back FROM jobs_run r JOIN jobs_job j ON j.id = r.job_id "
        "WHERE j.name = ANY(%s)",
        (["Regicide", "Suicide"],),
    )
    for run_id, state, tries in poison:
        stage.demand(
            (state, tries) == ("failed", most),
            f"run {run_id}, which kills its worker, is {state} after {tries} tries, and not failed after {most}",
        )
    harmless = stage.query(
        "SELECT r.state, count(*), max(r.attempt) FROM jobs_run r JOIN jobs_job j ON j.id = r.job_id "
        "WHERE j.name LIKE 'Harmless%%' GROUP BY 1"
    )
    stage.demand([row[0] for row in harmless] == ["succeeded"], f"harmless runs ended as {harmless}")
    stage.figure("most attempts of a harmless run", max(row[2] for row in harmless))
    waited = stage.query(
        "SELECT percentile_disc(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM r.finished_at - r.created_at))::float8 "
        "FROM jobs_run r JOIN jobs_job j ON j.id = r.job_id WHERE j.name LIKE 'Harmless%%'"
    )[0][0]
    stage.figure("harmless runs, from request to end, p99", waited, "s")
