"""Output of any length, from the command that prints it to whoever reads it."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
from django.test import override_settings

from jobs.conf import conf
from jobs.models import Attempt, Job, OutputChunk, OutputStore, Run
from jobs.output_storage import output_storage, store_token
from jobs.services import control, output_cleaning, outputs, running
from jobs.services.preflight import hosts
from jobs.services.recovery import reap
from jobs.services.running import keeping, storing, turn
from jobs.store import outputs as rows
from jobs.store.session import Session
from jobsched.domain.outcomes import Outcome, Part, Report, Verdict
from tests.integration.api import signed_in
from tests.integration.conftest import claim_next
from tests.processes import wait_for

pytestmark = pytest.mark.usefixtures("own_slot", "store")

LIMIT = 4 * 1024 * 1024
LINES = 300_000
ALL_LINES = "".join(f"{number}\n" for number in range(1, LINES + 1))
"""2.0 MB: more than before, less than the limit."""
Request = Callable[..., Run]


@contextmanager
def stored_by(backend: str, location: Path) -> Iterator[None]:
    options = {"location": location, "file_permissions_mode": 0o600, "directory_permissions_mode": 0o700}
    with override_settings(STORAGES={**settings.STORAGES, "jobsched": {"BACKEND": backend, "OPTIONS": options}}):
        yield


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own, and a limit that a test can exceed in a moment. A busy machine may take long to store."""
    monkeypatch.setattr(keeping, "STORE_SECONDS", 120.0)
    folder = tmp_path / "store"
    with (
        override_settings(JOBSCHED={**settings.JOBSCHED, "OUTPUT_LIMIT_BYTES": LIMIT}),
        stored_by("django.core.files.storage.FileSystemStorage", location=folder),
    ):
        conf.cache_clear()
        yield folder
    conf.cache_clear()


@pytest.fixture
def request_run(make_job: Callable[..., Job]) -> Request:
    def request(command: str, **fields: Any) -> Run:
        make_job("Prints", spec={"command": command}, **fields)
        return control.trigger(job="Prints", actor="test")

    return request


def perform(run: Run) -> Attempt:
    running.work("default", hostname="slot@test")
    return Attempt.objects.get(run=run)


def all_of(run: Run, attempt: int = 1) -> str:
    return "".join(outputs.pieces(run.pk, outputs.output(run.pk, attempt=attempt, offset=0)))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.log"))


def test_all_output_up_to_the_limit_is_kept_in_chunks(request_run: Request, store: Path) -> None:
    run = request_run(f"seq {LINES}")
    attempt = perform(run)

    assert (attempt.verdict, attempt.output_total) == ("succeeded", len(ALL_LINES))
    assert all_of(run) == ALL_LINES
    assert "".join(path.read_text() for path in files(store)) == ALL_LINES, "names sort in the order of the output"
    assert len(files(store)) >= 3
    assert not OutputChunk.objects.filter(key=None).exists(), "nothing is left in the database"
    assert attempt.output.startswith("1\n2\n")
    assert attempt.output.endswith(f"{LINES - 1}\n{LINES}\n")
    assert len(attempt.output) < 20_000


def test_output_beyond_the_limit_has_a_line_in_the_place_of_what_is_missing(request_run: Request) -> None:
    count = 1_500_000
    run = request_run(f"seq {count}")
    attempt = perform(run)

    shown = all_of(run)
    match = re.fullmatch(r"((?:\d+\n)+)\[… (\d+) bytes left out …\]\n((?:\d+\n)+)", shown)
    assert match is not None, "both ends are whole lines"
    head, missing, tail = match.groups()
    assert 0.95 * LIMIT < len(head) + len(tail) <= LIMIT
    assert len(head) + int(missing) + len(tail) == attempt.output_total
    assert head.startswith("1\n2\n")
    assert tail.endswith(f"{count}\n")


def test_the_page_of_a_run_shows_the_end_of_long_output_and_how_much_is_not_kept(
    request_run: Request, admin_client: Any
) -> None:
    run = request_run("seq -f %0999.0f 6000")
    attempt = perform(run)
    missing = re.search(r"\[… (\d+) bytes left out …\]", all_of(run))
    assert missing is not None

    page = admin_client.get(f"/admin/jobs/run/{run.pk}/change/").content.decode()

    extent = f"the end of {attempt.output_total:,} bytes; {int(missing[1]):,} bytes in the middle were beyond the limit"
    assert extent in page
    shown = re.search(r'<pre class="js-output">((?:\d+\n)+)</pre>', page)
    assert shown is not None, "the page shows whole lines and nothing from before those that are missing"
    lines = [int(line) for line in shown[1].split()]
    assert lines == list(range(lines[0], 6_001))


