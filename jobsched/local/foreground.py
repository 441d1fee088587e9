"""Run a stack in the foreground until it is told to stop; stop it in order, whatever happens."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

from jobsched.local.confine import listen
from jobsched.local.stack import Plan, Stack
from jobsched.local.state import StackInfo
from jobsched.local.supervisor import Supervisor

INTERRUPTED = 130
# A terminal sends Ctrl-C to every process of ours at once, and each passes it on: within this time it is one.
_ONE_KEYSTROKE_SECONDS = 0.5


def run_stack(plan: Plan, say: Callable[[str], None], use: Callable[[Stack, StackInfo], Awaitable[int]]) -> int:
    """Start the stack, await `use`, stop the stack; return what `use` returned, or 130 when interrupted.

    Raises JobschedError when the stack cannot start. The data folder is claimed all the while.
    """
    with plan.folder.claimed():
        plan.folder.withdraw()
        try:
            return asyncio.run(_run(plan, say, use))
        finally:
            plan.folder.withdraw()


async def until_interrupted(_stack: Stack, _info: StackInfo) -> int:
    """Wait for ever: the use that `up` makes of its stack."""
    await asyncio.Event().wait()
    return 0


async def _run(plan: Plan, say: Callable[[str], None], use: Callable[[Stack, StackInfo], Awaitable[int]]) -> int:
    supervisor = Supervisor(say)
    stack = Stack(plan, supervisor, say)

    async def whole() -> int:
        info = await stack.start()
        stack.describe(info)
        return await use(stack, info)

    working = asyncio.create_task(whole())
    interrupts = _Interrupts(working, supervisor, say)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # SIGHUP is ignored under nohup
            asyncio.get_running_loop().add_signal_handler(number, interrupts.receive)
    listen()
    try:
        return await working
    except asyncio.CancelledError:
        return INTERRUPTED
    finally:
        await supervisor.stop()
        say("Everything has stopped.")


class _Interrupts:
    """The first one stops in order, a second one hurries."""

    def __init__(self, working: asyncio.Task[int], supervisor: Supervisor, say: Callable[[str], None]) -> None:
        self._working = working
        self._supervisor = supervisor
        self._say = say
        self._first: float | None = None

    def receive(self) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            self._working.cancel()
            self._say("Stopping; once more to hurry.")
        elif now - self._first > _ONE_KEYSTROKE_SECONDS:
            self._supervisor.hurry()
