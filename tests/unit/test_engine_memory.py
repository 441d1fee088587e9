"""Where the kernel's counter of processes killed for memory is found, and what is read from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobsched.engine.memory import MemoryKills

V1_MOUNT = "33 31 0:29 {root} {at} rw,relatime - cgroup cgroup rw,memory\n"
V2_MOUNT = "42 31 0:39 {root} {at} rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
OTHER_MOUNT = "23 21 0:20 / /proc rw,relatime - proc proc rw\n34 31 0:30 / /cpu rw - cgroup cgroup rw,cpu\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/vmstat").write_text("pgfault 17\noom_kill 40\nballoon 0\n")
    return tmp_path / "proc"


def machine(proc: Path, *, groups: str, mounts: str, root: str = "/", file: str = "", content: str = "") -> MemoryKills:
    at = proc.parent / "with space"
    (proc / "self/cgroup").write_text(groups)
    mounted = mounts.format(root=root, at=str(at).replace(" ", "\\040"))
    (proc / "self/mountinfo").write_text(OTHER_MOUNT + mounted)
    if file:
        (at / file).parent.mkdir(parents=True)
        (at / file).write_text(content)
    return MemoryKills.of_this_process(proc)


def test_version_2_counts_in_memory_events(proc: Path) -> None:
    events = "low 0\nhigh 3\nmax 9\noom 2\noom_kill 2\noom_group_kill 0\n"
    kills = machine(proc, groups="0::/workers/a\n", mounts=V2_MOUNT, file="workers/a/memory.events", content=events)
    assert kills.count() == 2


def test_version_1_counts_in_memory_oom_control(proc: Path) -> None:
    kills = machine(
        proc,
        groups="4:cpu:/\n3:memory,hugetlb:/docker/12ab\n0::/\n",
        mounts=V2_MOUNT + V1_MOUNT,
        root="/docker/12ab",
        file="memory.oom_control",
        content="oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
    )
    assert kills.count() == 5


def test_the_root_of_version_2_counts_for_the_machine(proc: Path) -> None:
    assert machine(proc, groups="0::/\n", mounts=V2_MOUNT).count() == 40


@pytest.mark.parametrize(
    ("groups", "root", "content"),
    [
        ("3:memory:/a\n", "/", "oom_kill_disable 0\nunder_oom 0\n"),  # older than Linux 4.13
        ("3:memory:/../outside\n", "/inside", "oom_kill 1\n"),
        ("3:memory:/elsewhere\n", "/", "oom_kill 1\n"),
    ],
)
def test_nothing_is_counted_where_the_kernel_gives_no_counter(proc: Path, groups: str, root: str, content: str) -> None:
    kills = machine(proc, groups=groups, mounts=V1_MOUNT, root=root, file="a/memory.oom_control", content=content)
    assert kills.count() is None
    assert kills.since(None) == 0


def test_only_what_was_counted_since_matters(tmp_path: Path) -> None:
    file = tmp_path / "memory.events"
    file.write_text("oom_kill 3\n")
    kills = MemoryKills(file)
    before = kills.count()
    assert kills.since(before) == 0
    file.write_text("oom_kill 4\n")
    assert kills.since(before) == 1
    file.unlink()
    kills.close()  # it stays open between two calls
    assert kills.since(before) == 0
