"""What is said to be protected, for each mode in which runs can be performed."""

from __future__ import annotations

import pytest

from jobsched.shim.isolation import Isolation
from jobsched.shim.protection import Mode, View, protection

OPEN = View(own_proc=False, covered=False)
CLOSED = View(own_proc=True, covered=True)


def mode(isolation: Isolation, view: View, **details: bool) -> Mode:
    return Mode(isolation=isolation, view=view, **{"root": False, "job_users": False, **details})


@pytest.mark.parametrize(
    ("mode", "missing"),
    [
        (mode(Isolation.NAMESPACE, CLOSED, job_users=True), []),
        (mode(Isolation.SUBREAPER, OPEN, job_users=True), []),
        (mode(Isolation.USER_NAMESPACE, CLOSED), ["Runs have the user"]),
        (mode(Isolation.USER_NAMESPACE, OPEN), ["Runs can read the env", "Runs can read and ch", "Runs have the user"]),
        (
            mode(Isolation.SUBREAPER, OPEN),
            ["A run can end every", "Runs can read the env", "Runs can read and ch", "Runs have the user"],
        ),
        (mode(Isolation.NAMESPACE, CLOSED, root=True), ["Runs are root"]),
    ],
)
def test_each_mode_claims_what_it_protects_and_no_more(mode: Mode, missing: list[str]) -> None:
    found = protection(mode)
    assert len(found.missing) == len(missing)
    assert all(sentence.startswith(start) for sentence, start in zip(found.missing, missing, strict=True))
    assert len(found.given) + len(found.missing) >= 4 - mode.root


def test_what_others_may_open_in_the_data_folder_is_named() -> None:
    told = protection(
        Mode(isolation=Isolation.SUBREAPER, view=OPEN, root=False, job_users=True, open_entries=("log", "tokens"))
    ).missing
    assert told == (
        "Runs can open these of the data folder and the files with secrets: log, tokens; take others' rights away.",
    )
