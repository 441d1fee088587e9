"""Tests that did not run are listed at the end, and fail the run unless they are accepted by name."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unrun import LIST_VARIABLE, Unrun, accepted_names

pytest_plugins = ["pytester"]

Run = Callable[..., tuple[int, str]]

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest
from tests.unrun import needs

def test_that_runs(): pass
def test_without_its_package(): needs("some-package", "`apt-get install some-package` provides it")
@pytest.mark.parametrize("what", ["a", "b"])
def test_without_a_reason_of_ours(what): pytest.skip("not today")
@pytest.mark.xfail
def test_of_a_known_fault(): assert False
"""
PACKAGE = "needs some-package: `apt-get install some-package` provides it"


@pytest.fixture
def run_pytest(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Run pytest on TESTS, or on the files that are given: `run_pytest("-k", "x", accepted="some-package")`."""
    pytester.makeini("[pytest]\naddopts = -p tests.unrun -p no:cacheprovider\n")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv(LIST_VARIABLE, raising=False)  # else these made-up tests are listed among the real ones

    def run(*arguments: str, accepted: str = "", **files: str) -> tuple[int, str]:
        monkeypatch.setenv("JOBSCHED_ACCEPT_SKIPS", accepted)
        pytester.makepyfile(**(files or {"test_some": TESTS}))
        ended = pytester.runpytest_inprocess(*arguments)
        return int(ended.ret), ended.stdout.str()

    return run


def test_what_did_not_run_is_listed_and_fails_the_run(run_pytest: Run) -> None:
    status, output = run_pytest()
    assert status == 1
    _, _, shown = output.partition("tests that did not run")
    assert f"{PACKAGE}\n    test_some.py::test_without_its_package\n" in shown
    assert "not today\n    test_some.py::test_without_a_reason_of_ours[a]\n" in shown
    assert "test_that_runs" not in shown
    assert "test_of_a_known_fault" not in shown
    assert "JOBSCHED_ACCEPT_SKIPS=some-package," in shown or ",some-package" in shown


def test_what_is_accepted_by_name_is_listed_and_fails_nothing(run_pytest: Run) -> None:
    status, output = run_pytest(accepted="some-package, test_some.py::test_without_a_reason_of_ours[a],*ours[b]")
    assert status == 0
    assert "test_some.py::test_without_its_package (accepted)" in output
    assert "test_some.py::test_without_a_reason_of_ours[b] (accepted)" in output
    assert "The run fails" not in output


@pytest.mark.parametrize(
    ("accepted", "is_accepted"),
    [
        ("some-package", True),
        ("other, some-package", True),
        ("tests/x.py::test_y[a]", True),
        ("tests/x.py::*", True),
        ("*test_y*", True),
        ("", False),
        ("1", False),
        ("some", False),
        ("test_y", False),
        ("tests/x.py::test_y[b]", False),
    ],
)
def test_a_name_is_a_need_or_the_id_of_a_test(accepted: str, is_accepted: bool) -> None:
    one = Unrun(test="tests/x.py::test_y[a]", reason="Skipped: needs some-package: it is not there")
    assert one.is_accepted(accepted_names({"JOBSCHED_ACCEPT_SKIPS": accepted})) is is_accepted


def test_a_module_that_cannot_be_imported_counts_as_well(run_pytest: Run) -> None:
    files = {
        "test_some": 'import pytest\npytest.importorskip("no_such_module", reason="needs no-such-module: for a test")',
        "test_other": "def test_that_runs(): pass",
    }
    assert run_pytest(**files)[0] == 1


def test_the_list_is_kept_for_the_end_of_both_lanes(
    run_pytest: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBSCHED_UNRUN_TESTS_FILE", str(tmp_path / "list"))
    run_pytest()
    assert PACKAGE in (tmp_path / "list").read_text().splitlines()
    lanes = subprocess.run(
        [ROOT / "tools/side-by-side", "true", 'echo "needs x: y" >> "$JOBSCHED_UNRUN_TESTS_FILE"; echo second; exit 1'],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert lanes.returncode == 1
    assert lanes.stdout.splitlines()[-2:] == ["Tests that did not run, of both parts:", "needs x: y"]


def test_make_test_asks_for_everything_that_its_tests_need() -> None:
    asked = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "|| true" in line)
    assert {"rabbitmq-server", "chromium", "faketime", "pgbouncer", "docker-compose"} <= set(asked.split())
