"""What an attempt printed, piece by piece: from its row, rows of new output, and chunks of the output store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.db.models import F, Max, Subquery
from django.db.models.functions import Coalesce

from jobs.models import Attempt, OutputChunk, OutputStore, Run
from jobs.output_storage import output_storage, store_token
from jobsched.domain.cuts import is_inside_character
from jobsched.domain.errors import NotFound, Unavailable
from jobsched.domain.excerpts import end_of, left_out
from jobsched.domain.states import FINISHED

BYTES_AT_ONCE: Final = 256 * 1024
"""The longest piece of output in one answer; the next answer goes on behind it."""
_ROWS_AT_ONCE: Final = 1000
_LONGEST_CHARACTER: Final = 4
_MOST_TRIES: Final = 20
"""How often output is read that changes meanwhile. Its rows change a few times a second, and to read takes a moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """A piece of what an attempt printed."""

    text: str
    offset: int
    """Where the next piece begins, in bytes of what was printed."""
    finished: bool
    """The attempt has ended, and nothing follows this piece."""
    attempt: int
    """0 while no attempt has begun."""


class _Changed(Exception):
    """A row was removed after it was found: its bytes are now in another row, in an object, or in the attempt's row."""


def output(run_id: int, *, attempt: int | None, offset: int) -> Output:
    """Return what an attempt printed from byte `offset` on, the run's latest attempt unless one is named.

    Works while the attempt is under way. Offsets mean the same before and after the attempt has ended. What is left out
    or cannot be read here is passed over, with a line in its place. Raises NotFound, and Unavailable when the output
    store cannot be read.
    """
    for _ in range(_MOST_TRIES):
        try:
            return _output(run_id, attempt=attempt, offset=offset)
        except _Changed:
            continue
    raise Unavailable("The output changes while it is read: ask again.")


def _output(run_id: int, *, attempt: int | None, offset: int) -> Output:
    found = Run.objects.filter(pk=run_id).only("attempt", "state").first()
    if found is None:
        raise NotFound(f"There is no run {run_id}.")
    number = found.attempt if attempt is None else attempt
    if not 0 <= number <= found.attempt or (number == 0 and attempt is not None):
        had = f"only {found.attempt}" if found.attempt else "none yet"
        raise NotFound(f"Run {run_id} has no attempt {number}: it has had {had}.")
    # Asked for first: output that was short moves to this row in the commit that makes it.
    ended = Attempt.objects.filter(run=run_id, number=number).only("output", "output_total").first()
    over = ended is not None or number < found.attempt or found.state in FINISHED
    if ended is not None and not _chunks(run_id, number).exists():
        kept = ended.output.encode()
        text, following = piece(kept, offset, BYTES_AT_ONCE)
        return Output(text=text, offset=following, finished=following >= len(kept), attempt=number)
    reader = _Reader(run_id, number, offset, over=over)
    reader.read()
    if ended is not None and reader.at_end and (reader.lacks_end or reader.offset < ended.output_total):
        reader.end_with(ended)
    return Output(text=reader.text(), offset=reader.offset, finished=over and reader.at_end, attempt=number)


def printed_so_far(run_id: int, number: int) -> int:
    """Return the offset behind what an attempt under way has printed, as far as it is kept."""
    found = _chunks(run_id, number).aggregate(stop=Max(F("start") + F("size")))
    return int(found["stop"] or 0)


def piece(kept: bytes, offset: int, limit: int) -> tuple[str, int]:
    """Cut up to `limit` bytes of UTF-8 from `offset` on, both ends moved back to the start of a character.

    Return the text and the offset behind it. Nothing there yet leaves the offset where it is.
    """
    if offset >= len(kept):
        return "", offset
    start = _character_start(kept, offset)
    end = _character_start(kept, start + limit)
    return kept[start:end].decode(), end


def _character_start(kept: bytes, position: int) -> int:
    if position >= len(kept):
        return len(kept)
    while kept[position] & 0xC0 == 0x80:
        position -= 1
    return position


def _chunks(run_id: int, number: int):  # type: ignore[no-untyped-def]  # a QuerySet of django-stubs
    return OutputChunk.objects.filter(run=run_id, attempt=number)


