"""Our commands, run as a user runs them: as processes, with their output in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.processes import wait_for


class Command:
    """`python -m jobsched.local …` on a data folder of its own, with no servers in its environment."""

    def __init__(
        self,
        name: str,
        *arguments: str,
        data: Path,
        output: Path,
        python: Path | None = None,
        cwd: Path | None = None,
        path: str | None = None,
    ) -> None:
        self.data = data
        env = {name: value for name, value in os.environ.items() if not name.startswith("JOBSCHED_")}
        self._output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [python or sys.executable, "-m", "jobsched.local", name, "--data", str(data), *arguments],
                env=env if path is None else {**env, "PATH": path},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_until_it_says(self, text: str, *, timeout: float = 120.0) -> None:
        def seen() -> bool:
            if text in self.said():
                return True
            assert self.process.poll() is None, f"it ended without saying {text!r}:\n{self.said()}"
            return False

        wait_for(seen, timeout=timeout, what=f"{text!r} in its output")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(120)

    def end(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.process.kill()
            self.process.wait()


def processes_of(data: Path) -> list[str]:
    """Return the command lines of processes that belong to a data folder, by their arguments or environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            line = (folder / "cmdline").read_bytes()
            if os.fsencode(data) in line or os.fsencode(data) in (folder / "environ").read_bytes():
                found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found