def test_what_stands_for_missing_output_is_a_line_also_where_a_follower_goes_on(request_run: Request) -> None:
    run = request_run("true")
    for start, data in ((0, b"cut inside a line"), (1000, b"end\n")):
        OutputChunk.objects.create(run=run, attempt=1, start=start, size=len(data), data=data)
    Run.objects.filter(pk=run.pk).update(attempt=1)
    expected = "cut inside a line\n[… 983 bytes left out …]\nend\n"
    assert all_of(run) == expected

    assert "cut inside a line" + outputs.output(run.pk, attempt=1, offset=17).text == expected


def test_output_can_be_followed_to_its_present_end_while_it_is_printed(request_run: Request, tmp_path: Path) -> None:
    """Also far beyond what is kept of it in the database, and beyond the limit."""
    go_on, api = tmp_path / "go-on", signed_in()
    wait = f"until [ -e {go_on} ]; do sleep 0.05; done"
    run = request_run(f"seq {LINES}; {wait}; rm {go_on}; seq 1000000; echo LAST; {wait}")
    seen: list[str] = []

    def follow() -> None:
        offset = 0
        text = ""

        def read_until(end: str) -> None:
            nonlocal offset, text

            def found() -> bool:
                nonlocal offset, text
                part = api.get(f"/api/v1/runs/{run.pk}/output?attempt=1&offset={offset}")
                if part.status_code != 200:  # it has not begun
                    return False
                offset = part.json()["offset"]
                text += part.json()["output"]
                assert not part.json()["finished"]
                return text.endswith(end)

            wait_for(found, timeout=90, what=f"output up to {end!r}")

        try:
            read_until(f"\n{LINES}\n")
            seen.append(text)
            go_on.touch()
            read_until("\nLAST\n")
            seen.append(text)
        finally:
            go_on.touch()

    following = threading.Thread(target=follow)
    following.start()
    try:
        perform(run)
    finally:
        following.join(timeout=120)
    first, second = seen
    assert first == ALL_LINES
    assert second.startswith(ALL_LINES)


def test_text_is_never_split_and_bytes_that_are_none_are_replaced(request_run: Request) -> None:
    """Small output that is no text, and long output of characters of three bytes."""
    run = request_run(r"printf 'a\377\0b'")
    perform(run)
    assert all_of(run) == "a\ufffd\ufffdb"

    Job.objects.filter(name="Prints").update(spec={"command": "yes € | head -n 400000"})
    wide = control.trigger(job="Prints", actor="test")
    perform(wide)
    assert all_of(wide) == "€\n" * 400_000


class Unreachable(FileSystemStorage):
    """A store that does not answer for a while, and then refuses."""

    working = False

    def _save(self, name: str, content: Any) -> str:
        if self.working:
            return str(super()._save(name, content))
        time.sleep(1)
        raise OSError(28, "No space left on device")


