"""What every kind of job must do, and after it what each kind does besides."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobsched.domain.outcomes import Assignment, Report, Verdict
from jobsched.engine import Slot
from jobsched.shim.lease import lease_clock
from tests.conformance.executors.server import running
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, alive, assignment, call, marker, shell

CALLABLES = "tests.conformance.executors.callables:"
SECRET = "correct-horse-battery-staple"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How to have one kind of job do each thing. `{}` in a spec becomes the address of the HTTP server."""

    name: str
    good: dict[str, Any]
    bad: dict[str, Any]
    bad_reason: str
    slow: dict[str, Any]
    loud: dict[str, Any]
    malformed: tuple[dict[str, Any], ...]
    leaves: Callable[[str], dict[str, Any]] | None = None
    environment: dict[str, Any] | None = None


def steps(*commands: str) -> dict[str, Any]:
    return {"steps": [{"name": f"step {number}", "run": run} for number, run in enumerate(commands, 1)]}


KINDS = (
    Kind(
        name="shell",
        good={"command": "true"},
        bad={"command": "exit 3"},
        bad_reason="exit code 3",
        slow={"command": "sleep 60"},
        loud={"command": "echo hello; echo hello >&2"},
        malformed=({}, {"command": 5}, {"command": "true", "shell": "/no/such/shell"}, {"command": "a", "cwd": "/no"}),
        leaves=lambda unique: {"command": f"setsid sleep {unique} &"},
        environment={"command": "env; cat /proc/self/environ"},
    ),
    Kind(
        name="steps",
        good=steps("true", "true"),
        bad=steps("true", "exit 3", "true"),
        bad_reason="step 'step 2' failed: exit code 3",
        slow=steps("sleep 60", "true"),
        loud=steps("echo hello", "echo hello >&2"),
        malformed=({}, {"steps": []}, {"steps": "make"}, {"steps": [{"name": "x"}]}, {"steps": ["make"]}),
        leaves=lambda unique: steps(f"setsid sleep {unique} &"),
        environment=steps("env; cat /proc/self/environ"),
    ),
    Kind(
        name="python",
        good={"call": CALLABLES + "greet"},
        bad={"call": CALLABLES + "fail"},
        bad_reason="ValueError: the disk is full",
        slow={"call": CALLABLES + "wait"},
        loud={"call": CALLABLES + "greet"},
        malformed=({}, {"call": 1}, {"call": "unregistered"}, {"call": "no.such:thing"}, {"call": CALLABLES + "no"}),
        leaves=None,  # needs a parameter; see test_shim_tree
        environment=None,  # the project's own code keeps the environment of its worker
    ),
    Kind(
        name="http",
        good={"url": "{}/hello"},
        bad={"url": "{}/status?code=404"},
        bad_reason="GET {}/status answered 404 Not Found; expected 200 to 299",
        slow={"url": "{}/silent"},
        loud={"url": "{}/hello"},
        malformed=(
            {},
            {"url": "ftp://example.com/"},
            {"url": "not a url"},
            {"url": "{}/hello", "method": "GET /"},
            {"url": "{}/hello", "headers": {"a": "b\r\nc: d"}},
            {"url": "{}/hello", "expected_status": ["ok"]},
        ),
    ),
)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def slot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slot]:
    # As a worker has them: in the environment before the shim is forked.
    os.environ["JOBSCHED_TEST_SECRET"] = os.environ["AWS_SECRET_ACCESS_KEY"] = SECRET
    try:
        with Slot(workspace_dir=tmp_path_factory.mktemp("workspaces"), after_fork=_note_hook) as made:
            made.perform(shell("true"), ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)
            yield made
    finally:
        del os.environ["JOBSCHED_TEST_SECRET"], os.environ["AWS_SECRET_ACCESS_KEY"]


def _note_hook() -> None:
    os.environ["HOOK_CALLED"] = "yes"


Perform = Callable[..., Report]


@pytest.fixture
def perform(slot: Slot) -> Perform:
    def perform(work: Assignment, **watching: Any) -> Report:
        return slot.perform(work, ScriptedWatch(**watching), deadline=lease_clock() + LEASE_SECONDS)

    return perform


