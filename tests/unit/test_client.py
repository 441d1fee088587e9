"""The client against a real HTTP server whose answers are laid down by the test."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from jobsched import client as client_module
from jobsched.client import ApplyInterrupted, Client
from jobsched.domain.errors import Conflict, InvalidInput, JobschedError, NotFound, Unavailable

TOKEN = "a" * 64
BROKEN = 0
"""Instead of a status: the server reads the request and closes the connection."""
CHECKING = {"id": 7, "state": "checking", "checked": 250, "total": 5000}
ENDED_ALREADY = (409, {"error": "Apply 7 has ended already."})
APPLIED = {"id": 7, "state": "applied", "jobs": [{"name": "A"}]}


@dataclass
class Counterpart:
    """What the server is to answer, in order, and what it was asked."""

    url: str = ""
    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def counterpart() -> Iterator[Counterpart]:
    laid = Counterpart()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            sent = json.loads(self.rfile.read(length)) if length else None
            laid.asked.append((self.command, self.path, sent))
            laid.headers.append(dict(self.headers))
            status, data = laid.answers.pop(0)
            if status == BROKEN:
                self.close_connection = True
                return
            body = data if isinstance(data, bytes) else json.dumps(data).encode()
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if status != 204:
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    laid.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield laid
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(counterpart: Counterpart) -> Client:
    return Client(counterpart.url + "/", TOKEN, timeout_seconds=10)


def test_a_request_carries_the_token_and_names_are_escaped(client: Client, counterpart: Counterpart) -> None:
    counterpart.answers = [(201, {"id": 7})]

    assert client.trigger("a/b c?", {"n": 1}, 9, project="x y") == {"id": 7}

    assert counterpart.asked == [
        ("POST", "/api/v1/jobs/a%2Fb%20c%3F/trigger?project=x+y", {"params": {"n": 1}, "priority": 9})
    ]
    assert counterpart.headers[0]["Authorization"] == f"Token {TOKEN}"


def test_long_lists_are_fetched_page_by_page(client: Client, counterpart: Counterpart) -> None:
    counterpart.answers = [
        (200, {"runs": [{"id": n} for n in range(900, 400, -1)], "next": 401}),
        (200, {"runs": [{"id": n} for n in range(400, 300, -1)], "next": 301}),
    ]

    found = client.runs(trigger="backfill", limit=600)

    assert [run["id"] for run in found] == list(range(900, 300, -1))
    assert counterpart.asked[0][1] == "/api/v1/runs/?trigger=backfill&limit=500"
    assert counterpart.asked[1][1] == "/api/v1/runs/?trigger=backfill&before=401&limit=100"


def test_jobs_are_fetched_until_there_are_no_more(client: Client, counterpart: Counterpart) -> None:
    counterpart.answers = [(200, {"jobs": [{}], "next": "default/A b"}), (200, {"jobs": [{}], "next": None})]

    assert client.jobs() == [{}, {}]

    assert counterpart.asked[1][1] == "/api/v1/jobs/?after=default%2FA+b&limit=500"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (401, JobschedError),
        (403, JobschedError),
        (404, NotFound),
        (409, Conflict),
        (500, JobschedError),
        (503, Unavailable),
    ],
)
def test_a_refusal_is_raised_with_the_servers_sentence(
    client: Client, counterpart: Counterpart, status: int, kind: type[JobschedError]
) -> None:
    counterpart.answers = [(status, {"error": "Run 7 is running."})]

    with pytest.raises(JobschedError) as raised:
        client.retry(7)

    assert type(raised.value) is kind
    assert str(raised.value) == "Run 7 is running."


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>hello</html>", JobschedError),
        (200, b"[]", JobschedError),
        (404, b"<html>not here</html>", JobschedError),
        (502, b"<html>bad gateway</html>", Unavailable),
        (302, b"", JobschedError),
    ],
)
def test_an_answer_of_something_else_says_to_check_the_address(
    client: Client, counterpart: Counterpart, status: int, body: bytes, kind: type[JobschedError]
) -> None:
    counterpart.answers = [(status, body)]

    with pytest.raises(JobschedError, match="JOBSCHED_URL") as raised:
        client.jobs()

    assert type(raised.value) is kind
    assert len(counterpart.asked) == 1, "a token must not follow a redirect"


def test_no_content_is_an_answer(client: Client, counterpart: Counterpart) -> None:
    counterpart.answers = [(204, b"")]
    client.delete_job("A")
    assert counterpart.asked == [("DELETE", "/api/v1/jobs/A/?project=default", None)]


def test_calls_about_time_name_their_period(client: Client, counterpart: Counterpart) -> None:
    start, end = "2026-11-01T00:00:00+01:00", "2026-11-02T00:00:00Z"
    counterpart.answers = [(200, {"counts": {}}), (201, {"made": 1}), (200, {"made": 0}), (200, {"fires": [{}]})]

    client.fires("A b", start, end)
    client.backfill("A b", start, end, max_running=2, project="p")
    client.backfill("A b", start, end, dry_run=True)
    assert client.upcoming(hours=3) == [{}]

    body = {"from": start, "to": end, "dry_run": False}
    assert counterpart.asked == [
        (
            "GET",
            "/api/v1/jobs/A%20b/fires?project=default&from=2026-11-01T00%3A00%3A00%2B01%3A00"
            "&to=2026-11-02T00%3A00%3A00Z",
            None,
        ),
        ("POST", "/api/v1/jobs/A%20b/backfill?project=p", {**body, "max_running": 2}),
        ("POST", "/api/v1/jobs/A%20b/backfill?project=default", {**body, "dry_run": True}),
        ("GET", "/api/v1/upcoming?hours=3&limit=100&of_each=5", None),
    ]


def test_a_preview_sends_the_job_as_it_is(client: Client, counterpart: Counterpart) -> None:
    counterpart.answers = [(200, {"words": "every minute"})]
    assert client.preview({"schedule": "1m"}, count=2) == {"words": "every minute"}
    assert counterpart.asked == [("POST", "/api/v1/preview?count=2", {"schedule": "1m"})]


def test_rates_are_put_to_their_queue(client: Client, counterpart: Counterpart) -> None:
    counterpart.answers = [(200, {"queues": [{}]}), (200, {"rate": "1/s"}), (200, {"rate": None})]
    assert client.queues() == [{}]
    client.set_rate("slow lane", "1/s")
    client.set_rate("default", None)
    assert counterpart.asked[1:] == [
        ("PUT", "/api/v1/queues/slow%20lane", {"rate": "1/s"}),
        ("PUT", "/api/v1/queues/default", {"rate": None}),
    ]


def test_runs_are_described_in_the_address_and_in_the_body(client: Client, counterpart: Counterpart) -> None:
    counterpart.answers = [(200, {"runs": [], "next": None}), (200, {}), (200, {}), (200, {}), (201, {}), (201, {})]
    start = "2026-11-01T00:00:00Z"
    client.runs(state="failed,timed_out", retried=False, start=start, by="finished", limit=1)
    client.cancel_many(job="A", state="queued", dry_run=True)
    client.cancel_many(job="A", retried=None, before=7, limit=3)
    client.retry_many(since="2h", retried=True, definition="now")
    client.retry(7)
    client.retry(7, definition="now")
    assert counterpart.asked == [
        (
            "GET",
            "/api/v1/runs/?state=failed%2Ctimed_out&retried=no&from=2026-11-01T00%3A00%3A00Z&by=finished&limit=1",
            None,
        ),
        ("POST", "/api/v1/runs/cancel", {"job": "A", "state": "queued", "dry_run": True}),
        ("POST", "/api/v1/runs/cancel", {"job": "A", "before": 7, "limit": 3}),
        ("POST", "/api/v1/runs/retry", {"since": "2h", "retried": "yes", "definition": "now"}),
        ("POST", "/api/v1/runs/7/retry", {}),
        ("POST", "/api/v1/runs/7/retry", {"definition": "now"}),
    ]


def test_a_server_that_is_not_there_is_told_in_one_sentence() -> None:
    with pytest.raises(Unavailable, match="make up") as raised:
        Client("http://127.0.0.1:1", TOKEN).jobs()
    assert "\n" not in str(raised.value)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "ftp://host", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="address"):
        Client(url, TOKEN)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ümlaut"])
def test_a_token_that_is_none_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(InvalidInput, match="token") as raised:
        Client("http://127.0.0.1:1", token)
    assert not token or token not in str(raised.value)


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(Client("http://u:secret@127.0.0.1:1", TOKEN))
    assert "secret" not in repr(Client("http://u:secret@127.0.0.1:1", TOKEN))


class TestFindingTheServer:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        for name in ("JOBSCHED_URL", "JOBSCHED_TOKEN", "JOBSCHED_TOKEN_FILE", "JOBSCHED_DATA_DIR"):
            monkeypatch.delenv(name, raising=False)
        here = tmp_path / "a" / "b"
        here.mkdir(parents=True)
        monkeypatch.chdir(here)
        return here

    @staticmethod
    def stack(folder: Path, url: str) -> Path:
        folder.mkdir(parents=True)
        path = folder / "stack.json"
        path.write_text(json.dumps({"url": url, "token": TOKEN, "pid": 1}))
        return path

    def test_the_environment_comes_first(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stack(here / ".jobsched", "http://127.0.0.1:2")
        monkeypatch.setenv("JOBSCHED_URL", "http://127.0.0.1:1/")
        monkeypatch.setenv("JOBSCHED_TOKEN", TOKEN)
        assert Client.local().url == "http://127.0.0.1:1"

    def test_the_token_may_stand_in_a_file(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JOBSCHED_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("JOBSCHED_TOKEN_FILE", str(here / "token"))
        with pytest.raises(InvalidInput, match="cannot be read"):
            Client.local()
        (here / "token").write_text(f"{TOKEN}\n")
        assert Client.local().url == "http://127.0.0.1:1"

    def test_an_address_without_a_token_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JOBSCHED_URL", "http://127.0.0.1:1")
        with pytest.raises(InvalidInput, match="JOBSCHED_TOKEN"):
            Client.local()

    def test_the_nearest_stack_above_is_found(self, here: Path) -> None:
        self.stack(here.parent.parent / ".jobsched", "http://127.0.0.1:3")
        assert Client.local().url == "http://127.0.0.1:3"
        self.stack(here.parent / ".jobsched", "http://127.0.0.1:4")
        assert Client.local().url == "http://127.0.0.1:4"

    def test_a_data_folder_that_is_named_is_the_only_place(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stack(here / ".jobsched", "http://127.0.0.1:3")
        monkeypatch.setenv("JOBSCHED_DATA_DIR", str(here / "data"))
        with pytest.raises(InvalidInput, match="No running stack"):
            Client.local()
        self.stack(here / "data", "http://127.0.0.1:5")
        assert Client.local().url == "http://127.0.0.1:5"

    def test_a_data_folder_that_is_given_comes_before_the_environment(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("JOBSCHED_URL", "http://127.0.0.1:1/")
        monkeypatch.setenv("JOBSCHED_TOKEN", TOKEN)
        self.stack(here / "data", "http://127.0.0.1:5")
        assert Client.local(here / "data").url == "http://127.0.0.1:5"
        with pytest.raises(InvalidInput, match=f'start one with `make up ARGS="--data {here}/other"`'):
            Client.local(here / "other")

    def test_a_stack_that_was_started_here_with_another_data_folder_is_found(self, here: Path, tmp_path: Path) -> None:
        self.stack(tmp_path / "elsewhere", "http://127.0.0.1:6")
        (here.parent / ".jobsched").mkdir()
        (here.parent / ".jobsched" / "elsewhere").write_text(f"{tmp_path}/elsewhere\n")
        assert Client.local().url == "http://127.0.0.1:6"

    def test_the_files_of_a_stack_that_was_killed_do_not_count(self, here: Path) -> None:
        self.stack(here.parent / ".jobsched", "http://127.0.0.1:3")
        self.stack(here / ".jobsched", "http://127.0.0.1:4")
        (here / ".jobsched" / "lock").touch()
        assert Client.local().url == "http://127.0.0.1:3"

    def test_without_any_the_sentence_says_how_to_start_one(self) -> None:
        with pytest.raises(InvalidInput, match="make up"):
            Client.local()

    def test_a_damaged_file_is_named(self, here: Path) -> None:
        self.stack(here / ".jobsched", "http://127.0.0.1:3").write_text("{")
        with pytest.raises(InvalidInput, match=r"stack\.json is damaged"):
            Client.local()

    def test_a_stack_of_somebody_else_is_passed_over(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stack(here / ".jobsched", "http://127.0.0.1:3")
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(InvalidInput, match="No running stack"):
            Client.local()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_SHORTEST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(client_module, "_LONGEST_PAUSE_SECONDS", 0.0)


def test_a_short_file_is_answered_at_once(client: Client, counterpart: Counterpart) -> None:
    counterpart.answers = [(200, {"jobs": [{"name": "A"}]})]
    assert client.apply("jobs: …") == [{"name": "A"}]
    assert len(counterpart.headers[0]["Idempotency-Key"]) == 36


def test_a_file_is_asked_about_until_the_server_is_done(
    client: Client, counterpart: Counterpart, no_pauses: None
) -> None:
    counterpart.answers = [(202, {**CHECKING, "total": 0}), (200, CHECKING), (200, CHECKING), (200, APPLIED)]
    seen: list[tuple[int, int]] = []

    assert client.apply("jobs: …", progress=lambda checked, total: seen.append((checked, total))) == [{"name": "A"}]

    assert seen == [(250, 0), (250, 5000), (250, 5000)]
    assert [asked[:2] for asked in counterpart.asked] == [
        ("POST", "/api/v1/apply"),
        *[("GET", "/api/v1/applies/7")] * 3,
    ]


def test_a_file_whose_connection_broke_is_sent_again_with_its_key(
    client: Client, counterpart: Counterpart, no_pauses: None
) -> None:
    counterpart.answers = [(BROKEN, None), (202, CHECKING), (BROKEN, None), (503, {"error": "away"}), (200, APPLIED)]

    assert client.apply("jobs: …") == [{"name": "A"}]

    first, again = (headers["Idempotency-Key"] for headers in counterpart.headers[:2])
    assert first == again


def test_a_file_is_not_sent_again_when_the_server_says_that_it_cannot_take_it(
    client: Client, counterpart: Counterpart
) -> None:
    counterpart.answers = [(503, {"error": "The database cannot be reached now."})]
    with pytest.raises(Unavailable, match="database"):
        client.apply("jobs: …")
    with pytest.raises(Unavailable, match="cannot be reached"):
        Client("http://127.0.0.1:1", TOKEN).apply("jobs: …")


@pytest.mark.parametrize(
    ("ended", "kind"),
    [
        ({"state": "refused", "status": 400, "error": "no"}, InvalidInput),
        ({"state": "refused", "status": 409, "error": "no"}, Conflict),
        ({"state": "cancelled"}, Conflict),
    ],
)
def test_a_file_that_is_not_applied_raises_why(
    client: Client, counterpart: Counterpart, no_pauses: None, ended: dict[str, Any], kind: type[JobschedError]
) -> None:
    counterpart.answers = [(202, CHECKING), (200, ended)]
    with pytest.raises(kind):
        client.apply("jobs: …")


def test_ctrl_c_before_the_server_has_answered_says_that_the_file_may_be_applied(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "_call", interrupt)
    with pytest.raises(ApplyInterrupted, match="it may still apply the file"):
        client.apply("jobs: …")


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ([(200, {"id": 7, "state": "cancelled"})], "Cancelled; nothing was applied."),
        ([ENDED_ALREADY, (200, APPLIED)], "It had been applied before it could be cancelled."),
        (
            [ENDED_ALREADY, (200, {"id": 7, "state": "refused", "status": 400, "error": "no queue"})],
            "It had been refused before it could be cancelled; nothing was applied: no queue",
        ),
        ([(503, {"error": "away"})], "It could not be cancelled, and may still be applied: away"),
    ],
)
def test_ctrl_c_cancels_what_is_not_applied_yet(
    client: Client, counterpart: Counterpart, no_pauses: None, answers: list[tuple[int, Any]], sentence: str
) -> None:
    def interrupt(checked: int, total: int) -> None:
        raise KeyboardInterrupt

    counterpart.answers = [(202, CHECKING), *answers]
    with pytest.raises(ApplyInterrupted, match=re.escape(sentence)):
        client.apply("jobs: …", progress=interrupt)
    assert counterpart.asked[1][:2] == ("DELETE", "/api/v1/applies/7")
