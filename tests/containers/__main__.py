"""Make the images, then run pytest beside a Docker engine of its own, in namespaces that end with it.

The engine's networks, firewall rules, mounts and processes exist in these namespaces only. What stays is the cache:
root file systems of the images and the layers that were built from them, so that the next run is fast.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.containers.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
INSIDE = "JOBSCHED_TEST_CONTAINERS_INSIDE"
NAMESPACES = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--")


def cache_folder() -> Path:
    """Return JOBSCHED_CONTAINER_CACHE, or a folder in the user's cache."""
    named = os.environ.get("JOBSCHED_CONTAINER_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named).absolute() if named else home / "jobsched-containers"


def outside(arguments: list[str], cache: Path) -> int:
    """Prepare what needs a network, and run the rest in namespaces of its own."""
    if os.geteuid() != 0:
        print("Only root can start a Docker engine: run `sudo make test-containers`.", file=sys.stderr)
        return 1
    # One who ends this process ends the namespaces, and what is left is cleared up.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Engine.remove_control_groups()
        subprocess.run([ROOT / "tests/containers/images/build", cache / "images"], check=True)
        try:
            command = [*NAMESPACES, sys.executable, "-m", "tests.containers", *arguments]
            return subprocess.run(command, cwd=ROOT, env={**os.environ, INSIDE: "1"}, check=False).returncode
        finally:
            Engine.remove_control_groups()


def inside(arguments: list[str], cache: Path) -> int:
    """Start the engine, run the tests, and stop it."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Temporary files end with the namespace, too.
    tempfile.tempdir = os.environ["TMPDIR"] = "/run"
    with Engine(cache) as engine:
        command = [sys.executable, "-m", "pytest", "tests/containers", *arguments]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **engine.environment}, check=False).returncode


def main() -> int:
    """Run pytest with the given arguments, and return its exit status."""
    missing = [name for name in ("dockerd", "docker-compose", "debootstrap", "unshare") if not shutil.which(name)]
    if missing:
        print(f"Not installed: {', '.join(missing)}; `make test-containers` installs them.", file=sys.stderr)
        return 1
    stage = inside if INSIDE in os.environ else outside
    return stage(sys.argv[1:], cache_folder())


if __name__ == "__main__":
    sys.exit(main())