def at(address: str, spec: Any) -> Any:
    """Put the server's address in."""
    if isinstance(spec, dict):
        return {name: at(address, value) for name, value in spec.items()}
    return spec.replace("{}", address) if isinstance(spec, str) else spec


@every_kind
def test_success(kind: Kind, perform: Perform, address: str) -> None:
    outcome = perform(assignment(kind.name, at(address, kind.good))).outcome
    assert (outcome.verdict, outcome.reason) == (Verdict.SUCCEEDED, "")


@every_kind
def test_failure_says_what_is_wrong(kind: Kind, perform: Perform, address: str) -> None:
    outcome = perform(assignment(kind.name, at(address, kind.bad))).outcome
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, at(address, kind.bad_reason))
    assert not outcome.no_retry


@every_kind
def test_time_limit(kind: Kind, perform: Perform, address: str) -> None:
    report = perform(assignment(kind.name, at(address, kind.slow), timeout_seconds=0.4, grace_seconds=20.0))
    assert report.outcome.verdict is Verdict.TIMED_OUT
    assert report.outcome.reason == "ran longer than its limit of 0.4 s; ended by SIGTERM"


@every_kind
def test_cancel(kind: Kind, perform: Perform, address: str) -> None:
    work = assignment(kind.name, at(address, kind.slow), grace_seconds=20.0)
    report = perform(work, heartbeat_seconds=0.4, answer={"cancel_requested": True})
    assert report.outcome.verdict is Verdict.CANCELLED
    assert report.outcome.reason == "cancelled on request; ended by SIGTERM"


@every_kind
def test_output_is_kept(kind: Kind, perform: Perform, address: str) -> None:
    assert b"hello" in perform(assignment(kind.name, at(address, kind.loud))).output


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        pytest.param(kind, spec, id=f"{kind.name}-{number}")
        for kind in KINDS
        for number, spec in enumerate(kind.malformed)
    ],
)
def test_a_malformed_spec_is_a_final_failure_with_a_sentence(
    kind: Kind, spec: dict[str, Any], perform: Perform, address: str
) -> None:
    report = perform(assignment(kind.name, at(address, spec)))
    assert report.outcome.verdict is Verdict.FAILED
    assert report.outcome.no_retry
    assert len(report.outcome.reason) > 10
    assert b"Traceback" not in report.output


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.leaves], ids=lambda kind: kind.name)
def test_nothing_is_left_running(kind: Kind, perform: Perform) -> None:
    unique = marker()
    assert kind.leaves is not None
    report = perform(assignment(kind.name, kind.leaves(unique)))
    assert report.outcome.verdict is Verdict.SUCCEEDED
    assert not alive(unique)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.environment], ids=lambda kind: kind.name)
def test_programs_see_the_run_and_no_secret_of_the_worker(kind: Kind, perform: Perform) -> None:
    assert kind.environment is not None
    work = assignment(kind.name, kind.environment, params={"depth": 3, "user-name": "ann"}, env={"MODE": "fast"})
    output = perform(work).output.decode()
    assert SECRET not in output
    for line in (
        f"JOBSCHED_RUN_ID={work.run_id}",
        "JOBSCHED_JOB=probe",
        "JOBSCHED_PARAM_DEPTH=3",
        "JOBSCHED_PARAM_USER_NAME=ann",
        'JOBSCHED_PARAMS={"depth": 3, "user-name": "ann"}',
        "MODE=fast",
    ):
        assert line in output


# -- shell -------------------------------------------------------------------------------------------------


def test_a_command_killed_by_a_signal_says_which(perform: Perform) -> None:
    assert perform(shell("kill -9 $$")).outcome.reason == "killed by signal 9 (SIGKILL)"


def test_a_command_has_no_descriptor_but_the_standard_ones(perform: Perform) -> None:
    assert perform(shell("ls /proc/self/fd")).output.split() == [b"0", b"1", b"2", b"3"]  # 3 is the listing itself


def test_a_command_reads_nothing_from_the_worker(perform: Perform) -> None:
    assert perform(shell("cat; echo end")).output == b"end\n"


