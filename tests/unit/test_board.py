"""What slots of one worker tell each other about their claims."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from jobs.services.running import board as module
from jobs.services.running.board import PLACES, Board, Place
from jobsched.shim.lease import lease_clock


@dataclass(frozen=True, kw_only=True)
class Claim:
    run_id: int
    attempt: int = 1
    token: UUID = field(default_factory=uuid4)


class Process:
    def __init__(self, index: int) -> None:
        self.index = index


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """Return those of three slots, the last of which the board has no place for."""
    shared, made = Board(), []
    for index in (0, PLACES - 1, PLACES):
        monkeypatch.setattr(module, "current_process", lambda index=index: Process(index))
        made.append(shared.place())
    return made


def test_what_one_slot_posts_another_renews_and_the_first_finds_it_there(places: list[Place]) -> None:
    mine, other, _ = places
    claim = Claim(run_id=7, attempt=3)
    mine.post(claim)

    [posted] = other.others()
    assert (posted.run_id, posted.attempt, posted.token) == (7, 3, claim.token)
    assert mine.renewed_at(claim) == 0.0

    other.tell([posted], {(7, 3): False}, sent=12.5)

    assert mine.renewed_at(claim) == 12.5
    assert not mine.called()


@pytest.mark.parametrize(
    "standing", [{}, {(7, 1): True}, {(7, 2): False}], ids=["not renewed", "to be cancelled", "held by another"]
)
def test_who_must_ask_the_database_is_called_once(places: list[Place], standing: dict[tuple[int, int], bool]) -> None:
    mine, other, _ = places
    claim = Claim(run_id=7)
    mine.post(claim)

    other.tell(list(other.others()), standing, sent=12.5)

    assert mine.renewed_at(claim) == 0.0
    assert [mine.called(), mine.called()] == [True, False]


def test_an_answer_that_came_too_late_is_not_taken_for_that_of_the_next_claim(places: list[Place]) -> None:
    mine, other, _ = places
    mine.post(Claim(run_id=7))
    posted = list(other.others())
    following = Claim(run_id=7, attempt=2)
    mine.post(following)

    other.tell(posted, {(7, 1): False}, sent=12.5)

    assert mine.renewed_at(following) == 0.0


def test_half_an_answer_is_none(places: list[Place]) -> None:
    mine, other, _ = places
    claim = Claim(run_id=7)
    mine.post(claim)
    other.tell(list(other.others()), {(7, 1): False}, sent=12.5)
    start = module._ANSWER_AT + 16
    mine._memory[start : start + 8] = b"\1" * 8

    assert mine.renewed_at(claim) == 0.0


def test_neither_the_dead_nor_those_without_work_are_renewed(
    places: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other, _ = places
    mine.post(Claim(run_id=7))
    assert len(list(other.others())) == 1
    now = lease_clock()
    monkeypatch.setattr(module, "lease_clock", lambda: now + 2 * module.ALIVE_SECONDS)
    assert list(other.others()) == []
    mine.alive()
    assert len(list(other.others())) == 1
    mine.take_down()
    assert list(other.others()) == []


def test_a_slot_without_a_place_is_alone(places: list[Place]) -> None:
    mine, _, beyond = places
    mine.post(Claim(run_id=7))
    beyond.post(Claim(run_id=8))

    assert list(beyond.others()) == []
    assert [posted.run_id for posted in places[1].others()] == [7]


def test_memory_that_was_let_go_of_cannot_be_read(places: list[Place]) -> None:
    shared = Board()
    shared.close()
    with pytest.raises(ValueError, match="closed"):
        shared._memory.read(1)
