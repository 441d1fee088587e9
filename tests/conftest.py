"""Servers and processes for tests. The servers are named in the environment: `make test` starts them."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connection

from jobsched.local.parts import Parts
from jobsched.local.ports import free_port
from jobsched.local.reach import public_temporary_folder
from tests.environment import HAS_BROKER, HAS_DATABASE
from tests.processes import Process
from tests.unrun import needs

UNIT_TESTS = Path(__file__).parent / "unit"
CONTAINER_TESTS = Path(__file__).parent / "containers"
"""Their servers are containers: `make test-containers`."""

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse to run against servers that are not there."""
    without_servers = (UNIT_TESTS, CONTAINER_TESTS)
    if not HAS_DATABASE and any(not set(without_servers) & set(item.path.parents) for item in items):
        pytest.exit(
            "These tests need servers of their own: run `make test` (or TESTS=tests/integration make test); "
            "tests/unit runs without any.",
            returncode=4,
        )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """As root: what tests start has other users, who need a way to the tests' folders and may write to them.

    So all folders for tests lie below one that only root may list, and root's umask takes nothing away from what is
    made in them.
    """
    if os.geteuid() == 0:
        os.umask(0)
        if config.option.basetemp is None:
            made = tempfile.mkdtemp(prefix="pytest-", dir=public_temporary_folder())
            config.option.basetemp = made
            # pytest never removes a folder that it was given.
            config.add_cleanup(lambda: shutil.rmtree(made, ignore_errors=True))


@pytest.fixture(scope="session")
def tmp_path_factory(tmp_path_factory: pytest.TempPathFactory) -> pytest.TempPathFactory:
    """As root: everybody may write to the folders that it makes; see pytest_configure."""
    if os.geteuid() == 0:
        make = tmp_path_factory.mktemp
        tmp_path_factory.getbasetemp().chmod(0o711)

        def mktemp(basename: str, numbered: bool = True) -> Path:
            made = make(basename, numbered)
            made.chmod(0o777)
            return made

        tmp_path_factory.mktemp = mktemp  # type: ignore[method-assign]
    return tmp_path_factory


@pytest.fixture(scope="session")
def broker_url() -> str:
    """The address of a real RabbitMQ."""
    if not HAS_BROKER:
        needs("rabbitmq-server", "`apt-get install rabbitmq-server` provides it")
    return os.environ["JOBSCHED_BROKER_URL"]


@pytest.fixture
def process_env(transactional_db: None, tmp_path: Path) -> dict[str, str]:
    """The environment of processes that work on the test's database, with a data folder of their own."""
    url = urlsplit(os.environ["JOBSCHED_DATABASE_URL"])
    return {
        **os.environ,
        "JOBSCHED_DATABASE_URL": url._replace(path=f"/{connection.settings_dict['NAME']}").geturl(),
        "JOBSCHED_DATA_DIR": str(tmp_path / "data"),
        "JOBSCHED_LOG_LEVEL": "INFO",
        "JOBSCHED_STOP_GRACE_SECONDS": "0",  # tests that are about it say so
    }


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    """What is entered here is killed at the end of the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start_worker(
    broker_url: str, process_env: Mapping[str, str], processes: ExitStack, tmp_path: Path
) -> Callable[..., Process]:
    """Start a worker on the test's database: `start_worker(concurrency=2, queues=["default"], env={…})`.

    `options` are further ones of `celery worker`.
    """

    def start(
        *,
        concurrency: int = 1,
        queues: Sequence[str] = ("default",),
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> Process:
        parts = Parts(env={**process_env, **(env or {})}, logs=tmp_path)
        name = f"worker-{os.getpid()}-{next(_numbers)}"
        service = parts.worker(queues=queues, concurrency=concurrency, node=name, name=name)
        service = replace(service, argv=(*service.argv, *options))
        return processes.enter_context(Process(service))

    return start


@pytest.fixture
def start_beat(
    broker_url: str, process_env: Mapping[str, str], processes: ExitStack, tmp_path: Path
) -> Callable[..., Process]:
    """Start a beat on the test's database: `start_beat(env={…})`."""

    def start(*, env: Mapping[str, str] | None = None) -> Process:
        name = f"beat-{next(_numbers)}"
        parts = Parts(env={**process_env, **(env or {})}, logs=tmp_path)
        return processes.enter_context(Process(parts.beat(schedule=tmp_path / name, name=name)))

    return start


@pytest.fixture
def start_web(process_env: Mapping[str, str], processes: ExitStack, tmp_path: Path) -> Callable[..., Process]:
    """Start the web process on the test's database: `start_web(env={…}).url`."""

    def start(*, env: Mapping[str, str] | None = None) -> Process:
        port = free_port()
        service = Parts(env={**process_env, **(env or {})}, logs=tmp_path).web(port)
        return processes.enter_context(Process(service, url=f"http://127.0.0.1:{port}"))

    return start