def test_a_command_has_the_usual_answer_to_a_closed_pipe(perform: Perform) -> None:
    assert perform(shell("(yes; echo status $? > status) | head -n 1; cat status")).output == b"y\nstatus 141\n"


def test_a_command_works_in_a_fresh_private_folder(perform: Perform) -> None:
    report = perform(shell("ls -A; stat -c %a .; touch mine; pwd"))
    mode, folder = report.output.decode().split()
    assert mode == "700"
    assert not Path(folder).exists()


def test_temporary_files_are_the_run_s_own_and_go_with_it(perform: Perform) -> None:
    report = perform(shell("mktemp; mktemp -d; python3 -c 'import tempfile; print(tempfile.mkstemp()[1])'; ls -A"))
    made = [Path(line) for line in report.output.decode().splitlines()]
    assert len(made) == 3 and len({file.parent for file in made}) == 1
    assert not any(file.exists() for file in made) and made[0].parent != Path("/tmp")


# -- steps -------------------------------------------------------------------------------------------------


def test_steps_share_a_folder_and_keep_their_output_apart(perform: Perform) -> None:
    report = perform(assignment("steps", steps("echo one; echo kept > file", "cat file; echo two >&2")))
    assert [section.output for section in report.sections] == ["one\n", "kept\ntwo\n"]
    assert report.output == b"one\nkept\ntwo\n"
    assert all(section.duration_seconds is not None for section in report.sections)


def test_steps_stop_at_the_first_failure(perform: Perform) -> None:
    report = perform(assignment("steps", steps("true", "exit 2", "echo never")))
    assert [section.verdict for section in report.sections] == [Verdict.SUCCEEDED, Verdict.FAILED, None]
    assert [section.exit_code for section in report.sections] == [0, 2, None]
    assert b"never" not in report.output


def test_the_time_limit_of_a_run_ends_the_step_and_the_rest_does_not_run(perform: Perform) -> None:
    work = assignment("steps", steps("trap 'exit 0' TERM; while :; do sleep 0.05; done", "echo never"))
    report = perform(Assignment.from_json({**work.to_json(), "timeout_seconds": 3.0}))
    assert report.outcome.verdict is Verdict.TIMED_OUT
    assert [section.verdict for section in report.sections] == [Verdict.TIMED_OUT, None]
    assert b"never" not in report.output


def test_a_step_that_must_be_killed_is_reported_as_timed_out(perform: Perform) -> None:
    work = assignment("steps", steps("true", "trap '' TERM; sleep 60"), timeout_seconds=3.0, grace_seconds=0.2)
    report = perform(work)
    assert [section.verdict for section in report.sections] == [Verdict.SUCCEEDED, Verdict.TIMED_OUT]


def test_a_step_may_have_a_time_limit_of_its_own(perform: Perform) -> None:
    unique = marker()
    step = {"name": "Test", "run": f"setsid sleep {unique} & sleep 60", "timeout_seconds": 0.4}
    report = perform(assignment("steps", {"steps": [step]}))
    assert report.outcome.verdict is Verdict.TIMED_OUT
    assert report.outcome.reason == "step 'Test' ran longer than its limit of 0.4 s; ended by SIGTERM"
    assert not alive(unique)


def test_a_step_may_have_variables_of_its_own(perform: Perform) -> None:
    spec = {"steps": [{"name": "a", "run": "echo $X", "env": {"X": "1"}}, {"name": "b", "run": "echo [$X]"}]}
    assert perform(assignment("steps", spec)).output == b"1\n[]\n"


# -- python ------------------------------------------------------------------------------------------------


def test_a_callable_takes_and_returns_json(perform: Perform) -> None:
    report = perform(call("greet", params={"name": "Ann"}))
    assert report.outcome.result == {"greeting": "hello Ann"}
    assert report.output == b"hello Ann\n"