def test_a_store_that_fails_costs_no_output_and_gets_it_later(
    request_run: Request, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = request_run(f"seq {LINES}")
    with stored_by(f"{__name__}.Unreachable", location=store):
        attempt = perform(run)
        assert attempt.verdict == "succeeded"
        assert all_of(run) == ALL_LINES
        assert not files(store)

        monkeypatch.setattr(Unreachable, "working", True)
        done = output_cleaning.clean()
    assert done.stored >= 3
    assert not OutputChunk.objects.filter(key=None).exists()
    assert "".join(path.read_text() for path in files(store)) == ALL_LINES
    assert all_of(run) == ALL_LINES


def test_a_slot_stores_later_what_the_store_did_not_take(
    request_run: Request, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = request_run(f"seq {LINES}")
    with stored_by(f"{__name__}.Unreachable", location=store):
        perform(run)
        monkeypatch.setattr(Unreachable, "working", True)
        monkeypatch.setattr(storing, "TIDY_EVERY_SECONDS", 0.0)
        monkeypatch.setattr(storing, "PAUSE_SECONDS", 0.0)
        wait_for(_stored_by_a_turn, timeout=60, what="all output in the store")
    assert all_of(run) == ALL_LINES


def _stored_by_a_turn() -> bool:
    running.work("default", hostname="slot@test")
    return not OutputChunk.objects.filter(key=None).exists()


def test_what_a_lost_attempt_printed_can_be_read(request_run: Request, session: Session, store: Path) -> None:
    """Its slot dies with a part of the output in the store, and a part in the database."""
    run = request_run(f"seq {LINES}; sleep 600", on_lost="fail", timeout=timedelta(seconds=700))

    def lose_when_all_is_printed() -> None:
        def lost() -> bool:
            text = all_of(run) if Run.objects.get(pk=run.pk).attempt else ""
            return text == ALL_LINES and OutputChunk.objects.filter(run=run, key__isnull=False).exists()

        wait_for(lost, timeout=90, what="all lines")
        Run.objects.filter(pk=run.pk).update(lease_until="2020-01-01T00:00:00Z")
        wait_for(lambda: reap() > 0, timeout=60, what="the reaper")

    losing = threading.Thread(target=lose_when_all_is_printed)
    losing.start()
    running.work("default", hostname="slot@test")
    losing.join(timeout=120)
    attempt = Attempt.objects.get(run=run)
    assert (attempt.verdict, attempt.output_total) == ("lost", len(ALL_LINES))
    assert attempt.output.endswith(f"{LINES}\n")
    assert all_of(run) == ALL_LINES


def test_short_output_that_is_stored_already_is_kept_when_its_worker_is_lost(
    request_run: Request, session: Session, store: Path
) -> None:
    """Output that is no text is stored however short it is, and its worker may be lost before it records the end."""
    run = request_run("true")
    [claim] = claim_next(session, lease_seconds=-1)
    slot_storing = storing.Storing()
    slot_storing.register(session)
    keeper = keeping.OutputKeeper(session, slot_storing, claim)
    try:
        keeper.finish(
            Report(
                outcome=Outcome(verdict=Verdict.SUCCEEDED),
                output=b"a\0b\n",
                output_total=4,
                output_rest=(Part(start=0, data=b"a\0b\n", replaces_from=0, final=True),),
            ),
            go_on=lambda: True,
        )
    finally:
        slot_storing.close()
    assert len(files(store)) == 1

    assert reap() == 1

    assert Attempt.objects.get(run=run).output_total == 4
    assert all_of(run) == "a\ufffdb\n"


def test_cleaning_removes_what_belongs_to_no_attempt_and_nothing_else(request_run: Request, store: Path) -> None:
    kept = request_run(f"seq {LINES}")
    perform(kept)
    removed = control.trigger(job="Prints", actor="test")
    perform(removed)
    orphan = output_storage().save("runs/0/77/1-000-none.log", ContentFile(b"nobody's"))
    Attempt.objects.filter(run=removed).delete()
    Run.objects.filter(pk=removed.pk).delete()
    before = len(files(store))

    call_command("clean_output", older_than_hours=0)

    assert all_of(kept) == ALL_LINES
    assert not OutputChunk.objects.filter(run_id=removed.pk).exists()
    assert not output_storage().exists(orphan)
    assert 0 < len(files(store)) < before
    assert {path.parent.name for path in files(store)} == {str(kept.pk)}
    assert not (store / f"runs/0/{removed.pk}").exists()


def test_cleaning_names_the_host_that_it_stores_output_on(request_run: Request, store: Path, tmp_path: Path) -> None:
    """Also a host without workers, such as that of a web process."""
    run = request_run(f"seq {LINES}")
    with stored_by(f"{__name__}.Unreachable", location=store):
        perform(run)
    with stored_by("django.core.files.storage.FileSystemStorage", location=tmp_path / "of-web"):
        assert output_cleaning.clean().stored >= 3
        here = OutputStore.objects.get(token=store_token())
        assert all_of(run) == ALL_LINES
    assert here.host == socket.gethostname()
    assert not OutputChunk.objects.exclude(store=here).exists()


@pytest.mark.django_db(transaction=True)
def test_a_new_object_that_no_row_names_yet_is_spared(store: Path) -> None:
    name = output_storage().save("runs/0/7/1-000-new.log", ContentFile(b"new"))
    assert output_cleaning.clean().orphans == 0
    assert output_storage().exists(name)


def test_output_on_the_disk_of_another_host_is_shown_by_its_end_and_the_host_is_named(
    request_run: Request, tmp_path: Path, admin_client: Any
) -> None:
    run = request_run(f"seq {LINES}")
    perform(run)
    OutputStore.objects.update(host="worker-two")
    api = signed_in()
    with stored_by("django.core.files.storage.FileSystemStorage", location=tmp_path / "of-web"):
        answer = api.get(f"/api/v1/runs/{run.pk}/output")
        [attempt] = api.get(f"/api/v1/runs/{run.pk}/").json()["attempts"]
        page = admin_client.get(f"/admin/jobs/run/{run.pk}/change/").content.decode()
        download = admin_client.get(f"/admin/jobs/run/{run.pk}/attempts/1/output.txt")
        found = {finding.check: finding for finding in hosts.look()}["output_hosts"]

    assert answer.status_code == 200
    text = answer.json()["output"]
    assert text.startswith(f"[… {len(ALL_LINES)} bytes kept on the disk of host worker-two, which this server cannot")
    assert text.endswith(f"{LINES - 1}\n{LINES}\n")
    assert answer.json()["finished"]
    assert attempt["output_host"] == "worker-two"
    assert attempt["output"].endswith(f"{LINES}\n")
    assert "on the disk of host worker-two" in page
    assert f"{LINES}\n" in page
    assert b"host worker-two" in b"".join(download.streaming_content)
    assert (found.level, "worker-two" in found.sentence) == ("warning", True)


def test_doctor_reports_an_error_when_several_hosts_keep_output_on_their_own_disks(
    store: Path, transactional_db: None
) -> None:
    store_token(create=True)
    turn._slot_of_this_process("slot@test")
    assert {finding.check: finding.level for finding in hosts.look()}["output_hosts"] == "fine"
    OutputStore.objects.create(token=uuid4(), host="worker-two", seen_at="2099-01-01T00:00:00Z")
    found = {finding.check: finding for finding in hosts.look()}["output_hosts"]
    assert found.level == "error"
    assert "worker-two" in found.sentence


def test_output_that_is_gone_is_passed_over_and_its_end_is_shown(request_run: Request, store: Path) -> None:
    run = request_run(f"seq {LINES}")
    perform(run)
    first, *_, last = files(store)
    first.unlink()
    size = last.stat().st_size
    last.unlink()
    shown = all_of(run)
    assert re.match(r"\[… \d+ bytes no longer in the output store …\]\n\d+\n", shown)
    assert f"[… {size} bytes no longer in the output store …]\n[the end of it, from the database:]\n" in shown
    assert shown.endswith(f"{LINES - 1}\n{LINES}\n")


def test_an_object_that_is_shorter_than_it_was_is_read_and_the_rest_passed_over(
    request_run: Request, store: Path
) -> None:
    """As after a power failure of the host that stored it."""
    run = request_run(f"seq {LINES}")
    perform(run)
    first, *_, last = files(store)
    first.write_bytes(first.read_bytes()[:4])
    last.write_bytes(b"")
    shown = all_of(run)
    assert re.match(r"1\n2\n\[… \d+ bytes no longer in the output store …\]\n\d+\n", shown)
    assert shown.endswith(f"{LINES - 1}\n{LINES}\n")


def test_output_is_read_whole_while_its_rows_become_a_chunk(
    request_run: Request, session: Session, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row that is about to be read is removed meanwhile, and an object has its bytes."""
    run = request_run("true")
    [claim] = claim_next(session)
    for start, data in ((0, b"first\n"), (6, b"second\n")):
        rows.keep(session, claim, Part(start=start, data=data, replaces_from=start, final=True))
    read_row = outputs._Reader._of_row

    def store_meanwhile(reader: Any, *place: int) -> bytes | None:
        chunk = rows.waiting(session, run.pk, 1)
        if chunk is not None:
            key = output_storage().save("runs/0/1/1-0-chunk.log", ContentFile(chunk.data))
            assert rows.record_stored(session, chunk, key=key, store=None)
        return read_row(reader, *place)

    monkeypatch.setattr(outputs._Reader, "_of_row", store_meanwhile)
    part = outputs.output(run.pk, attempt=1, offset=6)
    assert (part.text, part.offset, part.finished) == ("second\n", 13, False)


def test_output_is_read_whole_while_it_moves_to_the_row_of_its_attempt(
    request_run: Request, session: Session, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = request_run("true")
    [claim] = claim_next(session)
    rows.keep(session, claim, Part(start=0, data=b"all\n", replaces_from=0, final=True))
    Run.objects.filter(pk=run.pk).update(lease_until="2020-01-01T00:00:00Z")
    read_row = outputs._Reader._of_row

    def end_meanwhile(reader: Any, *place: int) -> bytes | None:
        assert reap() == 1
        return read_row(reader, *place)

    monkeypatch.setattr(outputs._Reader, "_of_row", end_meanwhile)
    part = outputs.output(run.pk, attempt=1, offset=0)
    assert (part.text, part.finished) == ("all\n", True)


def test_an_attempt_that_has_ended_does_not_wait_long_for_its_store(
    request_run: Request, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that answers nothing at all: the run ends, and its output stays in the database."""
    over = threading.Event()
    monkeypatch.setattr(keeping, "STORE_SECONDS", 0.5)
    monkeypatch.setattr(Unreachable, "_save", lambda *_: over.wait(120))
    run = request_run(f"seq {LINES}")
    with stored_by(f"{__name__}.Unreachable", location=store):
        try:
            attempt = perform(run)
            assert attempt.verdict == "succeeded"
            assert all_of(run) == ALL_LINES
        finally:
            over.set()
