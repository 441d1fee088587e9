"""The REST API as Python calls. Needs no Django: for the `jobsched` command, scripts and other services."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self, TypedDict, Unpack, cast
from urllib.parse import quote, urlencode, urlsplit
from uuid import uuid4

from jobsched import net
from jobsched.domain.errors import Conflict, InvalidInput, JobschedError, NotFound, Unavailable

MOST_BYTES: Final = 32 * net.MIB
"""No answer of ours comes near; what is longer does not come from this server."""
PAGE: Final = 500
"""Rows asked for at once; lists fetch further pages by themselves."""

_ERRORS: Final[Mapping[int, type[JobschedError]]] = {
    400: InvalidInput,
    404: NotFound,
    409: Conflict,
    413: InvalidInput,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}

RECONNECT_SECONDS: Final = 60.0
"""How long `apply` tries to reach a server that has its file already."""
_SHORTEST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0
_SENT_WITHOUT_ANSWER: Final = (
    "Interrupted before the server answered: it may still apply the file. See `jobsched jobs`, or apply the file again."
)

Data = dict[str, Any]
Progress = Callable[[int, int], None]
"""Is given how many of how many jobs of a file are checked."""


class ApplyInterrupted(KeyboardInterrupt):
    """Somebody pressed Ctrl-C while a file was applied. Its text is what became of the file."""


class Which(TypedDict, total=False):
    """What runs have in common, as docs/api.md says. What is left out, or None, is not asked for."""

    project: str | None
    job: str | None
    state: str | None
    """One or several, with commas."""
    queue: str | None
    reason: str | None
    exit_code: int | None
    signal: str | None
    """The number or the name of a signal: `9`, `KILL`, `SIGKILL`."""
    error: str | None
    worker: str | None
    trigger: str | None
    retried: bool | None
    start: str | None
    """From this moment on (ISO 8601 with its zone), and up to `end`."""
    end: str | None
    since: str | None
    """A duration such as `2h`, up to now; instead of `start`."""
    by: Literal["created", "finished"] | None
    """Which moment `start`, `end` and `since` speak of; when they were made, if left out."""


class Client:
    """Talks to one server as one user. Rows are dictionaries as docs/api.md describes them.

    Every call raises Unavailable when the server cannot be reached, and otherwise, with the server's own
    sentence, NotFound, Conflict, InvalidInput or plain JobschedError. Nothing is tried twice, except for `apply`.
    """

    def __init__(self, url: str, token: str, *, timeout_seconds: float = 30.0) -> None:
        """`url` is where the server is, without `/api/v1`. Raises InvalidInput when it is not a web address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InvalidInput(
                f"'{net.describe(url)}' is not the address of a server; write it like http://127.0.0.1:8000."
            )
        if not token.isascii() or not token.isprintable() or not token or " " in token:
            raise InvalidInput("The API token must be one word of plain characters; copy it again.")
        self.url = url.rstrip("/")
        self._token = token
        self._timeout_seconds = timeout_seconds

    def __repr__(self) -> str:
        return f"Client({net.describe(self.url)!r})"

    @classmethod
    def local(cls, data: Path | None = None) -> Self:
        """Find the server by itself, in this order:

        the stack that runs in the data folder `data`; JOBSCHED_URL with JOBSCHED_TOKEN or JOBSCHED_TOKEN_FILE; the
        stack that runs in JOBSCHED_DATA_DIR; the stack that runs in `.jobsched` of this folder or of one above it, or
        that was started there with another data folder. Raises InvalidInput when there is none.
        """
        if data is None and (url := os.environ.get("JOBSCHED_URL")):
            return cls(url, _token_from_environment())
        for folder in _data_folders() if data is None else [data]:
            if _may_be_running(folder) and (stack := _stack(folder / "stack.json")):
                return cls(stack["url"], stack["token"])
        if data is not None:
            folder = data.absolute()
            start = f'make up ARGS="--data {shlex.quote(str(folder))}"'
            raise InvalidInput(f"No stack is running in {folder}; start one with `{start}`.")
        raise InvalidInput(
            "No running stack was found; start one with `make up`, or set JOBSCHED_URL and JOBSCHED_TOKEN."
        )

    # -- jobs ----------------------------------------------------------------------------------------------

    def apply(self, text: str, *, filename: str = "jobs.yaml", progress: Progress | None = None) -> list[Data]:
        """Create or update the jobs of a YAML text: all or none. Return {"project", "name", "result"} of each.

        Waits as long as the server works, and gives `progress` how many of how many jobs are checked. A connection
        that breaks is made again for up to a minute: the request has a key, by which the server knows it. Ctrl-C
        cancels what is not applied yet, and raises `ApplyInterrupted`.
        """
        body = _json({"source": text, "filename": filename})
        key = {"Idempotency-Key": str(uuid4())}
        try:
            found = self._persist(lambda: self._call("POST", "apply", {}, body, headers=key), is_sent=False)
        except KeyboardInterrupt:
            raise ApplyInterrupted(_SENT_WITHOUT_ANSWER) from None
        if "state" not in found:
            return cast(list[Data], found["jobs"])  # a short file, which is answered at once
        path = f"applies/{found['id']}"
        try:
            found = self._await(path, found, progress)
        except KeyboardInterrupt:
            raise ApplyInterrupted(self._cancel_apply(path)) from None
        return _outcome(found)

    def _await(self, path: str, found: Data, progress: Progress | None) -> Data:
        pause = _SHORTEST_PAUSE_SECONDS
        while found["state"] == "checking":
            if progress:
                progress(found["checked"], found["total"])
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
            found = self._persist(lambda: self._get(path), is_sent=True)
        return found

    def _cancel_apply(self, path: str) -> str:
        """Cancel a file, and return what became of it."""
        try:
            found = self._cancel_or_get(path)
        except JobschedError as error:
            return f"It could not be cancelled, and may still be applied: {error}"
        match found["state"]:
            case "applied":
                return "It had been applied before it could be cancelled."
            case "refused":
                return f"It had been refused before it could be cancelled; nothing was applied: {found['error']}"
            case _:
                return "Cancelled; nothing was applied."

    def _cancel_or_get(self, path: str) -> Data:
        try:
            return self._call("DELETE", path, {})
        except Conflict:  # it has ended
            return self._get(path)

    def _persist(self, ask: Callable[[], Data], *, is_sent: bool) -> Data:
        """Ask again for a while when a connection breaks, and `is_sent`: the server may have the request already."""
        give_up = time.monotonic() + RECONNECT_SECONDS
        while True:
            try:
                return ask()
            except Unavailable as error:
                cause = error.__cause__
                is_sent = is_sent or (isinstance(cause, net.RequestFailed) and not isinstance(cause, net.NotConnected))
                if not is_sent or time.monotonic() > give_up:
                    raise
            time.sleep(_LONGEST_PAUSE_SECONDS)

    def jobs(self, *, project: str | None = None) -> list[Data]:
        """Return all jobs, of one project or of all, by name."""
        found: list[Data] = []
        after = None
        while True:
            page = self._get("jobs/", project=project, after=after, limit=PAGE)
            found += page["jobs"]
            if (after := page["next"]) is None:
                return found

    def job(self, name: str, *, project: str = "default") -> Data:
        """Return a job as the keys of the YAML format, and a few read-only ones."""
        return self._get(_job(name), project=project)

    def delete_job(self, name: str, *, project: str = "default") -> None:
        """Delete a job: its schedule goes, its history stays."""
        self._call("DELETE", _job(name), {"project": project})

    def trigger(
        self,
        job: str,
        params: Mapping[str, Any] | None = None,
        priority: int | None = None,
        *,
        at: str | None = None,
        project: str = "default",
    ) -> Data:
        """Request a run now, or at a moment (ISO 8601 with its zone). Return the run.

        Of a job whose overlap rule is `skip` it may be skipped already; of a `unique` one it may be the run that waits.
        """
        return self._post(_job(job, "trigger"), _given(params, priority, at), project=project)

    def trigger_many(
        self,
        job: str,
        count: int,
        params: Mapping[str, Any] | None = None,
        priority: int | None = None,
        *,
        at: str | None = None,
        project: str = "default",
    ) -> list[Data]:
        """Request up to 1000 runs at once: all or none. Return them in order; of a `unique` job they may be fewer."""
        asked = {**_given(params, priority, at), "count": count}
        return cast(list[Data], self._post(_job(job, "trigger"), asked, project=project)["runs"])

    def pause(self, job: str, *, project: str = "default") -> Data:
        """Hold a job's schedule. Return the job."""
        return self._post(_job(job, "pause"), {}, project=project)

    def resume(self, job: str, *, project: str = "default") -> Data:
        """Let a job's schedule fire again. Return the job."""
        return self._post(_job(job, "resume"), {}, project=project)

    def next(self, job: str, *, count: int = 5, project: str = "default") -> Data:
        """Return {"words", "fires", "skipped", "warnings"}: the schedule in words, and its next instants."""
        return self._get(_job(job, "next"), project=project, count=count)

    def preview(self, job: Mapping[str, Any], *, count: int = 5) -> Data:
        """Return what `next` does, of a job that need not be saved: of its keys, those about time are enough."""
        return self._post("preview", job, count=count)

    def fires(self, job: str, start: str, end: str, *, project: str = "default") -> Data:
        """Return {"counts", "instants", "unexpected"}: what became of each instant from `start` to `end`.

        Both are ISO 8601 with their zone, and included.
        """
        return self._get(_job(job, "fires"), project=project, **{"from": start, "to": end})

    def backfill(
        self,
        job: str,
        start: str,
        end: str,
        *,
        max_running: int | None = None,
        dry_run: bool = False,
        project: str = "default",
    ) -> Data:
        """Make a run for each past instant from `start` to `end` that has none, or with `dry_run` only count them.

        Return {"id", "instants", "made", "already", "excluded"}. The moments are as for `fires`.
        """
        asked: Data = {"from": start, "to": end, "dry_run": dry_run}
        if max_running is not None:
            asked["max_running"] = max_running
        return self._post(_job(job, "backfill"), asked, project=project)

    def upcoming(
        self, *, hours: int = 24, limit: int = 100, of_each: int = 5, project: str | None = None
    ) -> list[Data]:
        """Return the next fires of all jobs, {"at", "project", "job", "words"} each, at most `of_each` of a job."""
        found = self._get("upcoming", hours=hours, limit=limit, of_each=of_each, project=project)
        return cast(list[Data], found["fires"])

    def schema(self) -> Data:
        """Return the JSON Schema of the YAML format."""
        return self._get("schema")

    # -- the servers ---------------------------------------------------------------------------------------

    def doctor(self) -> Data:
        """Return {"healthy", "findings"}: what the web process finds wrong with the servers. For staff."""
        return self._get("doctor")

    # -- queues --------------------------------------------------------------------------------------------

    def queues(self) -> list[Data]:
        """Return {"name", "rate", "waiting", "held"} of each queue."""
        return cast(list[Data], self._get("queues")["queues"])

    def set_rate(self, queue: str, rate: str | None) -> Data:
        """Let at most so many runs of a queue start in a time, such as `100/m`; None: as many as come.

        Return the queue.
        """
        return self._call("PUT", f"queues/{quote(queue, safe='')}", {}, _json({"rate": rate}))

    # -- runs ----------------------------------------------------------------------------------------------

    def run(self, run_id: int) -> Data:
        """Return a run with its attempts and transitions."""
        return self._get(f"runs/{run_id}/")

    def runs(self, *, limit: int = 50, before: int | None = None, **which: Unpack[Which]) -> list[Data]:
        """Return up to `limit` runs, newest first; with `before`, only those older than that run."""
        found: list[Data] = []
        while len(found) < limit:
            wanted = min(PAGE, limit - len(found))
            page = self._get("runs/", **_which(which), before=before, limit=wanted)
            found += page["runs"]
            if (before := page["next"]) is None:
                break
        return found

    def output(self, run_id: int, *, attempt: int | None = None, offset: int = 0) -> Data:
        """Return {"output", "offset", "finished", "attempt"}: a piece of output from byte `offset` on.

        Ask again with the answered `offset` until `finished`. While nothing new was printed `output` is empty.
        """
        return self._get(f"runs/{run_id}/output", attempt=attempt, offset=offset)

    def cancel(self, run_id: int) -> Data:
        """Cancel a run that has not ended. Return it; a running one ends a moment later: see its `cancelling`."""
        return self._post(f"runs/{run_id}/cancel", {})

    def cancel_many(
        self, *, dry_run: bool = False, before: int | None = None, limit: int | None = None, **which: Unpack[Which]
    ) -> Data:
        """Cancel runs that match and have not ended, newest first, or with `dry_run` only count them all.

        Return {"ended", "asked", "next"}. One call handles up to 5000: unless `next` is None, call again with it as
        `before`. Raises InvalidInput when nothing is asked for.
        """
        return self._post("runs/cancel", _many(which, dry_run=dry_run, before=before, limit=limit))

    def retry(self, run_id: int, *, definition: Literal["then", "now"] = "then") -> Data:
        """Request a new run like one that has ended, by its definition as it was then or is now. Return the new run."""
        return self._post(f"runs/{run_id}/retry", {} if definition == "then" else {"definition": definition})

    def retry_many(
        self,
        *,
        definition: Literal["then", "now"] = "then",
        dry_run: bool = False,
        before: int | None = None,
        limit: int | None = None,
        **which: Unpack[Which],
    ) -> Data:
        """Request a new run for each that matches, has ended and was not retried: those that failed, unless states say
        otherwise.

        Return {"made", "skipped", "waiting", "refused", "why", "next"}, or with `dry_run` {"matching"}. Several calls
        may be needed, as for `cancel_many`.
        """
        asked = _many(which, dry_run=dry_run, before=before, limit=limit)
        return self._post("runs/retry", {**asked, "definition": definition})

    # -- the wire ------------------------------------------------------------------------------------------

    def _get(self, path: str, **query: Any) -> Data:
        return self._call("GET", path, query)

    def _post(self, path: str, body: Mapping[str, Any], **query: Any) -> Data:
        return self._call("POST", path, query, _json(body))

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Data:
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        sent = {"Authorization": f"Token {self._token}", "Accept": "application/json", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        try:
            answer = net.fetch(
                f"{self.url}/api/v1/{path}?{asked}".rstrip("?"),
                method=method,
                headers=sent,
                body=body,
                timeout_seconds=self._timeout_seconds,
                max_bytes=MOST_BYTES,
                # A redirected POST would turn into a GET, and a token is for one server only.
                follow_redirects=False,
            )
        except net.RequestFailed as error:
            raise Unavailable(
                f"The server cannot be reached: {error}; see that it runs (`make up`), or set JOBSCHED_URL."
            ) from error
        return self._read(answer)

    def _read(self, answer: net.Answer) -> Data:
        if answer.status == 204:
            return {}
        try:
            data = json.loads(answer.body)
        except ValueError:
            data = None
        if isinstance(data, dict) and answer.status < 300:
            return data
        sentence = data.get("error") if isinstance(data, dict) else None
        kind = _ERRORS.get(answer.status, JobschedError)
        if not isinstance(sentence, str):
            raise (kind if issubclass(kind, Unavailable) else JobschedError)(
                f"{answer.url} answered {answer.status} {answer.phrase}, but not as this API does; "
                "see whether JOBSCHED_URL is right."
            )
        raise kind(sentence)


def _outcome(found: Data) -> list[Data]:
    """Return the jobs of an apply that has ended. Raises what its end stands for."""
    if found["state"] == "applied":
        return cast(list[Data], found["jobs"])
    if found["state"] == "cancelled":
        raise Conflict("The file was cancelled by another request; nothing was applied.")
    raise _ERRORS.get(found["status"], InvalidInput)(found["error"])


def _job(name: str, verb: str = "") -> str:
    return f"jobs/{quote(name, safe='')}/{verb}"


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, allow_nan=False).encode()


