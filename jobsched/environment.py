"""The environment of programs that a run starts: named variables only, so that no secret of the worker gets in."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Final

from jobsched.domain.outcomes import Assignment

PASSED: Final = frozenset({"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL"})
"""What programs inherit, and locale settings (LC_*)."""


def environment(work: Assignment, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what is allowed of `inherited`, the job's own variables, and those that describe the run."""
    chosen = {name: value for name, value in inherited.items() if name in PASSED or name.startswith("LC_")}
    chosen.setdefault("PATH", os.defpath)
    chosen.update(work.env)
    chosen.update(identity(work))
    chosen["JOBSCHED_PARAMS"] = json.dumps(work.all_params)
    for name, value in work.all_params.items():
        variable = "JOBSCHED_PARAM_" + re.sub(r"[^A-Z0-9_]", "_", name.upper())
        chosen[variable] = value if isinstance(value, str) else json.dumps(value)
    return chosen


def identity(work: Assignment) -> dict[str, str]:
    """Return the variables that tell work which run it belongs to."""
    return {
        "JOBSCHED_RUN_ID": str(work.run_id),
        "JOBSCHED_ATTEMPT": str(work.attempt),
        "JOBSCHED_PROJECT": work.project,
        "JOBSCHED_JOB": work.job,
        "JOBSCHED_SCHEDULED_FOR": work.scheduled_for.isoformat() if work.scheduled_for else "",
    }
