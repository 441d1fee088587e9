"""The environment of programs that a run starts: named variables only, so that no secret of the worker gets in."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from jobsched.domain.errors import InvalidInput
from jobsched.domain.outcomes import Assignment
from jobsched.domain.parameters import LONGEST_ARGUMENT_BYTES
from jobsched.domain.steering import steers_programs

PASSED: Final = frozenset({"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL"})
"""What programs inherit, and locale settings (LC_*)."""
UNBUFFERED: Final = {"PYTHONUNBUFFERED": "1"}
"""Makes Python programs write their output at once, so that it can be followed and is kept if they are killed. The
job's own `env` may say otherwise."""
_MOST_OF_LINUX: Final = 6 * 1024 * 1024
"""Three quarters of the default stack: more is handed over under no stack limit."""
_LONGEST_STRING: Final = 128 * 1024
_POINTER_BYTES: Final = 8


def environment(work: Assignment, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what is allowed of `inherited`, the job's own variables, and those that describe the run."""
    chosen = {name: value for name, value in inherited.items() if name in PASSED or name.startswith("LC_")}
    chosen.setdefault("PATH", os.defpath)
    chosen.update(UNBUFFERED)
    chosen.update(work.env)
    chosen.update(identity(work))
    return _with_fitting(chosen, _of_params(work.all_params), room=most_bytes() // 2)


def most_bytes() -> int:
    """Return how many bytes of arguments and environment Linux hands to a program: see execve(2)."""
    stack_quarter = os.sysconf("SC_ARG_MAX")
    return min(stack_quarter, _MOST_OF_LINUX)


def bytes_of(name: str, value: str) -> int:
    """Return how many bytes of that a variable takes: its text, a NUL, and a pointer."""
    return len(f"{name}={value}".encode("utf-8", "surrogatepass")) + 1 + _POINTER_BYTES


def refused_as_too_long(error: Exception, arguments: Sequence[str], env: Mapping[str, str]) -> str | None:
    """Return the sentence for a program that Linux refused to start because of its arguments and environment."""
    if getattr(error, "errno", None) != errno.E2BIG:
        return None
    taken = sum(bytes_of(*pair) for pair in env.items()) + len("".join(arguments).encode("utf-8", "surrogatepass"))
    return (
        f"the command and its environment have {taken} bytes, and Linux starts no program with more than {most_bytes()}"
        f" in all and {_LONGEST_STRING} in one text; shorten `env`, or put the data into a file"
    )


def _of_params(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the variables for parameters: each by its name, then all of them."""
    for name, value in params.items():
        variable = "JOBSCHED_PARAM_" + re.sub(r"[^A-Z0-9_]", "_", name.upper())
        yield variable, value if isinstance(value, str) else json.dumps(value)
    yield "JOBSCHED_PARAMS", json.dumps(params)


def _with_fitting(chosen: dict[str, str], more: Iterable[tuple[str, str]], *, room: int) -> dict[str, str]:
    """Add variables, leaving out those that are too long for one, or for which there is no room left.

    What is left out is in the file of parameters. Half of what Linux hands over is left to the command and its step.
    """
    taken = sum(bytes_of(*pair) for pair in chosen.items())
    for name, value in more:
        size = bytes_of(name, value)
        if size <= LONGEST_ARGUMENT_BYTES and taken + size <= room:
            chosen[name] = value
            taken += size
    return chosen


def for_trusted_code(given: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to add to a process that runs code of the project, whose variables are `present`.

    They are the job's own, and what makes programs that the code starts write their output at once.

    The author of a job does not choose how that code works. Raises InvalidInput for a variable that would change it.
    """
    for name, value in given.items():
        if steers_programs(name):
            raise InvalidInput(refusal(name))
        if name in UNBUFFERED or _is_about_language(name):
            continue
        if present.get(name, value) != value:
            raise InvalidInput(
                f"the job's env would replace {name!r}, which the worker's environment sets; use "
                "another name, or give the callable or task a parameter"
            )
    return {**UNBUFFERED, **given}


def refusal(name: str) -> str:
    """Return the sentence that refuses a variable to a Python or Celery job."""
    return (
        f"the env of a call or task cannot set {name!r}, which changes what the project's code does; give the callable "
        "or task a parameter"
    )


def _is_about_language(name: str) -> bool:
    return name in ("LANG", "LANGUAGE", "TZ") or name.startswith("LC_")


def identity(work: Assignment) -> dict[str, str]:
    """Return the variables that tell work which run it belongs to."""
    return {
        "JOBSCHED_RUN_ID": str(work.run_id),
        "JOBSCHED_ATTEMPT": str(work.attempt),
        "JOBSCHED_PROJECT": work.project,
        "JOBSCHED_JOB": work.job,
        "JOBSCHED_SCHEDULED_FOR": work.scheduled_for.isoformat() if work.scheduled_for else "",
    }