def _given(params: Mapping[str, Any] | None, priority: int | None, at: str | None) -> Data:
    given = {"params": params, "priority": priority, "at": at}
    return {name: value for name, value in given.items() if value is not None}


def _which(which: Which) -> Data:
    named = {"start": "from", "end": "to"}
    return {
        named.get(name, name): value if not isinstance(value, bool) else "yes" if value else "no"
        for name, value in which.items()
    }


def _many(which: Which, *, dry_run: bool, before: int | None, limit: int | None) -> Data:
    asked = {**_which(which), "before": before, "limit": limit, "dry_run": dry_run or None}
    return {name: value for name, value in asked.items() if value is not None}


def _token_from_environment() -> str:
    if token := os.environ.get("JOBSCHED_TOKEN"):
        return token.strip()
    path = os.environ.get("JOBSCHED_TOKEN_FILE")
    if not path:
        raise InvalidInput(
            "JOBSCHED_URL is set without a token; set JOBSCHED_TOKEN, or JOBSCHED_TOKEN_FILE to a file with it."
        )
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidInput(f"The file of JOBSCHED_TOKEN_FILE, {path}, cannot be read: {reason}.") from error


def _data_folders() -> Iterator[Path]:
    """Return the data folders in which a stack may run, the nearest first."""
    if named := os.environ.get("JOBSCHED_DATA_DIR"):
        yield Path(named)
        return
    here = Path.cwd()
    for folder in (here, *here.parents):
        yield folder / ".jobsched"
        if elsewhere := _text_of_ours(folder / ".jobsched" / "elsewhere"):
            yield Path(elsewhere.strip())


def _may_be_running(folder: Path) -> bool:
    """Tell whether a stack may hold the lock of its data folder. A stack that was killed leaves its files behind."""
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # it is held, or what else the folder has decides
        return True
    return False


def _text_of_ours(path: Path) -> str | None:
    """Read a file that this user wrote. In /tmp, say, anybody may have put one above this folder."""
    try:
        return path.read_text(encoding="utf-8") if os.geteuid() in (0, path.stat().st_uid) else None
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None


def _stack(path: Path) -> dict[str, str] | None:
    """Return where a running stack is to be found, None where there is none of ours."""
    try:
        text = _text_of_ours(path)
        if text is None:
            return None
        data = json.loads(text)
        return {"url": str(data["url"]), "token": str(data["token"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is damaged; stop the stack, delete the file and start again.") from error
