"""One composed stack: started, asked and stopped by the commands of docs/deployment.md."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.processes import wait_for

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = (
    *("Dockerfile", ".dockerignore", "docker-compose.yml", ".env.example", "pyproject.toml", "README.md", "LICENSE"),
    *("requirements.lock", "requirements-local.lock", "config", "jobs", "jobsched", "deploy", "manage.py"),
)
LONG_RUNNING = {"postgres": 1, "rabbitmq": 1, "web": 1, "beat": 2, "worker": 1, "flower": 1}
ENDED = ("succeeded", "failed", "timed_out", "cancelled", "skipped")


class Composed:
    """A checkout in a folder of its own, with the commands that a person runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in CHECKOUT:
            source = ROOT / name
            ignored = shutil.ignore_patterns("__pycache__")
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)

    def override(self, services: dict[str, Any]) -> None:
        """Write docker-compose.override.yml."""
        (self.folder / "docker-compose.override.yml").write_text(json.dumps({"services": services}))

    def run(self, *command: str, given: str = "", check: bool = True, timeout: float = 300) -> str:
        """Run a command in the checkout and return what it printed; on a failure show all of it."""
        ended = subprocess.run(
            command,
            cwd=self.folder,
            # Variables count more than .env, and pytest's settings have some.
            env={name: value for name, value in os.environ.items() if not name.startswith("JOBSCHED_")},
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check:
            assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout if check else ended.stdout + ended.stderr

    def compose(self, *words: str, given: str = "", check: bool = True, timeout: float = 300) -> str:
        """Run docker-compose."""
        return self.run("docker-compose", *words, given=given, check=check, timeout=timeout)

    def inside(self, service: str, *command: str, given: str = "", check: bool = True) -> str:
        """Run a command in the container of a service."""
        return self.compose("exec", "-T", service, *command, given=given, check=check)

    def psql(self, statement: str, *options: str) -> str:
        """Ask PostgreSQL as its superuser, inside its container."""
        return self.inside("postgres", "psql", "-U", "postgres", "-At", *options, "-c", statement).strip()

    def containers(self) -> list[dict[str, Any]]:
        """Return what the engine knows about each running container."""
        names = self.run("docker", "ps", "--quiet").split()
        return list(json.loads(self.run("docker", "inspect", *names))) if names else []

    def up(self) -> None:
        """Start everything and wait until it is healthy. A failure shows the last lines of each container."""
        try:
            self.compose("up", "-d", "--no-build")
            wait_for(self.is_healthy, timeout=300, what="the health of all containers")
        except AssertionError as error:
            told = [self.compose(*words, check=False) for words in (["ps"], ["logs", "--no-color", "--tail=40"])]
            raise AssertionError("\n".join([str(error), *told])) from None

    def is_healthy(self) -> bool:
        """Tell whether every long-running container is healthy."""
        healthy = sorted(
            one["Config"]["Labels"]["com.docker.compose.service"]
            for one in self.containers()
            if one["State"].get("Health", {}).get("Status") == "healthy"
        )
        return healthy == sorted(name for name, count in LONG_RUNNING.items() for _ in range(count))

    def secrets(self) -> dict[str, str]:
        """Return the values of .env that are secret."""
        lines = (line.partition("=") for line in (self.folder / ".env").read_text().splitlines())
        return {name: value for name, _, value in lines if name.endswith(("_PASSWORD", "_SECRET_KEY")) and value}

    def jobsched(self, *words: str, given: str = "") -> str:
        """Run the `jobsched` command in the web container, as the page says."""
        options = ["-e", "JOBSCHED_URL=http://127.0.0.1:8000", "-e", "JOBSCHED_TOKEN_FILE=/tmp/token"]
        return self.compose("exec", "-T", *options, "web", "jobsched", *words, given=given)

    def start_run(self, job: str) -> int:
        """Request a run and return its number."""
        return int(json.loads(self.jobsched("run", job, "--json"))["id"])

    def wait_for_end(self, run: int) -> dict[str, Any]:
        """Wait for the end of a run and return it."""

        def ended() -> dict[str, Any] | None:
            shown: dict[str, Any] = json.loads(self.jobsched("show", str(run), "--json"))
            return shown if shown["state"] in ENDED else None

        found = wait_for(ended, timeout=300, what=f"the end of run {run}")
        assert found is not None
        return found

    def output(self, run: int) -> str:
        """Return what a run printed."""
        return self.jobsched("logs", str(run))
