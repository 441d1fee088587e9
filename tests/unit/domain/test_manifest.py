"""The file of jobs, as users write it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsched.domain.errors import InvalidInput
from jobsched.domain.manifest import MOST_PROBLEMS, parse

FROM_A_USER = """\
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


def test_a_file_as_users_of_such_systems_write_it_works_as_it_stands() -> None:
    file = parse(FROM_A_USER, filename="jobs.yaml")
    assert file.project == "default"
    build, cleanup = file.jobs
    assert (build.name, build.kind, build.schedule, build.run_once) == ("BuildAndTest", "steps", "0 0 * * *", False)
    assert [(step["name"], step["run"]) for step in build.spec["steps"]] == [
        ("Set up Go", "go mod"),
        ("Build", "go build -v ./..."),
        ("Test", "go test -v ./..."),
    ]
    assert (cleanup.name, cleanup.schedule, cleanup.run_once) == ("NightlyCleanup", "0 2 * * *", True)
    assert cleanup.spec == {"steps": [{"name": "Cleanup", "run": "./cleanup_script.sh"}]}


def test_a_file_may_name_a_project() -> None:
    assert parse("project: shop\njobs: [{name: a, run: b}]", filename="f").project == "shop"


def test_bytes_and_text_are_the_same() -> None:
    assert parse(FROM_A_USER.encode(), filename="f") == parse(FROM_A_USER, filename="f")


ONE_PROBLEM = [
    ("", "jobs.yaml: the file is empty; it must have the key 'jobs' with a list of jobs"),
    ("# nothing\n", "jobs.yaml: the file is empty; it must have the key 'jobs' with a list of jobs"),
    ("- name: a\n  run: b\n", "jobs.yaml:1: the file is a list; put it under the key 'jobs'"),
    ("hello", "jobs.yaml:1: the file must have the key 'jobs' with a list of jobs"),
    ("project: x\n", "jobs.yaml:1: the key 'jobs' is missing; it holds the list of jobs"),
    ("jobs:\n", "jobs.yaml:1: key 'jobs': must be a list with at least one job"),
    ("jobs: []\n", "jobs.yaml:1: key 'jobs': must be a list with at least one job"),
    ("jobs: {a: b}\n", "jobs.yaml:1: key 'jobs': must be a list with at least one job"),
    ("jobs:\n- build\n", "jobs.yaml:2: job 1 must be a mapping with a name and what to do"),
    (
        "jobs: [{name: a, run: b}]\nprojekt: x\n",
        "jobs.yaml:2: key 'projekt': is not known; beside 'jobs' there is only 'project'; did you mean 'project'?",
    ),
    (
        "project: a/b\njobs: [{name: a, run: b}]\n",
        "jobs.yaml:1: key 'project': 'a/b' is not allowed: a name has up to 100 letters, digits, spaces, dots, dashes "
        "and underscores, a letter or digit first",
    ),
    (
        "project: 5\njobs: [{name: a, run: b}]\n",
        "jobs.yaml:1: key 'project': must be text, but 5 is read as a number; put it in quotes",
    ),
    ("jobs:\n- run: b\n", "jobs.yaml:2: job 1, key 'name': is missing"),
    (
        "jobs:\n- name: a\n  run: b\n- run: c\n  name: a\n",
        "jobs.yaml:5: job 'a', key 'name': is the name of two jobs, the first in line 2; rename one",
    ),
    (
        "jobs:\n- name: a\n  run: b\n  call: c\n",
        "jobs.yaml:2: job 'a': has run and call; give exactly one of run, steps, http, call, task",
    ),
    (
        "jobs:\n- name: a\n  run: b\n  schedule: 61 * * * *\n",
        "jobs.yaml:4: job 'a', key 'schedule': '61 * * * *' is not a cron string: minute 61 is outside 0-59",
    ),
    (
        "jobs:\n- name: a\n  run: b\n  schedule: 90\n",
        "jobs.yaml:4: job 'a', key 'schedule': 90 has no unit; write 90s for every 90 seconds, or a cron string",
    ),
    (
        "jobs:\n- name: a\n  run: b\n  timezone: Europe/Berln\n  schedule: 0 0 * * *\n",
        "jobs.yaml:4: job 'a', key 'timezone': 'Europe/Berln' is not a time zone; did you mean 'Europe/Berlin'?",
    ),
    (
        "jobs:\n- name: a\n  steps:\n  - name: x\n    run: y\n  - name: z\n    rum: y\n    run: y\n",
        "jobs.yaml:7: job 'a', key 'steps', entry 2, 'rum': is not known; did you mean 'run'?",
    ),
    (
        "jobs:\n- name: a\n  run: 5\n",
        "jobs.yaml:3: job 'a', key 'run': must be text, but 5 is read as a number; put it in quotes",
    ),
    (
        "jobs:\n- name: a\n  run: b\n  paused: yes\n",
        "jobs.yaml:4: job 'a', key 'paused': must be true or false, not 'yes'",
    ),
    (
        "jobs:\n- name: a\n  run: b\n  timeout:\n",
        "jobs.yaml:4: job 'a', key 'timeout': is empty; write none for no time limit",
    ),
    ("jobs:\n- name: a\n  run:\n", "jobs.yaml:3: job 'a', key 'run': is empty; give a value or leave the key out"),
    (
        "jobs:\n- name: a\n  run: b\n  timeout: 1:30\n",
        "jobs.yaml:4: job 'a', key 'timeout': '1:30' is not a duration; write a number and a unit (d, h, m, s or ms), "
        "largest first, such as 90s or 1h30m",
    ),
    (
        "jobs:\n- name: a\n  run: b\n  at: 2026-12-01\n",
        "jobs.yaml:4: job 'a', key 'at': '2026-12-01' is not a moment; write a date and a time, "
        "such as 2026-12-01 03:00",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), ONE_PROBLEM)
