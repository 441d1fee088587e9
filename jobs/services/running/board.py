"""The board: in memory that the slots of one worker share, each posts the claim it holds.

Whichever slot's heartbeat is due first renews all that are posted, in one statement, and writes beside each when that
was. The others find it there and need not ask the database themselves: a heartbeat costs what waking a connection
costs, and fifty slots now wake one.

Nothing depends on what is read here being whole or new. A claim that was read half-written names no attempt that
exists, and renews nothing. An answer is believed only when it names the reader's own token and its moment stands there
twice; it says nothing but "renewed by a statement sent then". Everything else, a cancel or a lost lease above all,
a slot hears from the database itself.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from billiard.process import current_process

from jobs.store.claims import Held
from jobsched.shim.lease import lease_clock

PLACES: Final = 128
"""Slots of a worker beyond so many renew their own."""
ALIVE_SECONDS: Final = 1.0
"""Who has not been seen for longer may be dead; its lease must end then. Slots look up twice as often."""
_GOLDEN: Final = 0.618033988749895
"""Multiples of it, without their whole part, lie evenly between 0 and 1, however many there are."""

_CLAIM: Final = struct.Struct("=qq16s")
_ANSWER: Final = struct.Struct("=16sdd")
_MOMENT: Final = struct.Struct("=d")
_SEEN_AT, _CLAIM_AT, _ANSWER_AT, _CALL_AT, _SIZE = 0, 8, 40, 72, 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Posted:
    """A claim that another slot of this worker has posted, and its place on the board."""

    place: int
    run_id: int
    attempt: int
    token: UUID


class Board:
    """The shared memory. Made before the pool forks; `place` is then each slot's own."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, PLACES * _SIZE)

    def place(self) -> Place:
        """Return the place of this process; where the board has none for it, one that no other slot looks at."""
        number = getattr(current_process(), "index", None)  # billiard's, the same for a child and its replacement
        if isinstance(number, int) and number < PLACES:
            return Place(self._memory, number)
        return Place(bytearray(_SIZE), 0)

    def close(self) -> None:
        """In a process that must not see it: let go of the memory."""
        self._memory.close()


class Place:
    """One slot's place, and its view of the others."""

    def __init__(self, memory: mmap.mmap | bytearray, number: int) -> None:
        self._memory = memory
        self._number = number
        self._start = number * _SIZE

    @property
    def turn(self) -> float:
        """A number from 0 to 1 that differs from slot to slot, and is spread evenly however many slots there are.

        Who renews at the same moment as others cannot see their renewal.
        """
        return self._number * _GOLDEN % 1.0

    def post(self, claim: Held) -> None:
        """Let others renew this claim from now on, for as long as `alive` is called."""
        _ANSWER.pack_into(self._memory, self._start + _ANSWER_AT, b"", 0.0, 0.0)
        _CLAIM.pack_into(self._memory, self._start + _CLAIM_AT, claim.run_id, claim.attempt, claim.token.bytes)
        self._memory[self._start + _CALL_AT] = 0
        self.alive()

    def take_down(self) -> None:
        """The claim is settled, or lost."""
        _MOMENT.pack_into(self._memory, self._start + _SEEN_AT, 0.0)
        _CLAIM.pack_into(self._memory, self._start + _CLAIM_AT, 0, 0, b"")

    def alive(self) -> None:
        """Tell the others that this slot is there."""
        _MOMENT.pack_into(self._memory, self._start + _SEEN_AT, lease_clock())

    def called(self) -> bool:
        """Tell, once, whether another slot found something that this one had better ask the database about."""
        at = self._start + _CALL_AT
        called, self._memory[at] = self._memory[at] != 0, 0
        return called

    def renewed_at(self, claim: Held) -> float:
        """Return when the statement was sent by which another slot renewed the claim last, or 0."""
        token, sent, again = _ANSWER.unpack_from(self._memory, self._start + _ANSWER_AT)
        return sent if token == claim.token.bytes and sent == again else 0.0

    def others(self) -> Iterator[Posted]:
        """Return the claims that living slots of this worker hold, but this one's."""
        since = lease_clock() - ALIVE_SECONDS
        for number in range(len(self._memory) // _SIZE):
            start = number * _SIZE
            (seen,) = _MOMENT.unpack_from(self._memory, start + _SEEN_AT)
            if seen >= since and number != self._number:
                run_id, attempt, token = _CLAIM.unpack_from(self._memory, start + _CLAIM_AT)
                yield Posted(place=number, run_id=run_id, attempt=attempt, token=UUID(bytes=token))

    def tell(self, others: Iterable[Posted], standing: Mapping[tuple[int, int], bool], *, sent: float) -> None:
        """Write beside claims that they were renewed; have the slots ask whose were not, or are to be cancelled."""
        for posted in others:
            start = posted.place * _SIZE
            if standing.get((posted.run_id, posted.attempt)) is False:
                _ANSWER.pack_into(self._memory, start + _ANSWER_AT, posted.token.bytes, sent, sent)
            else:
                self._memory[start + _CALL_AT] = 1


board: Final = Board()