@pytest.mark.parametrize(
    ("name", "params", "reason"),
    [
        ("exit_hard", {"code": 0}, "ended without a result (exit code 0)"),
        ("exit_hard", {"code": 4}, "exit code 4"),
        ("exit_politely", {"code": 4}, "exit code 4"),
        ("return_a_set", {}, "its result cannot be stored as JSON"),
        ("return_much", {}, "exceeds the limit"),
        ("greet", {"nonsense": 1}, "unexpected keyword argument"),
    ],
)
def test_a_callable_fails_with_a_sentence(perform: Perform, name: str, params: dict[str, Any], reason: str) -> None:
    outcome = perform(call(name, params=params)).outcome
    assert outcome.verdict is Verdict.FAILED
    assert reason in outcome.reason


def test_a_callable_may_exit_successfully(perform: Perform) -> None:
    assert perform(call("exit_politely", params={"code": 0})).outcome.verdict is Verdict.SUCCEEDED


def test_an_exception_is_named_and_its_traceback_shown(perform: Perform) -> None:
    report = perform(call("fail"))
    assert report.outcome.error == "ValueError"
    assert b"Traceback" in report.output and b"in fail" in report.output


def test_a_callable_may_ask_for_no_retry_or_a_later_one(perform: Perform) -> None:
    assert perform(call("give_up")).outcome.no_retry
    assert perform(call("come_back", params={"seconds": 90})).outcome.retry_after_seconds == 90


def test_a_result_can_be_stored_whatever_characters_it_has(perform: Perform) -> None:
    assert perform(call("return_nul")).outcome.result == {"a\ufffdb": "c\ufffdd?"}


def test_a_callable_that_forks_and_returns_twice_is_heard_once(perform: Perform) -> None:
    assert perform(call("fork_and_return")).outcome.result == "parent"


def test_the_hook_runs_before_a_callable(perform: Perform) -> None:
    assert perform(call("told_by_hook")).outcome.result == "yes"


def test_runs_do_not_share_their_random_numbers(perform: Perform) -> None:
    first, second = (perform(call("random_number")).outcome.result for _ in range(2))
    assert first != second


def test_a_callable_holds_no_connection_of_its_worker(tmp_path: Path) -> None:
    secret_file = tmp_path / "connection"
    with secret_file.open("w"), Slot(workspace_dir=tmp_path / "workspaces") as slot:
        report = slot.perform(call("own_descriptors"), ScriptedWatch(), deadline=lease_clock() + LEASE_SECONDS)
    targets = report.outcome.result
    assert str(secret_file) not in targets
    assert len([target for target in targets if target.startswith("socket:")]) == 1, "only the conversation"


# -- http --------------------------------------------------------------------------------------------------


def test_the_answer_is_summarised_and_its_body_is_the_output(perform: Perform, address: str) -> None:
    report = perform(assignment("http", {"url": f"{address}/hello"}))
    assert report.outcome.http_status == 200
    assert report.outcome.result["bytes"] == 6
    assert report.output == b"hello\n"


def test_a_json_body_is_sent_as_such(perform: Perform, address: str) -> None:
    spec = {"url": f"{address}/echo", "method": "post", "body": {"a": 1}, "headers": {"X-Test": "yes"}}
    output = perform(assignment("http", spec)).output.decode()
    assert "POST Content-Type: application/json" in output
    assert "POST X-Test: yes" in output
    assert output.endswith('{"a": 1}')


@pytest.mark.parametrize(("told", "seconds"), [("120", 120.0), ("soon", None), ("-5", 0.0)])
def test_a_busy_server_may_say_when_to_come_back(
    perform: Perform, address: str, told: str, seconds: float | None
) -> None:
    outcome = perform(assignment("http", {"url": f"{address}/status?code=503&retry_after={told}"})).outcome
    assert (outcome.http_status, outcome.retry_after_seconds) == (503, seconds)


def test_an_expected_status_is_a_success(perform: Perform, address: str) -> None:
    spec = {"url": f"{address}/status?code=404", "expected_status": [404, 410]}
    assert perform(assignment("http", spec)).outcome.verdict is Verdict.SUCCEEDED


def test_nobody_listening_is_a_failure_that_may_be_retried(perform: Perform) -> None:
    outcome = perform(assignment("http", {"url": "http://127.0.0.1:1/x?token=abc"})).outcome
    assert outcome.reason == "GET http://127.0.0.1:1/x gave no answer: Connection refused"
    assert not outcome.no_retry
