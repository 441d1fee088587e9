"""Runs of a worker that was root: a user for each slot, no right, and nothing of other processes within reach."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobsched.domain.errors import Unavailable
from jobsched.domain.outcomes import Assignment, Outcome, Report, Verdict
from jobsched.engine import Slot, folders, launching
from jobsched.hidden_settings import HiddenSettings
from jobsched.shim import capabilities, job_users, users
from jobsched.shim import launcher as launcher_module
from jobsched.shim.capabilities import Capability
from jobsched.shim.guard import JobUsers
from jobsched.shim.launcher import Launcher
from jobsched.shim.lease import lease_clock
from jobsched.shim.users import User
from tests.engine_kit import LEASE_SECONDS, ScriptedWatch, alive, marker, shell
from tests.processes import wait_for
from tests.unrun import needs_root

pytestmark = needs_root("only root can become another user")

SERVICE = User(60701, 60701)
UIDS = range(60710, 60720)
OF_A_CONTAINER = (Capability.SETUID, Capability.SETGID, Capability.CHOWN, Capability.KILL)

InWorker = Callable[[Callable[["Worker"], Any]], Any]
_fork = multiprocessing.get_context("fork")


class Worker:
    """A process that was root, has a launcher, and is the service user now."""

    def __init__(self, data: Path, launcher: Launcher) -> None:
        self.data = data
        self._launcher = launcher

    def slot(self) -> Slot:
        return Slot(workspace_dir=self.data / "workspaces", covered=[self.data], launcher=self._launcher)


def perform(slot: Slot, work: Assignment, **watching: Any) -> Report:
    return slot.perform(work, ScriptedWatch(**watching), deadline=lease_clock() + LEASE_SECONDS)


def output(slot: Slot, command: str) -> str:
    return perform(slot, shell(command)).output.decode()


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder in a place that everybody may enter; pytest's own are for root only."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name) / "data"


@pytest.fixture(params=["namespace", "subreaper", "subreaper with the rights of a container's root"])
def in_worker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, data: Path) -> Iterator[InWorker]:
    """Call a function in a worker, and return what it returns."""
    monkeypatch.setenv("JOBSCHED_ISOLATION", request.param.split()[0])
    started = []

    def call(work: Callable[[Worker], Any]) -> Any:
        ours, theirs = _fork.Pipe()
        process = _fork.Process(target=_be_worker, args=(data, "container" in request.param, work, theirs))
        process.start()
        started.append(process)
        theirs.close()
        return ours.recv()

    yield call
    for process in started:
        process.join(20)
        process.kill()


def _be_worker(data: Path, in_container: bool, work: Callable[[Worker], Any], answer: Any) -> None:
    if in_container:
        capabilities.keep_only(*OF_A_CONTAINER)
    os.setgroups([])
    folders.prepare(data, data / "workspaces", [data / "output"], SERVICE)
    launcher = launching.launcher(
        JobUsers(service=SERVICE, uids=UIDS, locks=data / "workspaces/job-users"),
        workspace_dir=data / "workspaces",
        after_fork=lambda: None,
        hidden=HiddenSettings(),
        prepare=lambda: None,
    )
    users.drop_to(SERVICE)
    answer.send(work(Worker(data, launcher)))


def test_a_run_has_the_user_of_its_slot_and_no_right(in_worker: InWorker) -> None:
    def work(worker: Worker) -> list[str]:
        with worker.slot() as slot:
            return output(slot, "id -u; id -G; grep -E 'Cap|NoNew' /proc/self/status").split()

    uid, groups, *facts = in_worker(work)
    assert int(uid) in UIDS and groups == uid
    status = dict(zip(facts[::2], facts[1::2], strict=True))
    assert status.pop("NoNewPrivs:") == "1"
    assert {int(status[f"Cap{name}:"], 16) for name in ("Inh", "Prm", "Eff", "Amb")} == {0}


def test_each_slot_has_another_user(in_worker: InWorker) -> None:
    def work(worker: Worker) -> list[str]:
        with worker.slot() as one, worker.slot() as two:
            return [output(slot, "id -u") for slot in (one, two, one)]

    first, second, again = in_worker(work)
    assert first == again != second


def test_the_user_of_a_run_has_a_name_that_no_other_slot_has(in_worker: InWorker) -> None:
    """Folders in /tmp that programs name after their user are then never those of another slot."""

    def work(worker: Worker) -> str:
        with worker.slot() as slot:
            return output(slot, 'test "$USER" = "job$(id -u)" && test "$LOGNAME" = "$USER" && echo same')

    assert in_worker(work) == "same\n"


def test_a_run_works_in_its_own_folder_and_may_open_its_output_again(in_worker: InWorker) -> None:
    def work(worker: Worker) -> str:
        with worker.slot() as slot:
            return output(slot, 'touch here && test "$PWD" = "$HOME" && echo told > /dev/stderr')

    assert in_worker(work) == "told\n"


def test_a_run_finds_no_temporary_file_of_the_run_before_it(in_worker: InWorker) -> None:
    def work(worker: Worker) -> list[str]:
        with worker.slot() as slot:
            left = output(slot, 'mktemp; stat -c %U%a "$TMPDIR"; ls -A "$TMPDIR" | wc -l; ls -A').split()
            return [*left, output(slot, f'test -e {left[0]} || ls -A "$TMPDIR"')]

    file, mode, count, after = in_worker(work)
    assert not file.startswith("/tmp/tmp.") and mode.endswith("700") and count == "1"
    assert after == ""


def test_a_run_still_says_when_it_is_to_be_tried_again(in_worker: InWorker) -> None:
    def work(worker: Worker) -> Any:
        with worker.slot() as slot:
            return perform(slot, shell('echo 90s > "$JOBSCHED_RETRY"; exit 1')).outcome.retry_after_seconds

    assert in_worker(work) == 90


def test_a_run_reads_its_parameters_from_their_file_and_cannot_change_them(in_worker: InWorker) -> None:
    def work(worker: Worker) -> str:
        with worker.slot() as slot:
            command = 'cat "$JOBSCHED_PARAMS_FILE"; echo changed 2>&- > "$JOBSCHED_PARAMS_FILE" || echo " refused"'
            return perform(slot, shell(command, params={"customer": 7})).output.decode()

    assert in_worker(work).splitlines()[-1].endswith(" refused")
    assert in_worker(work).startswith('{"customer": 7}')


def test_what_a_run_leaves_running_is_killed_with_a_warning(in_worker: InWorker) -> None:
    unique = marker()

    def work(worker: Worker) -> str:
        with worker.slot() as slot:
            return perform(slot, shell(f"sleep {unique} &")).outcome.warning

    assert in_worker(work) == "1 process was still running when the work ended, and killed: sleep"
    assert not alive(unique)


def test_a_run_can_neither_read_nor_write_in_the_data_folder(in_worker: InWorker) -> None:
    def work(worker: Worker) -> str:
        stored = worker.data / "output" / "of-another-run"
        stored.write_text("stored output")
        stored.chmod(0o644)
        with worker.slot() as slot:
            found = output(slot, f"cat {stored}; ls {worker.data} {stored.parent}; echo x > {stored}; true")
        return found + stored.read_text()

    found = in_worker(work)
    assert found.count("stored output") == 1 and found.endswith("stored output")


def test_a_run_sees_nothing_of_a_run_in_another_slot(in_worker: InWorker) -> None:
    unique = marker()

    def work(worker: Worker) -> str:
        with worker.slot() as one, worker.slot() as two:
            secret = shell(f"echo hush > file; sleep {unique}", env={"SECRET": "hush"})
            watch = ScriptedWatch()
            held = threading.Thread(
                target=one.perform, args=(secret, watch), kwargs={"deadline": lease_clock() + LEASE_SECONDS}
            )
            held.start()
            wait_for(lambda: alive(unique), what="the run in the other slot")
            [folder] = (path for path in worker.data.glob("workspaces/slot-*/run-*") if path.is_dir())
            found = output(
                two, f"cat /proc/[0-9]*/environ {folder}/file; ls {folder} {folder.parent}; kill -9 -1; true"
            )
            lives = bool(alive(unique))
            watch.answer = {"cancel_requested": True}
            held.join()
            return f"{found} lives={lives}"

    found = in_worker(work)
    assert "JOBSCHED_RUN_ID" in found, "the run could not even read its own environment"
    assert "hush" not in found
    assert found.endswith("lives=True")


ESCAPES = {
    "a new session": "setsid sleep {0} & sleep 0.2",
    "killing all": "(trap '' TERM; setsid sleep {0}) & sleep 0.2; kill -9 -1",
    "stopping all": "(setsid sleep {0}) & sleep 0.2; kill -STOP -1",
}


@pytest.mark.parametrize("how", ESCAPES)
def test_nothing_of_a_run_survives_it(in_worker: InWorker, how: str) -> None:
    unique = marker()

    def work(worker: Worker) -> tuple[Verdict, bool, str]:
        with worker.slot() as slot:
            report = perform(slot, shell(ESCAPES[how].format(unique) + "; exit 0"))
            return report.outcome.verdict, bool(alive(unique)), output(slot, "echo fine")

    assert in_worker(work) == (Verdict.SUCCEEDED, False, "fine\n")


def test_the_folder_of_a_run_goes_whatever_its_user_did_to_it(in_worker: InWorker) -> None:
    def work(worker: Worker) -> list[Path]:
        with worker.slot() as slot:
            perform(slot, shell("mkdir -p a/b; touch a/b/c; chmod 000 a/b a .; ln -s /etc link"))
            return list(worker.data.glob("workspaces/slot-*/run-*"))

    assert in_worker(work) == []


def test_a_killed_slot_leaves_neither_processes_nor_folders(in_worker: InWorker, data: Path) -> None:
    unique = marker()

    def work(worker: Worker) -> int:
        process = _fork.Process(target=lambda: perform(worker.slot(), shell(f"touch file; sleep {unique}")))
        process.start()
        assert process.pid is not None
        wait_for(lambda: alive(unique), what="the run starts")
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: not alive(unique), what="the run dies with its slot")
        wait_for(lambda: not list(data.glob("workspaces/slot-*")), what="its folders go")
        return process.pid

    assert in_worker(work) > 0


def test_what_a_whole_worker_left_is_removed_by_the_next_one(in_worker: InWorker, data: Path) -> None:
    left = data / "workspaces" / "slot-left"
    inner = left / "run-1-1-x" / "inner"
    inner.mkdir(parents=True)
    (left / "lock").touch()
    (inner / "file").touch()
    left.chmod(0o711)  # as a slot makes it: the user of a run cannot list it
    for path, owner in ((data, SERVICE), (left.parent, SERVICE), (left, SERVICE), (left / "lock", SERVICE)):
        os.chown(path, owner.uid, owner.gid)
    for path in (inner.parent, inner, inner / "file"):
        os.chown(path, UIDS[0], UIDS[0])
        path.chmod(0o700)

    def work(_worker: Worker) -> bool:
        wait_for(lambda: not left.exists(), what="the folder goes")
        return True

    assert in_worker(work)


def test_the_service_user_cannot_end_the_launcher_or_get_more_from_it(in_worker: InWorker) -> None:
    def work(worker: Worker) -> str:
        with worker.slot() as slot:
            perform(slot, shell("true"))
            assert slot.shim is not None
            refused = []
            for pid in (slot.shim.pid, slot.shim.guard):
                try:
                    os.kill(pid, signal.SIGKILL)
                except PermissionError:
                    refused.append(pid)
            assert len(refused) == 2
            return output(slot, "echo fine")

    assert in_worker(work) == "fine\n"


def test_a_slot_whose_launcher_is_gone_says_so(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    with Slot(workspace_dir=tmp_path, launcher=Launcher(ours)) as slot, pytest.raises(Unavailable, match="restart the"):
        slot.warm()


def _no_work(*_: object) -> Outcome:
    raise AssertionError("no run is started here")


def test_the_launcher_goes_on_when_it_cannot_start_a_guard_for_a_slot_that_has_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    slot, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    slot.close()
    descriptors = [theirs.detach(), os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)]
    message = {"isolation": "subreaper", "folder": None, "covered": []}
    monkeypatch.setattr(os, "fork", refuse)
    launcher_module._fork_guard(message, descriptors, _no_work, JobUsers(service=SERVICE, uids=UIDS, locks=tmp_path))
    for number in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)


@pytest.fixture
def workspaces(tmp_path: Path) -> Path:
    """A folder of workspaces as a worker that was root prepares it."""
    folder = tmp_path / "workspaces"
    folder.mkdir()
    os.chown(folder, SERVICE.uid, SERVICE.gid)
    folder.chmod(0o711)
    return folder


def release(taken: job_users.TakenUser) -> None:
    for lock in taken.locks:
        os.close(lock)


@pytest.mark.parametrize(
    "second", ["same host and workspaces", "same host, other workspaces", "other host, same workspaces"]
)
def test_users_for_runs_are_taken_once(
    workspaces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    """Containers have a /run and a /tmp of their own, as other hosts have."""
    uids = range(60730, 60732)
    taken = [job_users.take(uids, shared=workspaces / "users", service=SERVICE)]
    shared = workspaces / ("others" if "other workspaces" in second else "users")
    if "other host" in second:
        monkeypatch.setattr(job_users, "_LOCK_FOLDERS", (tmp_path / "run",))
    try:
        taken.append(job_users.take(uids, shared=shared, service=SERVICE))
        assert {one.user.uid for one in taken} == set(uids)
        with pytest.raises(Unavailable, match="JOBSCHED_JOB_UIDS"):
            job_users.take(uids, shared=shared, service=SERVICE)
    finally:
        for one in taken:
            release(one)
    release(job_users.take(uids, shared=shared, service=SERVICE))
    assert stat.S_IMODE(shared.stat().st_mode) == 0o700
    assert shared.stat().st_uid == SERVICE.uid


def test_the_user_of_an_account_is_not_taken_for_runs(workspaces: Path) -> None:
    with pytest.raises(Unavailable, match="are accounts"):
        job_users.take(range(1, 3), shared=workspaces / "users", service=SERVICE)  # daemon and bin


def test_workspaces_that_cannot_hold_the_locks_are_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    closed.chmod(0o700)
    with pytest.raises(Unavailable, match=r"closed/users cannot hold the locks of users for runs: Permission denied"):
        job_users.take(range(60730, 60732), shared=closed / "users", service=SERVICE)
