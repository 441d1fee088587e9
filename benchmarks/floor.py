"""The floor under "a process per run": how fast this machine forks and ends a process that has the project loaded."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.contenders.base import PROJECT, WORKER_PROCESSES
from benchmarks.errors import BenchmarkError

_FORKS = 300
_WITHIN_SECONDS = 120

# Nothing but fork, exit and wait, in a process like a worker's pool child: what no process per run can be faster than.
_PROGRAM = f"""
import gc, os, time
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
import django
django.setup()
import jobs.tasks
gc.collect()
gc.freeze()
began = time.monotonic()
for _ in range({_FORKS}):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
print({_FORKS} / (time.monotonic() - began))
"""


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Forks a second over as many processes as there are workers, one figure a round."""

    rates: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rates)


def measure_forks() -> float:
    """Return forks a second of all processes together. Raises BenchmarkError."""
    running = [
        subprocess.Popen([sys.executable, "-c", _PROGRAM], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        for _ in range(WORKER_PROCESSES)
    ]
    told = [process.communicate(timeout=_WITHIN_SECONDS)[0] for process in running]
    if any(process.returncode for process in running):
        raise BenchmarkError("The bare fork could not be measured: its process failed.")
    return sum(float(text) for text in told)
