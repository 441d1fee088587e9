"""Kind `shell`: one command."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NoReturn

from jobsched.domain.outcomes import Assignment
from jobsched.executor import Context, required


class ShellExecutor:
    """Spec: `command`, and optionally `shell` (a path) and `cwd` instead of a fresh folder."""

    in_interpreter: ClassVar[bool] = False
    needs_workspace: ClassVar[bool] = True
    ends_by_exception: ClassVar[bool] = True

    def perform(self, work: Assignment, context: Context) -> NoReturn:
        command = required(work.spec, "command", str)
        shell = required(work.spec, "shell", str, default="/bin/sh")
        folder = Path(required(work.spec, "cwd", str, default=str(context.workspace)))
        context.replace_process([shell, "-c", command], env=context.env, folder=folder)
