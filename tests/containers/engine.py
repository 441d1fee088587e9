"""A Docker engine of our own: its socket, its data, its control groups."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from tests.processes import wait_for

CONTROL_GROUP = "jobsched-test-containers"
CONTROL_GROUPS = Path("/sys/fs/cgroup")

IMAGES = {
    "python:3.11-slim-bookworm": ("python", ["ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8"]),
    "postgres:18-bookworm": (
        "postgres",
        [
            "ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/lib/postgresql/18/bin LANG=C.UTF-8",
            "ENV PGDATA=/var/lib/postgresql/18/docker",
            "VOLUME /var/lib/postgresql",
            'ENTRYPOINT ["docker-entrypoint.sh"]',
            'CMD ["postgres"]',
            "STOPSIGNAL SIGINT",
        ],
    ),
    "rabbitmq:4.3": (
        "rabbitmq",
        [
            "ENV PATH=/usr/lib/rabbitmq/bin:/usr/local/bin:/usr/bin:/bin HOME=/var/lib/rabbitmq LANG=C.UTF-8",
            "VOLUME /var/lib/rabbitmq",
            'ENTRYPOINT ["docker-entrypoint.sh"]',
            'CMD ["rabbitmq-server"]',
        ],
    ),
}
"""What each official image is replaced by: a root file system of tests/containers/images, and how it is started."""


class Engine:
    """dockerd with its data in a cache folder. Containers, volumes and networks end with it; images stay."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._log = cache / "dockerd.log"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which docker and docker-compose reach this engine."""
        return {
            "DOCKER_HOST": f"unix://{self._folder}/docker.sock",
            "DOCKER_CONFIG": f"{self._folder}/config",
            "DOCKER_BUILDKIT": "0",  # its builder is not in Debian's package
            "COMPOSE_DOCKER_CLI_BUILD": "0",
        }

    def __enter__(self) -> Engine:
        self._temporary = tempfile.TemporaryDirectory(prefix="jc-", ignore_cleanup_errors=True)
        self._folder = Path(self._temporary.name)
        if not self._start("overlay2") and not self._start("vfs"):
            raise RuntimeError(f"dockerd did not start; the end of {self._log}:\n{self._log.read_text()[-2000:]}")
        self._clear()
        for tag, (name, changes) in IMAGES.items():
            self._load(tag, self._cache / "images" / name, changes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()
        self._process.terminate()
        self._process.wait(60)
        self._temporary.cleanup()

    @staticmethod
    def remove_control_groups() -> None:
        """Remove the control groups that containers leave, once their processes have ended: no namespace holds them."""
        wait_for(_remove_control_groups, what="the end of all processes in containers")

    def _start(self, driver: str) -> bool:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "dockerd",
                    f"--host=unix://{self._folder}/docker.sock",
                    f"--data-root={self._cache / 'docker'}",
                    f"--exec-root={self._folder}/exec",
                    f"--pidfile={self._folder}/docker.pid",
                    f"--cgroup-parent=/{CONTROL_GROUP}",
                    f"--storage-driver={driver}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_for(lambda: self._process.poll() is not None or self._answers(), timeout=60, what="the start of dockerd")
        return self._process.poll() is None

    def _answers(self) -> bool:
        return self._docker("version", check=False).returncode == 0

    def _clear(self) -> None:
        """Remove what a run that was killed left, or the present one."""
        containers = self._docker("ps", "--all", "--quiet").stdout.split()
        if containers:
            self._docker("rm", "--force", "--volumes", *containers)
        self._docker("network", "prune", "--force")
        volumes = self._docker("volume", "ls", "--quiet").stdout.split()
        if volumes:
            self._docker("volume", "rm", *volumes)

    def _load(self, tag: str, made: Path, changes: list[str]) -> None:
        key = made.with_suffix(".key").read_text().strip()
        key += hashlib.sha256(repr(changes).encode()).hexdigest()[:8]
        label = '{{index .Config.Labels "stands-in"}}'
        if self._docker("image", "inspect", "--format", label, tag, check=False).stdout.strip() != key:
            self._docker("import", str(made.with_suffix(".tar")), tag)
            recipe = "\n".join([f"FROM {tag}", f"LABEL stands-in={key}", *changes])
            self._docker("build", "--tag", tag, "-", given=recipe)

    def _docker(self, *words: str, check: bool = True, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *words],
            env={**os.environ, **self.environment},
            input=given,
            capture_output=True,
            text=True,
            check=check,
            timeout=600,
        )


def _remove_control_groups() -> bool:
    for top in [*CONTROL_GROUPS.glob(f"*/{CONTROL_GROUP}"), *CONTROL_GROUPS.glob(CONTROL_GROUP)]:
        for folder, _folders, _files in os.walk(top, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:  # a process in it is still on its way out
                return False
    return True