def test_a_problem_is_one_sentence_with_file_line_job_and_key(text: str, sentence: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(text, filename="jobs.yaml")
    error = caught.value
    assert str(error) == sentence
    assert str(error) == f"{error.where}: {error.message}"


def test_all_problems_are_told_in_the_order_of_the_file() -> None:
    text = "jobs:\n- name: a\n  priority: 10\n  run: b\n- name: c\n- name: d\n  shedule: 1h\n  run: 5\n"
    with pytest.raises(InvalidInput) as caught:
        parse(text, filename="f.yaml")
    assert str(caught.value).splitlines() == [
        "f.yaml:3: job 'a', key 'priority': 10 is too large; the most is 9",
        "f.yaml:5: job 'c': says nothing to do; give exactly one of run, steps, http, call, task",
        "f.yaml:7: job 'd', key 'shedule': is not known; did you mean 'schedule'?",
        "f.yaml:8: job 'd', key 'run': must be text, but 5 is read as a number; put it in quotes",
    ]


def test_of_very_many_problems_the_first_are_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse("jobs:\n" + "- x\n" * (MOST_PROBLEMS + 3), filename="f")
    *told, rest = str(caught.value).splitlines()
    assert len(told) == MOST_PROBLEMS
    assert rest == "… and 3 more problems"


def test_a_megabyte_of_jobs_is_read() -> None:
    text = "jobs:\n" + "".join(f"- name: job {n}\n  run: make {n}\n  schedule: 1h\n" for n in range(2000))
    assert len(parse(text, filename="f").jobs) == 2000


YAML_PIECES = st.lists(
    st.sampled_from(
        [*"[]{}:,-?&*!|>'\"#%@`\n\t ~\0", "a", "jobs", "name", "run", "- ", ": ", "  ", "\n- ", "&a ", "*a", "<<"]
    ),
    max_size=40,
).map("".join)


@given(YAML_PIECES | st.text(max_size=60) | st.binary(max_size=60))
@settings(max_examples=200)
def test_whatever_is_in_a_file_there_is_an_answer_in_words(text: str | bytes) -> None:
    try:
        parse(text, filename="f")
    except InvalidInput as error:
        assert str(error).startswith("f")
