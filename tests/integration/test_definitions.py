"""Jobs come and go through one door, whoever knocks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobs.models import Definition, Job, Run, Schedule
from jobs.services import control, definitions, scheduling
from jobs.services.definitions import Result
from jobsched import callables
from jobsched.allowed_modules import AllowedModules
from jobsched.domain.errors import InvalidInput
from jobsched.domain.manifest import parse_job

pytestmark = pytest.mark.django_db

FILE = """
jobs:
  - name: BuildAndTest
    schedule: "0 0 * * *"  # Every day at midnight
    run_once: false         # Run multiple times
    steps:
      - name: Set up Go
        run: go mod

      - name: Build
        run: go build -v ./...

      - name: Test
        run: go test -v ./...
  - name: NightlyCleanup
    schedule: "0 2 * * *"
    run_once: true          # only once: at the next 02:00
    steps:
      - name: Cleanup
        run: ./cleanup_script.sh
"""


def save(**data: Any) -> Result:
    return definitions.save(parse_job({"name": "Job", "run": "true", **data}), actor="ada").result


def test_the_file_that_users_write_today_is_applied_as_it_stands() -> None:
    def applied() -> list[str]:
        return [a.result for a in definitions.apply(FILE, filename="jobs.yaml", actor="ada")]

    assert applied() == ["created", "created"]
    assert applied() == ["unchanged", "unchanged"]

    build, cleanup = Job.objects.order_by("name")
    assert [step["name"] for step in build.spec["steps"]] == ["Set up Go", "Build", "Test"]
    assert build.schedule.periodic_task.crontab.hour == "0"
    assert (build.schedule.periodic_task.one_off, cleanup.schedule.periodic_task.one_off) == (False, True)
    scheduling.refresh_edited()
    midnight = Schedule.objects.get(job=build).next_fire_at
    assert midnight is not None and (midnight.hour, midnight.minute) == (0, 0)


def test_a_bad_job_in_a_file_leaves_nothing_applied() -> None:
    bad = FILE + "  - name: Other\n    run: 'true'\n    queue: nobody\n"
    with pytest.raises(InvalidInput, match="no worker serves the queue 'nobody'"):
        definitions.apply(bad, filename="jobs.yaml", actor="ada")
    assert not Job.objects.exists() and not PeriodicTask.objects.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"run": "false"},
        {"priority": 9},
        {"timeout": "5m"},
        {"retries": 2},
        {"env": {"A": "b"}},
        {"params": {"a": 1}},
        {"schedule": "90s"},
        {"schedule": "*/5 * * * *"},
        {"at": "2999-01-01 00:00"},
        {"paused": True},
    ],
)
def test_each_change_is_noticed_once(change: dict[str, Any]) -> None:
    assert save() is Result.CREATED
    assert save(**change) is Result.UPDATED
    assert save(**change) is Result.UNCHANGED
    assert save() is (Result.UNCHANGED if "paused" in change else Result.UPDATED)


def test_a_pause_outlasts_the_same_file() -> None:
    save()
    control.pause(Job.objects.get())
    assert save() is Result.UNCHANGED
    assert Job.objects.get().paused


def test_a_one_off_that_has_fired_is_not_started_again_by_the_same_file() -> None:
    save(schedule="1h", run_once=True)
    PeriodicTask.objects.update(enabled=False)
    assert save(schedule="1h", run_once=True) is Result.UNCHANGED
    assert not PeriodicTask.objects.get().enabled
    assert save(schedule="2h", run_once=True) is Result.UPDATED
    assert PeriodicTask.objects.get().enabled


def test_a_moment_in_the_past_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"job 'Job', key 'at': 2020-01-01 00:00:00 UTC lies in the past"):
        save(at="2020-01-01 00:00")
    assert not Job.objects.exists()


NEVER_DUE = [
    ({"schedule": "* * * * *", "end": "2020-01-01 00:00"}, "key 'end': 2020-01-01 00:00:00 UTC lies in the past"),
    ({"schedule": "1h", "start": "2019-01-01 00:00", "end": "2020-01-01 00:00"}, "key 'end': 2020-01-01"),
    (
        {"schedule": "0 3 29 2 *", "start": "2097-01-01 00:00", "end": "2103-01-01 00:00"},
        "key 'end': the first instant is 2104-02-29 03:00:00 UTC, and the schedule ends at 2103-01-01",
    ),
    ({"schedule": "0 3 L * *", "start": "2097-01-02 00:00", "end": "2097-01-31 03:00"}, "key 'end': the first instant"),
    ({"schedule": "RRULE:FREQ=DAILY;UNTIL=20200101"}, "key 'schedule': it has no instant after"),
    ({"schedule": "DTSTART:19970902T090000 RRULE:FREQ=DAILY;COUNT=10"}, "key 'schedule': it has no instant after"),
    (
        {"schedule": "DTSTART:20970902T090000 RRULE:FREQ=DAILY;COUNT=10", "start": "2098-01-01 00:00"},
        "key 'schedule': it has no instant after 2098-01-01 00:00:00 UTC",
    ),
    ({"at": "2097-12-25 03:00", "exclude": ["12-25"]}, "key 'exclude' or 'blackout': every instant from 2097-12-25"),
    ({"schedule": "0 3 * * *", "blackout": ["02:00-04:00"]}, "key 'exclude' or 'blackout': every instant from"),
    ({"schedule": "0 3 * * *", "blackout": ["mon-sun"]}, "every instant from"),
    ({"schedule": "0 3 * * sat", "exclude": ["01-01..12-31"]}, "every instant from"),
    ({"schedule": "1s", "end": "2097-01-01 00:00", "exclude": ["2020-01-01..2097-01-01"]}, "every instant from"),
    ({"schedule": "RRULE:FREQ=MINUTELY", "timezone": "Europe/Berlin", "blackout": ["00:00-24:00"]}, "every instant"),
]


@pytest.mark.parametrize(("keys", "reason"), NEVER_DUE)
def test_a_schedule_without_an_instant_to_come_is_refused(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        save(**keys)
    assert not Job.objects.exists()
    found = definitions.preview(parse_job({"name": "Job", "run": "true", **keys}))
    assert found.fires == []
    assert reason in found.warnings[0].sentence


def test_a_schedule_with_one_instant_to_come_is_accepted() -> None:
    save(schedule="3650d", start="2097-01-01 00:00", end="2097-01-01 00:00:01")
    save(schedule="0 3 * * *", blackout=["tue-sun"])
    save(schedule="0 3 * * *", exclude=["01-02..12-31"])
    save(at="2097-12-25 03:00", exclude=["2096-12-25"])


def test_a_schedule_that_is_over_is_kept_when_the_same_file_is_applied() -> None:
    save(schedule="1h", end="2097-01-01 00:00")
    PeriodicTask.objects.update(expires=datetime(2020, 1, 1, tzinfo=UTC))
    assert save(schedule="1h", end="2020-01-01 00:00") is Result.UNCHANGED
    with pytest.raises(InvalidInput, match="lies in the past"):
        save(schedule="2h", end="2020-01-01 00:00")


def test_exclusions_that_leave_nothing_are_refused_when_they_are_added() -> None:
    save(schedule="0 3 * * *")
    with pytest.raises(InvalidInput, match="every instant from"):
        save(schedule="0 3 * * *", blackout=["02:00-04:00"])


def test_a_schedule_that_is_left_out_goes() -> None:
    save(schedule="1h")
    save()
    assert not PeriodicTask.objects.exists() and not Schedule.objects.exists()


def test_schedules_share_rows_and_leave_those_of_others_alone() -> None:
    theirs = CrontabSchedule.objects.create(minute="0", hour="0")
    definitions.save(parse_job({"name": "A", "run": "true", "schedule": "0 0 * * *"}), actor="ada")
    definitions.save(parse_job({"name": "B", "run": "true", "schedule": "0 0 * * *"}), actor="ada")
    assert set(PeriodicTask.objects.values_list("crontab", flat=True)) == {theirs.pk}


@pytest.mark.parametrize(
    "data",
    [
        {"run": "echo hello"},
        {"run": "true", "schedule": "1h30m", "queue": "default", "priority": 9, "timeout": "2m", "retries": 3},
        {"steps": [{"name": "one", "run": "true", "timeout": "30s", "env": {"A": "b"}}], "schedule": "5 4 * * 1-5"},
        {"http": {"url": "http://127.0.0.1/x", "method": "POST", "body": {"a": 1}, "expected_status": [204]}},
        {
            "call": "tests.sample_callables:add",
            "params": {"a": 2},
            "timezone": "Europe/Berlin",
            "schedule": "0 3 * * *",
        },
        {"run": "true", "at": "2999-01-01T00:00:00Z", "on_lost": "fail", "paused": True, "description": "d"},
        {"run": "true", "timeout": "none", "grace": "0s", "env": {"A": "b"}},
    ],
)
def test_a_job_is_shown_as_it_was_given(data: dict[str, Any]) -> None:
    spec = parse_job({"name": "Job", **data})
    definitions.save(spec, actor="ada")

    shown = definitions.manifest(Job.objects.get())

    json.dumps(shown)
    assert definitions.save(parse_job(shown), actor="ada").result is Result.UNCHANGED
    assert set(shown) <= {"name", *data} and shown["name"] == "Job"


def test_a_preview_tells_the_next_instants_in_words() -> None:
    spec = parse_job({"name": "Job", "run": "true", "schedule": "0 0 * * *"})
    preview = definitions.preview(spec)
    assert len(preview.fires) == 5 and all((f.hour, f.minute) == (0, 0) for f in preview.fires)
    assert preview.words == "at 00:00 every day, UTC"
    definitions.save(spec, actor="ada")
    assert definitions.preview_of(Job.objects.get()).fires == preview.fires


def test_a_removed_job_leaves_its_history_and_its_name() -> None:
    save(schedule="1h")
    job = Job.objects.get()
    run = control.trigger(job="Job", actor="ada")

    definitions.remove(job, actor="ada")

    run.refresh_from_db()
    assert (run.state, run.reason) == ("cancelled", "cancelled by ada")
    assert not PeriodicTask.objects.exists()
    assert Definition.objects.filter(job=job).exists()
    assert save() is Result.CREATED
    assert (Job.objects.count(), Job.objects.current().count(), Run.objects.count()) == (2, 1, 1)


def test_a_trusted_callable_is_marked_and_an_unknown_one_refused() -> None:
    with pytest.raises(InvalidInput, match="key 'call'"):
        definitions.save(parse_job({"name": "Job", "call": "tests.nowhere:nothing"}), actor="ada")
    definitions.save(parse_job({"name": "Job", "call": "tests.sample_callables:add"}), actor="ada")
    assert not Job.objects.get().in_process
    definitions.save(parse_job({"name": "Job", "call": "tests.sample_callables:trusted"}), actor="ada")
    assert Job.objects.get().in_process


@pytest.mark.parametrize(
    "call", ["os:getenv", "subprocess:getoutput", "jobs.services.control:trigger", "tests.sample_callables:time.sleep"]
)
def test_a_callable_that_is_not_the_projects_is_refused_when_a_job_is_saved(call: str) -> None:
    text = f"jobs:\n- name: Job\n  call: {call}\n"
    with pytest.raises(InvalidInput, match=r"job 'Job', key 'call': .*(is not allowed|leads through)"):
        definitions.apply(text, filename="jobs.yaml", actor="ada")
    assert not Job.objects.exists()


def test_a_module_that_raises_while_it_is_imported_is_the_authors_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text("raise SystemExit('this is a script')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(callables, "_policy", callables._Policy())
    callables.allow(lambda: AllowedModules(names=("broken_module",)))
    with pytest.raises(InvalidInput, match="cannot be imported: SystemExit: this is a script"):
        definitions.save(parse_job({"name": "Job", "call": "broken_module:f"}), actor="ada")


@pytest.mark.parametrize("task", ["celery.map", "celery.starmap", "celery.group", "celery.chord", "celery.chain"])
def test_a_task_of_celery_itself_which_runs_any_other_cannot_be_a_job(task: str) -> None:
    with pytest.raises(InvalidInput, match=rf"key 'task': the task '{task}' belongs to Celery or jobsched"):
        definitions.save(parse_job({"name": "Job", "task": task}), actor="ada")


def test_an_interval_counts_from_the_schedules_own_origin() -> None:
    save(schedule="90s")
    schedule = Schedule.objects.get()
    scheduling.refresh_edited()
    schedule.refresh_from_db()
    assert schedule.next_fire_at == schedule.anchor + timedelta(seconds=90)
    assert abs(schedule.anchor - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_task_that_carries_hints_cannot_be_a_job() -> None:
    with pytest.raises(InvalidInput, match=r"key 'task': the task 'jobs\.work' belongs to Celery or jobsched itself"):
        definitions.save(parse_job({"name": "Job", "task": "jobs.work"}), actor="ada")


@pytest.mark.parametrize("work", [{"call": "tests.sample_callables:add"}, {"task": "sample.add"}])
def test_the_env_of_trusted_code_cannot_lead_it_to_another_server(work: dict[str, Any]) -> None:
    spec = parse_job({"name": "Job", "env": {"PGHOSTADDR": "192.0.2.1"}, **work})
    with pytest.raises(InvalidInput, match="key 'env': the env of a call or task cannot set 'PGHOSTADDR'"):
        definitions.save(spec, actor="ada")
    definitions.save(parse_job({"name": "Job", "env": {"PGHOSTADDR": "192.0.2.1"}, "run": "psql"}), actor="ada")
