"""The report of the chaos suite: verdicts, and sections of experiments that were not carried out this time."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.report import Machine, write
from tests.chaos.results import Result

MACHINE = Machine(cores=2, memory_gib=24.0, versions="PostgreSQL 18.6")
ORDER = ["first", "second", "third"]


def result(name: str, *, scale: float = 1.0, violations: tuple[str, ...] = ()) -> Result:
    return Result(name=name, about=f"What {name} breaks.", seed=7, scale=scale, violations=list(violations))


def test_each_time_replaces_its_own_sections_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    write(path, [result("second"), result("first", violations=("I2: run 1 has not ended",))], MACHINE, order=ORDER)
    write(path, [result("third"), result("first")], MACHINE, order=ORDER)

    text = path.read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## first", "## second", "## third"]
    assert text.count("| passed |") == 3
    assert "I2" not in text


def test_a_violation_or_a_figure_over_its_limit_fails_the_full_suite_only(tmp_path: Path) -> None:
    for scale, passed in ((1.0, False), (0.1, True)):
        slow = result("first", scale=scale)
        slow.note("recovery, p99", 21.0, "s", below=20.0)
        assert slow.passed is passed
    write(tmp_path / "report.md", [slow, result("second", violations=("I4: twice",))], MACHINE, order=ORDER)
    text = (tmp_path / "report.md").read_text()
    assert "| [second](#second) | FAILED |" in text and "- violated: I4: twice" in text
    assert "passed on the scale 0.1" in text
