"""What an executor is, and what it is given."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn, Protocol

from jobsched import paramsfile, retryfile
from jobsched.domain.errors import InvalidInput
from jobsched.domain.outcomes import Assignment, Outcome, Verdict
from jobsched.environment import environment, refused_as_too_long
from jobsched.shim import run_folder
from jobsched.shim.control import Control
from jobsched.shim.lease import Lease


class Executor(Protocol):
    """How one kind of job is performed. One instance serves many runs, each in a process of its own."""

    in_interpreter: ClassVar[bool]
    """The project's code runs inside the forked interpreter: it needs the after-fork hook."""
    needs_workspace: ClassVar[bool]
    """Wants a fresh folder, removed after the run."""
    ends_by_exception: ClassVar[bool]
    """At a time limit or cancel an error is raised inside `perform`; else `Context.ending` is set."""

    def perform(self, work: Assignment, context: Context) -> Outcome:
        """Do the work and judge it.

        Runs in the run's own process, with the output as its stdout and stderr. Raises `InvalidInput` for a spec
        that makes no sense; any other exception is reported as a failure with its traceback in the output.
        """


@dataclass(kw_only=True, slots=True)
class SectionEnd:
    """To be filled in while a section is open."""

    verdict: Verdict | None = Verdict.SUCCEEDED
    exit_code: int | None = None
    signal: int | None = None


@dataclass(kw_only=True)
class Context:
    """What an executor may use of the engine."""

    work: Assignment
    control: Control
    workspace: Path | None = None
    lease: Lease
    started: bool = False
    """Some of the work has been started."""
    ending: Verdict | None = field(default=None)
    """Set once the run is being ended: why."""
    judged: bool = False
    """The outcome stands: from here on nothing may interrupt its way to the slot."""

    def start_work(self) -> None:
        """Raise LeaseEnded if the lease has ended. An executor calls this immediately before each part of its work.

        The process may have been frozen at any moment since it was forked.
        """
        self.lease.check()
        self.started = True

    @cached_property
    def env(self) -> dict[str, str]:
        """The environment for programs: an allowlist, the job's own, and what identifies the run."""
        env = environment(self.work, os.environ)
        if self.workspace is not None:
            folder = run_folder.attempt_of(self.workspace)
            env[paramsfile.VARIABLE] = str(paramsfile.file_beside(folder))
            env[retryfile.VARIABLE] = str(retryfile.file_beside(folder))
        return env

    def plan(self, names: Sequence[str]) -> None:
        """Announce all sections, so that those never reached are reported as not run."""
        self.control.send({"plan": list(names)})

    @contextmanager
    def section(self, name: str) -> Iterator[SectionEnd]:
        """Keep apart the output written meanwhile, and time it."""
        self.control.ask({"begin": name})
        started = time.monotonic()
        end = SectionEnd()
        try:
            yield end
        except BaseException:
            end.verdict = Verdict.FAILED
            raise
        finally:
            seconds = time.monotonic() - started
            ended = {
                "verdict": end.verdict,
                "exit_code": end.exit_code,
                "signal": end.signal,
                "duration_seconds": seconds,
            }
            self.control.ask({"end": ended})

    def replace_process(self, arguments: Sequence[str], *, env: Mapping[str, str], folder: Path) -> NoReturn:
        """Become another program, whose exit code is then the outcome.

        Raises `InvalidInput` when it cannot be started, and LeaseEnded when it must not be.
        """
        try:
            os.chdir(folder)
        except OSError as error:
            raise InvalidInput(f"cannot work in folder {folder}: {error.strerror}") from error
        self.control.send({"exec": True})
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        self.start_work()
        try:
            os.execvpe(arguments[0], list(arguments), dict(env))  # noqa: S606 - running it is the purpose
        except (OSError, ValueError) as error:
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            why = refused_as_too_long(error, arguments, env) or _cause(error)
            raise InvalidInput(f"cannot start {arguments[0]}: {why}") from error


def _cause(error: OSError | ValueError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def required(spec: Mapping[str, Any], key: str, kind: type[Any] | tuple[type[Any], ...], *, default: Any = None) -> Any:
    """Return `spec[key]` of the given type. Raises `InvalidInput` when it is missing or of another type."""
    value = spec.get(key, default)
    if value is None:
        raise InvalidInput(f"the job's {key!r} is missing")
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise InvalidInput(f"the job's {key!r} must be {_NAMES.get(kind, 'a number')}, not {value!r:.60}")
    return value


_NAMES: Final[Mapping[object, str]] = {str: "text", dict: "a mapping", list: "a list", bool: "true or false"}