class _Reader:
    """Collects one piece of output from the rows of an attempt."""

    def __init__(self, run_id: int, number: int, offset: int, *, over: bool) -> None:
        self._begin = offset
        self.offset = offset
        self.at_end = False
        """No row follows."""
        self.lacks_end = False
        """The last chunk of this piece cannot be read."""
        self._rows = _chunks(run_id, number)
        self._over = over
        self._bytes = bytearray()
        self._missing = 0
        self._why_missing = ""

    def read(self) -> None:
        """Read up to BYTES_AT_ONCE. Raises Unavailable, and _Changed when rows are removed meanwhile."""
        before = self._rows.filter(start__lte=self.offset).order_by("-start").values("start")[:1]
        # One statement finds them all, so that a gap between two of them is output that is left out.
        found = self._rows.filter(start__gte=Coalesce(Subquery(before), 0)).order_by("start")
        rows = found.values_list("start", "size", "key", "store")[: _ROWS_AT_ONCE + 1]
        self.at_end = len(rows) <= _ROWS_AT_ONCE
        for start, size, key, store in rows[:_ROWS_AT_ONCE]:
            if start + size <= self.offset:
                continue
            if len(self._bytes) >= BYTES_AT_ONCE:
                self.at_end = False
                break
            if start > self.offset:
                self._pass_over(start - self.offset, "left out")
                self.offset = start
            self._take(start, size, key, store)
        self._write_missing()
        self._hold_back()

    def _take(self, start: int, size: int, key: str | None, store: int | None) -> None:
        skip = self.offset - start
        # With what may be the beginning of the character at the offset.
        back = min(skip, _LONGEST_CHARACTER - 1) if not self._bytes else 0
        most = BYTES_AT_ONCE - len(self._bytes) + back
        data = self._of_row(start, skip - back, most) if key is None else _of_object(key, skip - back, most)
        is_short = data is None or len(data) < min(most, size - skip + back)
        if is_short and key is None:  # the row was replaced
            raise _Changed
        if data is None or len(data) <= back:
            self._lack(start + size, _why_missing(store))
            return
        self.lacks_end = False
        while back and is_inside_character(data, back):
            back -= 1
            self.offset -= 1
        self._write_missing()
        data = data[back:]
        self._bytes += data
        self.offset += len(data)
        if is_short:
            self._lack(start + size, _why_missing(store))
        elif self.offset < start + size:
            self.at_end = False

    def _of_row(self, start: int, skip: int, most: int) -> bytes | None:
        data = self._rows.filter(start=start).values_list("data", flat=True).first()
        return None if data is None else bytes(data)[skip : skip + most]

    def _lack(self, stop: int, why: str) -> None:
        """Pass over what cannot be read of a chunk that ends at `stop`."""
        self._pass_over(stop - self.offset, why)
        self.offset = stop
        self.lacks_end = True

    def _pass_over(self, count: int, why: str) -> None:
        if self._missing and why != self._why_missing:
            self._write_missing()
        self._missing += count
        self._why_missing = why

    def _write_missing(self) -> None:
        if self._missing:
            # What comes before this piece may end inside a line, and may be gone. An empty line does less harm.
            before = self._bytes or (b"?" if self._begin else b"")
            self._bytes += left_out(self._missing, after=before, why=self._why_missing)
            self._missing = 0

    def end_with(self, ended: Attempt) -> None:
        """Show the end that stands in the attempt's row, in place of what cannot be read."""
        if self.offset < ended.output_total:
            self._pass_over(ended.output_total - self.offset, "that were not stored")
            self._write_missing()
        self._bytes += b"[the end of it, from the database:]\n" + end_of(ended.output.encode())
        self.offset = ended.output_total

    def _hold_back(self) -> None:
        """Leave a character that is not complete to the next piece, unless nothing can complete it."""
        if self._over and self.at_end:
            return
        incomplete = 0
        while incomplete < len(self._bytes) and is_inside_character(self._bytes, len(self._bytes) - incomplete):
            incomplete += 1
        if incomplete < len(self._bytes) or self.at_end:
            del self._bytes[len(self._bytes) - incomplete :]
            self.offset -= incomplete

    def text(self) -> str:
        """Return what was read, as text that can be shown and stored."""
        return self._bytes.decode("utf-8", "replace").replace("\0", "\ufffd")


def _of_object(key: str, skip: int, most: int) -> bytes | None:
    """Read a part of an object, or return None if there is no such object here. Raises Unavailable."""
    try:
        with output_storage().open(key) as file:
            file.seek(skip)
            return bytes(file.read(most))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"The output store cannot be read now: {error.strerror or error}.") from error
    except Exception as error:  # storages of other packages raise errors of their own, which may name accounts
        raise Unavailable(f"The output store cannot be read now: {type(error).__name__}.") from error


def _why_missing(store: int | None) -> str:
    found = OutputStore.objects.filter(pk=store).first() if store else None
    if found is None or found.token == store_token():
        return "no longer in the output store"
    return f"kept on the disk of host {found.host}, which this server cannot read"


def pieces(run_id: int, first: Output) -> Iterator[str]:
    """Yield a piece and those that follow it, up to the present end of the output."""
    part = first
    while part.text:
        yield part.text
        if part.finished:
            return
        part = output(run_id, attempt=part.attempt, offset=part.offset)
