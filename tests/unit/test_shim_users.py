"""Which users our processes and runs have, and that a dropped process has no way back."""

from __future__ import annotations

import io
import os
import pwd
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jobsched.domain.errors import InvalidInput
from jobsched.local.account import PROJECT
from jobsched.shim import capabilities, users
from jobsched.shim.capabilities import Capability
from jobsched.shim.users import JOB_UIDS, User
from tests.forks import in_child
from tests.unrun import needs_root

NOBODY = pwd.getpwnam("nobody")
as_root = needs_root("only root can become another user")


def status() -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@as_root
@pytest.mark.parametrize(
    ("text", "user"),
    [("61000:61001", User(61000, 61001)), ("nobody", User(NOBODY.pw_uid, NOBODY.pw_gid))],
)
def test_the_service_user_is_named_by_account_or_number(text: str, user: User) -> None:
    assert users.service_user({"JOBSCHED_USER": text}) == user


@as_root
def test_the_service_user_is_never_root_by_default() -> None:
    found = users.service_user({})
    assert found is not None and found.uid != 0 and found.gid != 0


@as_root
@pytest.mark.parametrize("text", ["root", "0:0", "0:5", "5:0", "no-such-account", "5", "5:x", "-1:5", "5:5:5"])
def test_a_service_user_that_is_root_or_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="JOBSCHED_USER"):
        users.service_user({"JOBSCHED_USER": text})


@as_root
@pytest.mark.parametrize(
    ("text", "uids"),
    [("", JOB_UIDS), ("off", range(0)), ("7000-7003", range(7000, 7004)), ("7000-7000", range(7000, 7001))],
)
def test_the_users_of_runs_are_a_range_or_off(text: str, uids: range) -> None:
    assert users.job_uids({"JOBSCHED_JOB_UIDS": text}) == uids


@as_root
@pytest.mark.parametrize("text", ["0-5", "9-3", "x", "5", "on", "1-99999999999", "1-4294967295", "-5-9"])
def test_a_range_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="JOBSCHED_JOB_UIDS"):
        users.job_uids({"JOBSCHED_JOB_UIDS": text})


@as_root
def test_runs_do_not_get_the_service_user() -> None:
    with pytest.raises(InvalidInput, match="contains 7001"):
        users.job_uids({"JOBSCHED_USER": "7001:7001", "JOBSCHED_JOB_UIDS": "7000-7005"})


@as_root
def test_a_dropped_process_has_no_right_and_no_way_to_one() -> None:
    def check() -> None:
        os.environ.update(HOME="/root", USER="root", LOGNAME="root")
        users.drop_to(User(61300, 61301))
        assert os.getresuid() == (61300,) * 3
        assert os.getresgid() == (61301,) * 3
        assert os.getgroups() == []
        now = status()
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(now[name], 16) == 0, name
        assert now["NoNewPrivs"] == "1"
        assert Path("/proc/self/environ").stat().st_uid == 0, "the process is dumpable"
        assert os.environ["HOME"] == users.NO_HOME
        assert "USER" not in os.environ and "LOGNAME" not in os.environ
        with pytest.raises(PermissionError):
            os.setuid(0)

    in_child(check)


@as_root
def test_a_process_that_was_dropped_cannot_change_users_any_more() -> None:
    def check() -> None:
        users.drop_to(User(61300, 61301))
        assert not users.may_change_users()
        assert users.service_user({"JOBSCHED_USER": "61302:61302"}) is None
        assert users.job_uids({}) == range(0)

    in_child(check)


@as_root
def test_a_user_namespace_with_root_alone_has_no_other_user() -> None:
    def check() -> None:
        from jobsched.shim import libc

        libc.unshare(libc.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text("0 0 1")
        Path("/proc/self/gid_map").write_text("0 0 1")
        assert capabilities.holds(Capability.SETUID)
        assert users.service_user({}) is None
        assert users.job_uids({}) == range(0)
        with pytest.raises(InvalidInput, match="user namespace"):
            users.service_user({"JOBSCHED_USER": "7000:7000"})

    in_child(check)


@as_root
def test_acting_as_another_user_counts_for_files_and_ends(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    mine.chmod(0o700)
    os.chown(mine, 61300, 61300)
    # Those that pytest has made, and not the folder for everybody's temporary files.
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        if not parent.stat().st_mode & stat.S_ISVTX:
            parent.chmod(0o711)

    def check() -> None:
        os.setgroups([])
        with users.acting_as(User(61300, 61300)):
            (mine / "file").write_text("")
            with pytest.raises(PermissionError):
                (tmp_path / "other").write_text("")
            assert os.getresuid() == (0, 61300, 0)
        assert os.geteuid() == 0 and os.getegid() == 0
        assert (mine / "file").stat().st_uid == 61300
        assert capabilities.holds(Capability.SETUID)

    in_child(check)


@as_root
def test_the_user_acted_as_cannot_signal_the_process() -> None:
    def check() -> None:
        os.setgroups([])
        parent = os.getpid()
        with users.acting_as(User(61300, 61300)):
            child = os.fork()
            if child == 0:
                os.seteuid(0)
                users.drop_to(User(61300, 61300))
                try:
                    os.kill(parent, signal.SIGKILL)
                except PermissionError:
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0

    in_child(check)


@as_root
def test_a_process_that_drops_still_ends_with_its_parent() -> None:
    script = (
        "import os, signal, sys, time\n"
        "from jobsched.shim import libc, users\n"
        "if os.fork() == 0:\n"
        "    libc.die_with_parent(signal.SIGKILL)\n"
        "    users.drop_to(users.User(61300, 61300))\n"
        "    os.write(1, b'%d' % os.getpid())\n"
        "    time.sleep(60)\n"
        "else:\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=PROJECT) as parent:
        assert isinstance(parent.stdout, io.BufferedReader)
        child = os.pidfd_open(int(parent.stdout.read1(20)))
        parent.kill()
    ready, _, _ = select.select([child], [], [], 30)
    assert ready, "the child outlives its parent"
