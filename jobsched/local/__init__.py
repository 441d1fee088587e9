"""The local stack: real servers and our own processes on this machine, started and stopped by one command.

`python -m jobsched.local up|demo|exec|down` is the command. Tests and benchmarks use the servers alone:

    with postgres(folder) as database, rabbitmq(folder) as broker:
        database.url, broker.url          # also .kill(), .stop(), .start(), .restart()
"""

from __future__ import annotations

from jobsched.local.servers import Server, postgres, rabbitmq
from jobsched.local.state import StackInfo, find_stack

__all__ = ["Server", "StackInfo", "find_stack", "postgres", "rabbitmq"]
