"""From a schedule to a recorded result, through real beats, RabbitMQ, workers and PostgreSQL."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs.models import OutputChunk, Run, Transition
from jobs.services import control
from tests.acceptance.conftest import attempts, ended, running
from tests.processes import Process, wait_for

Start = Callable[..., Process]
Save = Callable[..., str]
Request = Callable[..., Run]

SHORT_LEASE = {"JOBSCHED_LEASE_SECONDS": "4", "JOBSCHED_HEARTBEAT_SECONDS": "1"}
SAMPLES = {"JOBSCHED_IMPORTS": "tests.sample_tasks,tests.sample_callables"}


@pytest.fixture(autouse=True)
def _samples() -> None:
    """The tests' own process knows the sample tasks as the workers do."""
    import tests.sample_callables
    import tests.sample_tasks  # noqa: F401


def path(run: Run) -> list[str]:
    return list(Transition.objects.filter(run=run).order_by("id").values_list("after", flat=True))


def alive(marker: str) -> list[int]:
    """Processes whose command line holds a marker."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["status"] != psutil.STATUS_ZOMBIE and marker in " ".join(process.info["cmdline"] or []):
            found.append(process.pid)
    return found


def test_a_schedule_leads_to_recorded_results(save: Save, start_beat: Start, start_worker: Start) -> None:
    start_worker()
    start_beat()
    save(run='echo "due at $JOBSCHED_SCHEDULED_FOR"', schedule="1s")

    def three() -> list[Run]:
        found = list(Run.objects.filter(state="succeeded").order_by("scheduled_for")[:3])
        return found if len(found) == 3 else []

    runs = wait_for(three, what="three runs of an interval job")
    for run in runs:
        assert run.scheduled_for is not None
        assert path(run) == ["queued", "running", "succeeded"]
        assert attempts(run)[0].output == f"due at {run.scheduled_for.isoformat()}\n"
    instants = [run.scheduled_for for run in runs]
    assert len({(b - a).total_seconds() for a, b in itertools.pairwise(instants) if a and b}) == 1


KINDS: dict[str, tuple[dict[str, Any], tuple[str, str, Any, list[str]]]] = {
    # the job: state, the run's reason holds, result, verdicts of the attempts
    "Shell": ({"run": "echo hello; exit 3"}, ("failed", "exit code 3", None, ["failed"])),
    "Overrun": ({"run": "sleep 60", "timeout": "1s"}, ("timed_out", "limit of 1 s", None, ["timed_out"])),
    "Steps": (
        {"steps": [{"name": "one", "run": "true"}, {"name": "two", "run": "exit 4"}]},
        ("failed", "step 'two' failed: exit code 4", None, ["failed"]),
    ),
    "Python": (
        {"call": "tests.sample_callables:add", "params": {"a": 1, "b": 2}},
        ("succeeded", "", {"sum": 3}, ["succeeded"]),
    ),
    "Explode": (
        {"call": "tests.sample_callables:explode"},
        ("failed", "ValueError: boom \ufffd with a NUL", None, ["failed"]),
    ),
    "Trusted": ({"call": "sample.trusted", "params": {"n": 41}}, ("succeeded", "", 42, ["succeeded"])),
    "Trusted broken": ({"call": "sample.trusted-broken"}, ("failed", "ConnectionError: no route", None, ["failed"])),
    "Trusted slow": (
        {"call": "sample.trusted-slow", "params": {"seconds": 60}, "timeout": "1s"},
        ("timed_out", "limit of 1 s", None, ["timed_out"]),
    ),
    "Task": ({"task": "sample.add", "params": {"a": 1, "b": 2}}, ("succeeded", "", 3, ["succeeded"])),
    "Task flaky": (
        {"task": "sample.flaky"},
        ("succeeded", "", "succeeded after 2 retries", ["failed", "failed", "succeeded"]),
    ),
    "Task broken": ({"task": "sample.broken"}, ("failed", "ValueError: not to be tried again", None, ["failed"])),
    "Task slow": ({"task": "sample.slow"}, ("timed_out", "limit of 1 s", None, ["timed_out"])),
}


def test_each_kind_ends_as_it_should(save: Save, request_run: Request, start_worker: Start, start_beat: Start) -> None:
    start_worker(env=SAMPLES, concurrency=2)
    start_beat()
    for name, (job, _) in KINDS.items():
        save(name, **job)
    runs = {name: request_run(name) for name in KINDS}

    for name, (_, (state, reason, result, verdicts)) in KINDS.items():
        run = ended(runs[name])
        tries = attempts(run)
        assert (name, run.state, tries[-1].result, [a.verdict for a in tries]) == (name, state, result, verdicts)
        assert reason in run.reason, name
    assert "tidied up" in attempts(runs["Task slow"])[0].output
    assert [s["output"] for s in attempts(runs["Steps"])[0].sections or []] == ["", ""]


def test_threads_and_exit_hooks_of_callables_and_tasks_are_finished_before_their_run_ends(
    save: Save, request_run: Request, start_worker: Start, tmp_path: Path
) -> None:
    start_worker(env=SAMPLES)
    save("Callable", call="tests.sample_callables:leave_thread", params={"path": str(tmp_path / "Callable")})
    save("Task", task="sample.leave_thread", params={"path": str(tmp_path / "Task")})
    for name in ("Callable", "Task"):
        run = ended(request_run(name))
        assert (run.state, run.reason) == ("succeeded", "")
        assert (tmp_path / name).read_text() == "thread\nhook\n"


def test_a_plain_celery_task_is_sent_as_its_row_says(
    start_worker: Start, start_beat: Start, transactional_db: None, tmp_path: Path
) -> None:
    start_worker(env=SAMPLES)
    start_beat()
    every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    trace = tmp_path / "trace"
    row = PeriodicTask.objects.create(
        name="plain", task="sample.note", args=json.dumps([str(trace)]), kwargs='{"word": "due"}', interval=every
    )

    wait_for(lambda: trace.exists() and trace.read_text().startswith("due\ndue\n"), what="two messages performed")

    # A message is sent before its row is advanced, and so may be performed before.
    wait_for(
        lambda: PeriodicTask.objects.filter(pk=row.pk, total_run_count__gte=2, last_run_at__isnull=False).exists(),
        what="both fires counted",
    )
    assert not Run.objects.exists()


def test_what_is_due_is_recorded_without_a_broker_and_messages_wait_for_it(
    save: Save, start_worker: Start, start_beat: Start, tmp_path: Path
) -> None:
    start_beat(env={"JOBSCHED_BROKER_URL": "amqp://nobody:none@127.0.0.1:1//"})
    every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
    trace = tmp_path / "trace"
    row = PeriodicTask.objects.create(
        name="plain", task="sample.note", args=json.dumps([str(trace)]), kwargs='{"word": "due"}', interval=every
    )
    save(run="true", schedule="1s")

    wait_for(lambda: Run.objects.filter(state="queued").count() >= 3, what="three runs recorded without a broker")
    row.refresh_from_db()
    assert row.total_run_count == 0

    start_worker(env=SAMPLES)
    start_beat()
    wait_for(trace.exists, what="the message, once there is a broker")
    wait_for(lambda: Run.objects.filter(state="succeeded").count() >= 3, what="the runs, once there is a broker")


def test_a_failing_run_is_tried_again_after_a_backoff(
    save: Save, request_run: Request, start_worker: Start, start_beat: Start
) -> None:
    start_worker()
    start_beat()
    save(run='test "$JOBSCHED_ATTEMPT" = 3', retries={"max": 3, "backoff": "1s"})

    run = ended(request_run())

    assert (run.state, run.attempt) == ("succeeded", 3)
    assert path(run) == ["queued", *["running", "scheduled", "queued"] * 2, "running", "succeeded"]


def test_a_killed_workers_run_is_performed_by_another(
    save: Save, request_run: Request, start_worker: Start, start_beat: Start, tmp_path: Path
) -> None:
    first = start_worker(env=SHORT_LEASE)
    start_beat(env=SHORT_LEASE)
    marker = f"{os.getpid()}.4242"
    save(run=f'test "$JOBSCHED_ATTEMPT" = 2 || (echo begun; setsid sleep {marker} & sleep {marker})', retries=0)
    run = running(request_run())
    wait_for(lambda: len(alive(marker)) >= 2, what="both sleeps")
    wait_for(lambda: OutputChunk.objects.filter(run=run).exists(), what="output of the run under way")

    first.kill_alone()
    wait_for(lambda: not alive(marker), timeout=5, what="the death of the whole tree")
    start_worker(env=SHORT_LEASE)

    run = ended(run)
    assert (run.state, run.attempt) == ("succeeded", 2)
    lost, second = attempts(run)
    assert (lost.verdict, second.verdict) == ("lost", "succeeded")
    assert "was lost" in lost.reason and lost.output == "begun\n"


def test_what_must_not_be_repeated_fails_when_its_worker_is_lost(
    save: Save, request_run: Request, start_worker: Start, start_beat: Start
) -> None:
    worker = start_worker(env=SHORT_LEASE)
    start_beat(env=SHORT_LEASE)
    save(run="sleep 60", on_lost="fail", retries=5)
    run = running(request_run())

    worker.kill_alone()

    run = ended(run)
    assert (run.state, run.attempt, [a.verdict for a in attempts(run)]) == ("failed", 1, ["lost"])


def test_a_frozen_worker_loses_its_run_and_its_process(
    save: Save, request_run: Request, start_worker: Start, start_beat: Start
) -> None:
    frozen = start_worker(env=SHORT_LEASE)
    start_beat(env=SHORT_LEASE)
    marker = f"{os.getpid()}.5151"
    save(run=f'test "$JOBSCHED_ATTEMPT" = 2 || sleep {marker}')
    run = running(request_run())
    wait_for(lambda: alive(marker), what="the sleep")
    slots = psutil.Process(frozen.pid).children()

    for process in (psutil.Process(frozen.pid), *slots):
        process.suspend()
    wait_for(lambda: not alive(marker), what="the end of the work by its own deadline")
    start_worker(env=SHORT_LEASE)
    assert ended(run).attempt == 2
    for process in (*slots, psutil.Process(frozen.pid)):
        process.resume()

    wait_for(lambda: "result refused" in frozen.log(), what="the refusal of the frozen worker's result")
    run.refresh_from_db()
    assert (run.state, [a.verdict for a in attempts(run)]) == ("succeeded", ["lost", "succeeded"])


def test_a_running_run_is_cancelled_long_before_its_heartbeat(
    save: Save, request_run: Request, start_worker: Start
) -> None:
    start_worker(env={"JOBSCHED_LEASE_SECONDS": "600", "JOBSCHED_HEARTBEAT_SECONDS": "300"})
    marker = f"{os.getpid()}.6161"
    save(run=f"setsid sleep {marker} & sleep {marker}")
    run = running(request_run())
    wait_for(lambda: len(alive(marker)) >= 2, what="both sleeps")

    control.cancel([run.pk], actor="ada")

    run = ended(run, timeout=30)
    assert (run.state, run.cancel_requested_by, alive(marker)) == ("cancelled", "ada", [])


def test_a_stopping_worker_hands_its_run_back_with_no_attempt_lost(
    save: Save, request_run: Request, start_worker: Start, start_beat: Start
) -> None:
    start_beat()  # its hints reach the second worker, however long that takes to start
    first = start_worker()
    marker = f"{os.getpid()}.7171"
    save(run=f'test -e "$JOBSCHED_PARAM_FLAG" || sleep {marker}', retries=0, grace="1s")
    flag = Path(os.environ.get("TMPDIR", "/tmp")) / f"jobsched-test-{os.getpid()}"
    run = running(request_run(params={"flag": str(flag)}))
    wait_for(lambda: alive(marker), what="the sleep")

    first.signal(signal.SIGTERM)
    wait_for(lambda: Run.objects.filter(pk=run.pk, state="queued").exists(), what="the run back in its queue")
    flag.touch()
    try:
        start_worker()
        start = ended(run)
    finally:
        flag.unlink()

    assert (start.state, start.handed_back) == ("succeeded", 1)
    assert [a.verdict for a in attempts(run)] == ["handed_back", "succeeded"]


def test_a_stopping_worker_lets_a_run_end_within_its_own_grace(
    save: Save, request_run: Request, start_worker: Start
) -> None:
    worker = start_worker(env={"JOBSCHED_STOP_GRACE_SECONDS": "60"})
    save(run="echo begun; sleep 3; echo done")
    run, waiting = running(request_run()), request_run()
    wait_for(lambda: OutputChunk.objects.filter(run=run).exists(), what="its first line")

    worker.signal(signal.SIGTERM)

    run = ended(run)
    assert (run.state, [a.output for a in attempts(run)]) == ("succeeded", ["begun\ndone\n"])
    waiting.refresh_from_db()
    assert waiting.state == "queued"


def test_a_stopping_worker_interrupts_a_trusted_callable_and_hands_it_back(
    save: Save, request_run: Request, start_worker: Start
) -> None:
    worker = start_worker(env=SAMPLES)
    save(call="sample.trusted-slow", params={"seconds": 120})
    run = running(request_run())

    worker.signal(signal.SIGTERM)

    wait_for(lambda: Run.objects.filter(pk=run.pk, state="queued").exists(), what="the run back in its queue")
    run.refresh_from_db()
    assert (run.handed_back, [a.verdict for a in attempts(run)]) == (1, ["handed_back"])


def test_a_stopping_worker_lets_what_must_not_be_repeated_come_to_its_end(
    save: Save, request_run: Request, start_worker: Start
) -> None:
    worker = start_worker()
    save(run="echo once; sleep 3; echo done", on_lost="fail", grace="1s")
    run = running(request_run())
    wait_for(lambda: OutputChunk.objects.filter(run=run).exists(), what="its first line")

    worker.signal(signal.SIGTERM)

    run = ended(run)
    assert (run.state, [a.output for a in attempts(run)]) == ("succeeded", ["once\ndone\n"])


def test_an_urgent_run_overtakes_those_that_wait(
    save: Save, request_run: Request, start_worker: Start, start_beat: Start
) -> None:
    save("Ordinary", run="true")
    save("Urgent", run="true", priority=9)
    waiting = control.trigger_many(job="Ordinary", count=20, actor="test")
    urgent = request_run("Urgent")

    start_worker()
    start_beat()  # its sweep finds what was queued before any worker ran

    for run in waiting:
        ended(run)
    ended(urgent)
    assert urgent.started_at is not None
    assert all(run.started_at and urgent.started_at < run.started_at for run in waiting)


def test_a_long_in_process_run_does_not_hold_up_its_batch(
    save: Save, request_run: Request, start_worker: Start, start_beat: Start
) -> None:
    save("Quick", call="sample.trusted")
    save("Long", call="sample.trusted-slow", params={"seconds": 6}, timeout="1m")
    control.trigger_many(job="Quick", count=200, actor="test")  # so that batches grow
    long = request_run("Long", priority=1)
    behind = [request_run("Quick", priority=0) for _ in range(20)]

    start_worker(concurrency=2, env=SAMPLES)
    start_beat()

    for run in behind:
        ended(run)
    long.refresh_from_db()
    assert long.state == "running"
    assert ended(long).state == "succeeded"


def test_lost_hints_cost_no_run(save: Save, start_worker: Start, start_beat: Start, request_run: Request) -> None:
    save(run="true")
    run = request_run()
    Run.objects.filter(pk=run.pk).update(reason="")
    start_worker()  # the hint may be gone by now: hints expire
    start_beat()
    assert ended(run).state == "succeeded"
