"""Start processes, keep them running, stop them in reverse order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from jobsched.local.causes import cause_in
from jobsched.local.service import Service, StartFailed, is_ready, log_tail

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_STEADY_SECONDS = 60.0
"""A process that ran this long before it ended is restarted without delay again."""
_POLL_SECONDS = 0.05
_UNREADY_GRACE_SECONDS = 2.0
"""What has not finished starting has nothing to finish, and may not listen to signals yet."""


class Supervisor:
    """The processes of one stack. Only for use inside one event loop."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._kept: list[_Kept] = []
        self._commands: set[asyncio.subprocess.Process] = set()
        self._hurry = asyncio.Event()

    async def start(self, service: Service) -> None:
        """Start `service`, return when it is ready, and keep it running from then on. Raises StartFailed."""
        kept = _Kept(service, self._say, self._hurry)
        self._kept.append(kept)
        await kept.start()

    async def run(self, command: Service) -> None:
        """Run a command to its end. Raises StartFailed with the end of its output when it fails."""
        command.log.unlink(missing_ok=True)
        process = await _spawn(command)
        self._commands.add(process)
        try:
            code = await process.wait()
        finally:
            self._commands.discard(process)
            _signal_group(process, signal.SIGKILL)
        if code:
            raise StartFailed(
                f"{command.name} failed ({_how(code)}): {cause_in(log_tail(command.log))}; see {command.log}."
            )

    def hurry(self) -> None:
        """Cut the grace of processes that are stopping short: they are killed."""
        self._hurry.set()

    async def stop(self) -> None:
        """Stop everything, the last started first, each within its grace."""
        for process in self._commands:
            _signal_group(process, signal.SIGKILL)
        while self._kept:
            await self._kept.pop().stop()


class _Kept:
    """One process that is started again whenever it ends."""

    def __init__(self, service: Service, say: Callable[[str], None], hurry: asyncio.Event) -> None:
        self._service = service
        self._say = say
        self._hurry = hurry
        self._process: asyncio.subprocess.Process | None = None
        self._was_ready = False
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._service.log.unlink(missing_ok=True)
        await self._start_once()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        await self._end()

    async def _keep(self) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while self._process is not None:
            started = time.monotonic()
            code = await self._process.wait()
            _signal_group(self._process, signal.SIGKILL)
            if time.monotonic() - started > _STEADY_SECONDS:
                backoff = _FIRST_BACKOFF_SECONDS
            self._say(f"{self._service.name} ended ({_how(code)}); starting it again in {backoff:g} s")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF_SECONDS)
            try:
                await self._start_once()
            except (StartFailed, OSError) as error:
                self._say(str(error))
            else:
                self._say(f"{self._service.name} is back")

    async def _start_once(self) -> None:
        service = self._service
        await asyncio.to_thread(service.before_start)
        offset = service.log.stat().st_size if service.log.exists() else 0
        self._was_ready = False
        self._process = await _spawn(service)
        deadline = time.monotonic() + service.ready_within.total_seconds()
        while not await asyncio.to_thread(is_ready, service, offset):
            if self._process.returncode is not None:
                problem = f"{service.name} ended while starting ({_how(self._process.returncode)})"
            elif time.monotonic() > deadline:
                problem = f"{service.name} is not ready after {service.ready_within.total_seconds():g} s"
            else:
                await asyncio.sleep(_POLL_SECONDS)
                continue
            await self._end()
            why = cause_in(log_tail(service.log, offset=offset))
            raise StartFailed(f"{problem}: {why}; see {service.log}.")
        self._was_ready = True

    async def _end(self) -> None:
        if self._process is None:
            return
        ended = asyncio.create_task(self._process.wait())
        hurried = asyncio.create_task(self._hurry.wait())
        with suppress(ProcessLookupError):
            self._process.send_signal(self._service.stop_signal)
        await asyncio.wait(
            {ended, hurried},
            timeout=self._service.grace.total_seconds() if self._was_ready else _UNREADY_GRACE_SECONDS,
            return_when=asyncio.FIRST_COMPLETED,
        )
        hurried.cancel()
        if self._was_ready and not ended.done() and not self._hurry.is_set():
            self._say(f"{self._service.name} did not stop within its grace; killing it")
        _signal_group(self._process, signal.SIGKILL)
        await ended


async def _spawn(service: Service) -> asyncio.subprocess.Process:
    # In a session of its own: Ctrl-C reaches only us, and we stop everything in order.
    with service.log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *service.command,
            env=dict(service.env),
            cwd=service.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **service.identity,
        )


def _signal_group(process: asyncio.subprocess.Process, sent: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, sent)


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
