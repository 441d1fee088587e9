"""The whole stack: database, broker, web, beat, worker, Flower. What is started, in which order, with what."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jobsched.local.brokers import BrokerKind, Choice, install_pgmq, pgmq_url
from jobsched.local.parts import Parts
from jobsched.local.ports import LOOPBACK, free_port
from jobsched.local.postgres import postgres_service
from jobsched.local.rabbitmq import rabbitmq_services, rabbitmq_url
from jobsched.local.roles import Access
from jobsched.local.state import FOLDER_NAME, DataFolder, Secrets, StackInfo
from jobsched.local.supervisor import Supervisor

ADMIN = "admin"
EXAMPLES = "examples.callables"
"""The module with the functions that the example jobs call."""
WEB_PORT, FLOWER_PORT = 8000, 5555
"""Taken when they are free; otherwise any port is."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the user chose."""

    folder: DataFolder
    broker: Choice
    environ: Mapping[str, str]
    """The environment that processes inherit; JOBSCHED_DATABASE_URL in it names an existing database."""
    concurrency: int = 4
    """How many runs the worker performs at a time."""
    pid: int
    """Of the process that a user would signal to stop the stack."""


class Stack:
    """One stack, started once."""

    def __init__(self, plan: Plan, supervisor: Supervisor, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._folder = plan.folder
        self._supervisor = supervisor
        self._say = say
        self._secrets: Secrets = plan.folder.secrets()
        self._env: dict[str, str] = {}

    async def start(self) -> StackInfo:
        """Start everything and say where it is. Raises StartFailed or another JobschedError."""
        self._say(f"Data    {self._folder.root}")
        self._say(f"Broker  {self._plan.broker.why}")
        database_url, broker_url = await self._start_servers()
        self._env = self._environment(database_url, broker_url)
        parts = Parts(env=self._env, logs=self._folder.logs)
        web_port, flower_port = free_port(prefer=WEB_PORT), free_port(prefer=FLOWER_PORT)
        starting = [
            self._bootstrap(),
            self._supervisor.start(parts.web(web_port)),
            self._supervisor.start(parts.beat(schedule=self._folder.service / "beat-schedule")),
            self._supervisor.start(
                parts.worker(
                    queues=self._env.get("JOBSCHED_QUEUES", "default").split(","),
                    concurrency=self._plan.concurrency,
                    node=f"local-{self._plan.pid}",
                )
            ),
        ]
        has_flower = self._plan.broker.has_events
        if has_flower:
            credentials = f"{ADMIN}:{self._secrets.flower_password}"
            starting.append(self._supervisor.start(parts.flower(flower_port, credentials=credentials)))
        await _together(*starting)
        stack = StackInfo(
            url=f"http://{LOOPBACK}:{web_port}",
            token=self._folder.token_file.read_text().strip(),
            pid=self._plan.pid,
            broker=self._plan.broker.kind,
            flower_url=f"http://{LOOPBACK}:{flower_port}" if has_flower else None,
        )
        self._folder.publish(stack)
        return stack

    def describe(self, stack: StackInfo) -> None:
        """Say the addresses and passwords of the running stack."""
        self._say(f"Web     {stack.url}/")
        self._say(f"Admin   {stack.url}/admin/  user {ADMIN}, password {self._secrets.admin_password}")
        if stack.flower_url:
            self._say(f"Flower  {stack.flower_url}/  user {ADMIN}, password {self._secrets.flower_password}")
        else:
            self._say("Flower  not started: this broker carries no events, so Flower would stay empty")
        self._say(f"Command {_command(self._folder)} jobs")
        self._say(f"Logs    {self._folder.logs}/")

    async def _start_servers(self) -> tuple[str, str]:
        """Start the database, prepare it, and meanwhile start the broker."""
        broker, database = self._start_broker(), self._start_database()
        broker_url, database_url = await _together(broker, database)
        assert database_url is not None  # noqa: S101 - tells the type checker
        if broker_url is None:
            await asyncio.to_thread(install_pgmq, database_url)
            broker_url = pgmq_url(database_url)
        return database_url, broker_url

    async def _start_database(self) -> str:
        url = self._plan.environ.get("JOBSCHED_DATABASE_URL")
        if url is None:
            access = Access.of(self._secrets, free_port())
            folder, log = self._folder.root / "postgres", self._log("postgres")
            await self._supervisor.start(postgres_service(folder, access, log=log))
            url = access.url
            self._say(f"postgres is ready on port {access.port}")
        # The broker is not needed yet, but settings want an address.
        env = self._environment(url, "amqp://")
        await self._manage("migrate", "--noinput", env=env)
        return url

    async def _start_broker(self) -> str | None:
        """Return its address, or None when that is the database's."""
        if self._plan.broker.kind is not BrokerKind.RABBITMQ:
            return self._plan.broker.url
        port, password = free_port(), self._secrets.rabbitmq_password
        services = rabbitmq_services(
            self._folder.root / "rabbitmq",
            port=port,
            password=password,
            cookie=self._secrets.erlang_cookie,
            log=self._log("rabbitmq"),
        )
        for service in services:
            await self._supervisor.start(service)
        self._say(f"rabbitmq is ready on port {port}")
        return rabbitmq_url(port, password)

    def _environment(self, database_url: str, broker_url: str) -> dict[str, str]:
        return {
            **self._plan.environ,
            "JOBSCHED_DATABASE_URL": database_url,
            "JOBSCHED_BROKER_URL": broker_url,
            "JOBSCHED_SECRET_KEY": self._plan.environ.get("JOBSCHED_SECRET_KEY", self._secrets.secret_key),
            "JOBSCHED_DATA_DIR": str(self._folder.root),
            "JOBSCHED_LOG_LEVEL": "INFO",
            "JOBSCHED_IMPORTS": ",".join(filter(None, (self._plan.environ.get("JOBSCHED_IMPORTS"), EXAMPLES))),
            # Somebody has pressed Ctrl-C and waits.
            "JOBSCHED_STOP_GRACE_SECONDS": self._plan.environ.get("JOBSCHED_STOP_GRACE_SECONDS", "1"),
        }

    async def _bootstrap(self) -> None:
        env = {**self._env, "JOBSCHED_ADMIN_PASSWORD": self._secrets.admin_password}
        await self._manage("bootstrap", "--token-file", str(self._folder.token_file), env=env)

    async def _manage(self, command: str, *arguments: str, env: Mapping[str, str]) -> None:
        task = Parts(env=env, logs=self._folder.logs).python(command, "django", command, *arguments)
        await self._supervisor.run(task)

    def _log(self, name: str) -> Path:
        return self._folder.logs / f"{name}.log"


def _command(folder: DataFolder) -> str:
    """Return the words that start `jobsched` for the stack of `folder` in the present folder."""
    program = Path(sys.executable).with_name("jobsched")
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program
    usual = (Path.cwd() / FOLDER_NAME).resolve()
    return shlex.join([str(shown), *([] if folder.root == usual else ["--data", str(folder.root)])])


async def _together(*parts: Coroutine[Any, Any, Result]) -> list[Result]:
    """Await all parts at once; the first that fails cancels the others, and its error is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
