"""Sections: what each part of an attempt printed, and how it ended."""

from __future__ import annotations

from jobsched.domain.outcomes import Verdict
from jobsched.engine.sections import Sections


def test_output_goes_to_the_open_section_only() -> None:
    sections = Sections()
    sections.add(b"before")
    sections.begin("Build")
    sections.add(b"built\0")
    sections.end({"verdict": "succeeded", "exit_code": 0, "duration_seconds": 1.5})
    sections.add(b"between")
    (build,) = sections.all()
    assert (build.output, build.verdict, build.exit_code, build.duration_seconds) == (
        "built\ufffd",
        Verdict.SUCCEEDED,
        0,
        1.5,
    )


def test_a_section_that_did_not_live_to_end_gets_the_verdict_of_the_attempt() -> None:
    moments = iter([10.0, 12.5])
    sections = Sections(clock=lambda: next(moments))
    sections.plan(["Build", "Test"])
    sections.begin("Build")
    sections.close(Verdict.TIMED_OUT)
    build, test = sections.all()
    assert (build.verdict, build.duration_seconds) == (Verdict.TIMED_OUT, 2.5)
    assert (test.name, test.verdict, test.duration_seconds) == ("Test", None, None)


def test_steps_that_share_a_name_are_kept_apart() -> None:
    sections = Sections()
    sections.plan(["same", "same"])
    sections.begin("same")
    sections.end({"verdict": "failed"})
    assert [section.verdict for section in sections.all()] == [Verdict.FAILED, None]
