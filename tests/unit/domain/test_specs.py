"""Jobs as users describe them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jobsched.domain.catchup import CatchUp
from jobsched.domain.errors import InvalidInput
from jobsched.domain.manifest import parse_job
from jobsched.domain.specs import SPECS, JobSpec
from jobsched.domain.timetables import Crontab, Every, Once

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)


def job(**keys: Any) -> JobSpec:
    keys = {"name": "job", **keys}
    if not keys.keys() & {"run", "steps", "http", "call", "task"}:
        keys["run"] = "true"
    return parse_job(keys)


KINDS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"run": "go build"}, "shell", {"command": "go build"}),
    (
        {
            "steps": [
                {"name": "Build", "run": "go build"},
                {"name": "Test", "run": "go test", "timeout": "1m", "env": {"A": 1}},
            ]
        },
        "steps",
        {
            "steps": [
                {"name": "Build", "run": "go build"},
                {"name": "Test", "run": "go test", "env": {"A": "1"}, "timeout_seconds": 60.0},
            ]
        },
    ),
    (
        {"http": "https://example.com/health"},
        "http",
        {
            "url": "https://example.com/health",
            "method": "GET",
            "headers": {},
            "timeout_seconds": 30.0,
            "max_bytes": 1048576,
            "follow_redirects": True,
        },
    ),
    (
        {
            "http": {
                "url": "http://[::1]:${params.port}/x",
                "method": "POST",
                "headers": {"X-Number": 5},
                "body": {"a": [1, None]},
                "expected_status": 201,
                "timeout": "2s",
                "max_bytes": 10,
                "follow_redirects": False,
            }
        },
        "http",
        {
            "url": "http://[::1]:${params.port}/x",
            "method": "POST",
            "headers": {"X-Number": "5"},
            "body": {"a": [1, None]},
            "expected_status": [201],
            "timeout_seconds": 2.0,
            "max_bytes": 10,
            "follow_redirects": False,
        },
    ),
    ({"call": "shop.jobs:remind"}, "python", {"call": "shop.jobs:remind"}),
    ({"call": "remind-all"}, "python", {"call": "remind-all"}),
    ({"task": "shop.tasks.remind"}, "celery", {"task": "shop.tasks.remind", "args": []}),
    (
        {"task": "shop.tasks.remind", "args": [1, {"a": None}]},
        "celery",
        {"task": "shop.tasks.remind", "args": [1, {"a": None}]},
    ),
]


@pytest.mark.parametrize(("keys", "kind", "spec"), KINDS)
def test_each_way_to_say_what_to_do_becomes_what_its_executor_reads(
    keys: dict[str, Any], kind: str, spec: dict[str, Any]
) -> None:
    given_ = job(**keys)
    assert (given_.kind, given_.spec) == (kind, spec)
    assert SPECS[kind].model_validate(spec).to_spec() == spec


def test_defaults() -> None:
    plain = job()
    assert (plain.queue, plain.priority, plain.timezone, plain.on_lost) == ("default", 5, "UTC", "retry")
    assert (plain.timeout, plain.grace) == (timedelta(hours=1), timedelta(seconds=10))
    assert (plain.retries.max, plain.env, plain.params, plain.paused) == (0, {}, {}, False)
    assert plain.timetable(anchor=ANCHOR) is None


def test_the_keys_that_were_given_are_known() -> None:
    assert job(task="a.b", retries=0).model_fields_set == {"name", "task", "retries"}


@pytest.mark.parametrize(
    ("keys", "timetable"),
    [
        ({"schedule": "90s"}, Every(period=timedelta(seconds=90), anchor=ANCHOR)),
        (
            {"schedule": "0 2 * * *", "timezone": "Europe/Berlin"},
            Crontab(minute="0", hour="2", timezone=ZoneInfo("Europe/Berlin")),
        ),
        ({"at": "2026-12-01 03:00"}, Once(at=datetime(2026, 12, 1, 3, tzinfo=UTC))),
        ({"at": "2026-12-01 03:00", "timezone": "Europe/Berlin"}, Once(at=datetime(2026, 12, 1, 2, tzinfo=UTC))),
        (
            {"at": "2026-12-01T03:00:05Z", "timezone": "Europe/Berlin"},
            Once(at=datetime(2026, 12, 1, 3, 0, 5, tzinfo=UTC)),
        ),
        ({"at": "2026-12-01 03:00:00 +01:00"}, Once(at=datetime(2026, 12, 1, 2, tzinfo=UTC))),
        ({"at": datetime(2026, 12, 1, 3)}, Once(at=datetime(2026, 12, 1, 3, tzinfo=UTC))),
        (
            {"at": "2026-10-25 02:30+01:00", "timezone": "Europe/Berlin"},
            Once(at=datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        ),
    ],
)
def test_when_it_is_due(keys: dict[str, Any], timetable: Any) -> None:
    assert job(**keys).timetable(anchor=ANCHOR) == timetable


def test_without_a_word_about_it_the_latest_of_a_day_is_made_up_for_and_runs_overlap() -> None:
    plain = job()
    assert plain.catch_up == CatchUp(policy="latest", window=timedelta(days=1), limit=100)
    assert (plain.effective_overlap, plain.unique, plain.max_running, plain.rate) == ("allow", False, None, None)
    assert (plain.starts_at, plain.ends_at, plain.jitter, bool(plain.exclusions)) == (None, None, timedelta(0), False)


def test_a_word_for_catching_up_is_short_for_a_mapping() -> None:
    assert job(catch_up="all").catch_up == job(catch_up={"policy": "all"}).catch_up
    assert job(catch_up={"policy": "none", "window": "6h", "limit": 3}).catch_up == CatchUp(
        policy="none", window=timedelta(hours=6), limit=3
    )


def test_runs_of_one_key_wait_for_each_other_unless_the_job_says_more() -> None:
    assert job(concurrency_key="customer-{customer}").effective_overlap == "queue"
    assert job(concurrency_key="customer-{customer}", overlap="skip").effective_overlap == "skip"
    assert job(overlap="replace").effective_overlap == "replace"


def test_a_scheduled_job_with_a_key_gives_its_parameters_itself() -> None:
    keyed = job(schedule="1h", concurrency_key="{shop}-{customer}", params={"shop": "a", "customer": 7})
    assert keyed.concurrency_key == "{shop}-{customer}"


def test_the_span_of_a_schedule_is_read_in_its_zone() -> None:
    spanned = job(schedule="1h", timezone="Europe/Berlin", start="2026-12-01 00:00", end="2027-06-01 00:00")
    assert spanned.starts_at == datetime(2026, 11, 30, 23, tzinfo=UTC)
    assert spanned.ends_at == datetime(2027, 5, 31, 22, tzinfo=UTC)


def test_what_is_excluded_is_read_in_the_zone_of_the_job() -> None:
    closed = job(timezone="Europe/Berlin", exclude=["12-25"], blackout=["22:00-06:00"]).exclusions
    assert closed.reason(datetime(2026, 12, 24, 23, 30, tzinfo=UTC)) == "excluded: 12-25"
    assert closed.reason(datetime(2026, 12, 26, 21, 30, tzinfo=UTC)) == "blackout 22:00-06:00 (Europe/Berlin)"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "key 'name': '' is not allowed: a name has up to 100"),
    ({"name": "a/b"}, "a letter or digit first"),
    ({"name": "a\n"}, "is not allowed"),
    ({"name": "a" * 101}, "up to 100"),
    ({"run": ""}, "key 'run': is empty"),
    ({"run": "x" * 100_001}, "key 'run': has 100001 bytes"),
    ({"run": 5}, "must be text, but 5 is read as a number; put it in quotes"),
    ({"run": True}, "must be text, but true is read as true or false; put it in quotes"),
    ({"run": ["a"]}, "key 'run': must be text, not a list"),
    ({"run": "a", "call": "a:b"}, "has run and call; give exactly one of run, steps, http, call, task"),
    ({"steps": []}, "key 'steps': is empty"),
    ({"steps": "make"}, "key 'steps': must be a list, not 'make'"),
    ({"steps": ["make"]}, "key 'steps', entry 1: must be a mapping, not 'make'"),
    ({"steps": [{"name": "a"}]}, "key 'steps', entry 1, 'run': is missing"),
    ({"steps": [{"name": "a", "run": "x", "rum": "y"}]}, "'rum': is not known; did you mean 'run'?"),
    ({"steps": [{"name": "a", "run": "x"}, {"name": "a", "run": "y"}]}, "two steps are named 'a'"),
    ({"steps": [{"name": "a", "run": "x", "timeout": "0s"}]}, "must be longer than 0s"),
    ({"http": "ftp://a/b"}, "key 'http', 'url': this is not a URL of http or https"),
    ({"http": "http://"}, "this is not a URL"),
    ({"http": "http://a:99999/"}, "this is not a URL"),
    ({"http": "http://a/b c"}, "holds a space"),
    ({"http": "http://a/${b}"}, "must be \\${params.NAME}"),
    ({"http": "http://a/" + "b" * 4000}, "at most 4000 characters"),
    ({"http": {"url": "http://a", "method": "BREW"}}, "'BREW' is not allowed; it must be 'GET'"),
    ({"http": {"url": "http://a", "headers": {"a b": "c"}}}, "cannot name a header"),
    ({"http": {"url": "http://a", "headers": {"a": "b\r\nc: d"}}}, "holds a line break"),
    ({"http": {"url": "http://a", "expected_status": 99}}, "99 is too small; the least is 100"),
    ({"http": {"url": "http://a", "timout": "1s"}}, "did you mean 'timeout'?"),
    ({"http": {}}, "key 'http', 'url': is missing"),
    ({"http": 5}, "key 'http': must be a mapping, not 5"),
    ({"call": "a:b:c"}, "neither package.module:function nor"),
    ({"call": "a b"}, "neither package.module:function nor"),
    ({"call": "os;system:x"}, "neither package.module:function nor"),
    ({"task": ""}, "cannot name a Celery task"),
    ({"task": "a b"}, "cannot name a Celery task"),
    ({"args": [1]}, "key 'args': only a task has args"),
    ({"schedule": "61 * * * *"}, "key 'schedule': '61 \\* \\* \\* \\*' is not a cron string"),
    ({"schedule": 90}, "90 has no unit; write 90s"),
    ({"schedule": "1h", "at": "2026-12-01 03:00"}, "a schedule or one moment, not both"),
    ({"at": "2026-12-01"}, "write a date and a time"),
    ({"at": "tomorrow"}, "write a date and a time"),
    ({"at": 5}, "key 'at'"),
    ({"at": "2026-13-01 03:00"}, "is not a moment: month must be"),
    ({"at": "0001-01-01 00:00"}, "outside the years 1970 to 9998"),
    ({"at": "2026-03-29 02:30", "timezone": "Europe/Berlin"}, "does not exist in Europe/Berlin"),
    ({"at": "2026-10-25 02:30", "timezone": "Europe/Berlin"}, "comes twice in Europe/Berlin"),
    ({"run_once": True}, "key 'run_once': run_once needs a schedule"),
    ({"timezone": "Europe/Berln"}, "did you mean 'Europe/Berlin'?"),
    ({"timezone": "europe/berlin"}, "did you mean 'Europe/Berlin'?"),
    ({"timezone": "../etc/passwd"}, "is not a time zone"),
    ({"timezone": "localtime"}, "is not a time zone"),
    ({"start": "2026-12-01 03:00"}, "key 'start': start needs a schedule"),
    ({"end": "2026-12-01 03:00", "at": "2026-11-01 03:00"}, "key 'end': end needs a schedule"),
    (
        {"schedule": "1h", "start": "2026-03-29 02:30", "timezone": "Europe/Berlin"},
        "key 'start': 2026-03-29 02:30:00 does not exist in Europe/Berlin",
    ),
    (
        {"schedule": "1h", "start": "2026-12-02 03:00", "end": "2026-12-02 03:00Z"},
        "key 'end': 2026-12-02 03:00:00\\+00:00 is not after the start, 2026-12-02 03:00:00",
    ),
    (
        # Later on the clock, but the start is read in New York.
        {"schedule": "1h", "timezone": "America/New_York", "start": "2026-12-01 03:00", "end": "2026-12-01 04:00Z"},
        "is not after the start",
    ),
    ({"catch_up": "some"}, "key 'catch_up', 'policy': 'some' is not allowed; it must be 'none', 'latest' or 'all'"),
    ({"catch_up": 5}, "key 'catch_up': must be a mapping, not 5"),
    ({"catch_up": {"policy": "all", "window": "0s"}}, "key 'catch_up', 'window': must be longer than 0s"),
    ({"catch_up": {"limit": 0}}, "0 is too small; the least is 1"),
    ({"catch_up": {"limit": 10_001}}, "10001 is too large; the most is 10000"),
    ({"catch_up": {"polizy": "all"}}, "did you mean 'policy'?"),
    ({"jitter": "25h"}, "key 'jitter': 1d1h is too long; the most is 1d"),
    ({"exclude": "12-25"}, "key 'exclude': must be a list, not '12-25'"),
    ({"exclude": ["12-25", "christmas"]}, "key 'exclude', entry 2: 'christmas' is not a date"),
    ({"exclude": ["12-25"] * 1001}, "key 'exclude': is too long; the most is 1000"),
    ({"blackout": ["22-6"]}, "key 'blackout', entry 1: '22-6' is not a blackout"),
    ({"overlap": "wait"}, "it must be 'allow', 'skip', 'queue' or 'replace'"),
    ({"overlap": "allow", "concurrency_key": "a-{b}"}, "overlap: allow does not; leave overlap out"),
    ({"max_running": 0}, "0 is too small; the least is 1"),
    ({"concurrency_key": "a-{b"}, "key 'concurrency_key': 'a-{b' is not a concurrency key"),
    (
        {"concurrency_key": "a-{b}", "schedule": "1h", "params": {"c": 1}},
        "key 'concurrency_key': the concurrency key needs the parameter 'b'; give it in the job's params$",
    ),
    ({"concurrency_key": "a-{b}", "at": "2026-12-01 03:00", "params": {"b": []}}, "'b' is part of the concurrency key"),
    ({"unique": "yes"}, "must be true or false, not 'yes'"),
    ({"rate": "100"}, "key 'rate': '100' is not a rate; write a count and one of s, m, h and d, such as 100/m"),
    ({"rate": 100}, "must be text, but 100 is read as a number"),
    ({"queue": "Big"}, "a queue's name has"),
    ({"priority": 10}, "10 is too large; the most is 9"),
    ({"priority": -1}, "-1 is too small; the least is 0"),
    ({"priority": "5"}, "must be a whole number, not '5'"),
    ({"priority": True}, "must be a whole number, not true"),
    ({"timeout": "1:30"}, "is not a duration"),
    ({"timeout": 0}, "must be longer than 0s"),
    ({"grace": "-1s"}, "is not a duration"),
    ({"retries": "3"}, "key 'retries': must be a mapping, not '3'"),
    ({"retries": {"maximum": 3}}, "key 'retries', 'maximum': is not known"),
    ({"retries": {"failures": ["x"]}}, "key 'retries', 'failures', entry 1: 'x' is not allowed"),
    ({"on_lost": "again"}, "it must be 'retry' or 'fail'"),
    ({"env": {"A B": "x"}}, "cannot name a variable"),
    ({"env": {"1A": "x"}}, "cannot name a variable"),
    ({"env": {"JOBSCHED_RUN_ID": "x"}}, "belong to the scheduler"),
    ({"env": {"A": 1.5}}, "key 'env', 'A': must be text, but 1.5 is read as a number; put it in quotes"),
    ({"env": {"A": True}}, "put it in quotes"),
    ({"env": {"A": "x" * 100_001}}, "longer than 100000 bytes"),
    ({"env": ["A=b"]}, "key 'env': must be a mapping, not a list"),
    ({"env": {"A": "x\0"}}, "NUL"),
    ({"description": "\ud800"}, "half of a surrogate pair"),
    ({"params": [1]}, "key 'params': must be a mapping, not a list"),
    ({"params": {"a": float("nan")}}, "cannot be written as JSON"),
    ({"params": {"a": {1, 2}}}, "cannot be written as JSON"),
    ({"params": {"a": "x" * 100_001}}, "more than the 65536"),
    ({"params": {"a": {"b": ["\0"]}}}, "NUL"),
    ({"paused": "yes"}, "key 'paused': must be true or false, not 'yes'"),
    ({"bogus": 1}, "key 'bogus': is not known; known are name"),
    ({"shedule": "1h"}, "did you mean 'schedule'?"),
]


@pytest.mark.parametrize(("keys", "reason"), REFUSED)
def test_what_makes_no_sense_is_refused_with_key_and_reason(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        job(**keys)


def test_a_job_without_anything_to_do_is_refused() -> None:
    with pytest.raises(InvalidInput, match="job 'x': says nothing to do; give exactly one of run, steps"):
        parse_job({"name": "x"})


def test_a_job_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match="the job, key 'name': is missing"):
        parse_job({"run": "true"})


def test_all_problems_are_told_at_once_and_a_list_of_wrong_entries_is_not_called_empty() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_job({"name": "x", "steps": [{"name": "a"}], "priority": 10})
    assert str(caught.value).splitlines() == [
        "job 'x', key 'steps', entry 1, 'run': is missing",
        "job 'x', key 'priority': 10 is too large; the most is 9",
    ]


def test_neither_a_password_in_a_url_nor_any_input_gets_into_an_error() -> None:
    with pytest.raises(InvalidInput) as caught:
        job(http="ftp://user:hunter2@host/")
    assert "hunter2" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ValidationError)
    assert "hunter2" not in str(caught.value.__cause__)


def test_a_job_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        job().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("limit", [None, "none"])
def test_no_time_limit_is_said_with_a_word(limit: str | None) -> None:
    unlimited = job(timeout=limit)
    assert unlimited.timeout is None
    assert unlimited.to_manifest()["timeout"] == "none"


OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "description": st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20),
    "schedule": st.sampled_from(["90s", "0 2 * * *", "*/5 8-18 * * mon-fri"]),
    "timezone": st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
    "catch_up": st.sampled_from(["none", "latest", "all", {"policy": "all", "window": "90m", "limit": 5}, {}]),
    "jitter": st.sampled_from(["0s", "1d", 90]),
    "exclude": st.lists(st.sampled_from(["12-25", "2026-12-24..2027-01-02"]), max_size=2),
    "blackout": st.lists(st.sampled_from(["sat,sun", "22:00-06:00"]), max_size=2),
    "overlap": st.sampled_from(["skip", "queue", "replace"]),
    "max_running": st.integers(1, 10_000),
    "concurrency_key": st.just("only-one"),
    "unique": st.booleans(),
    "rate": st.sampled_from(["100/m", "1/d"]),
    "queue": st.sampled_from(["default", "big-1"]),
    "priority": st.integers(0, 9),
    "timeout": st.sampled_from(["90s", 5, "none"]),
    "grace": st.sampled_from(["0s", "1m30s"]),
    "retries": st.sampled_from([0, 3, {"max": 2, "backoff": "1s", "exit_codes": [1, 2]}]),
    "on_lost": st.sampled_from(["retry", "fail"]),
    "background": st.sampled_from(["warn", "fail", "ignore"]),
    "env": st.dictionaries(st.from_regex(r"[A-Z]{1,5}", fullmatch=True), st.integers() | st.just("text"), max_size=2),
    "params": st.dictionaries(
        st.text("ab", min_size=1), st.integers() | st.none() | st.lists(st.booleans()), max_size=2
    ),
    "paused": st.booleans(),
}


@given(st.sampled_from([keys for keys, _, _ in KINDS]), st.fixed_dictionaries({}, optional=OPTIONS))
@settings(max_examples=100)
def test_what_a_job_says_of_itself_reads_back_as_the_same_job(work: dict[str, Any], options: dict[str, Any]) -> None:
    first = job(**work, **options)
    again = parse_job(first.to_manifest())
    assert again == first
    assert again.model_fields_set == first.model_fields_set
