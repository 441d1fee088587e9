"""Which broker a local stack takes, and what it says about that."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobsched.domain.errors import InvalidInput, Unavailable
from jobsched.local import brokers
from jobsched.local.brokers import BrokerKind, choose_broker, pgmq_url

GIVEN = {"JOBSCHED_BROKER_URL": "amqp://user:secret@broker/"}


@pytest.mark.parametrize(
    ("asked", "environ", "installed", "kind", "has_events", "why"),
    [
        (None, {}, True, BrokerKind.RABBITMQ, True, "because rabbitmq-server is installed"),
        (None, {}, False, BrokerKind.POSTGRES, False, "because rabbitmq-server is not installed here"),
        ("rabbitmq", {}, True, BrokerKind.RABBITMQ, True, "because you asked for it"),
        ("postgres", {}, True, BrokerKind.POSTGRES, False, "because you asked for it"),
        (None, GIVEN, True, BrokerKind.GIVEN, True, "because JOBSCHED_BROKER_URL names it"),
        (None, {"JOBSCHED_BROKER_URL": "pgmq://u:p@h/d"}, True, BrokerKind.GIVEN, False, "JOBSCHED_BROKER_URL"),
    ],
)
def test_choice(
    monkeypatch: pytest.MonkeyPatch,
    asked: str | None,
    environ: dict[str, str],
    installed: bool,
    kind: BrokerKind,
    has_events: bool,
    why: str,
) -> None:
    monkeypatch.setattr(brokers, "rabbitmq_program", lambda: Path("/somewhere") if installed else None)
    choice = choose_broker(asked, environ)
    assert (choice.kind, choice.has_events) == (kind, has_events)
    assert why in choice.why
    assert "secret" not in choice.why


def test_asking_for_rabbitmq_where_there_is_none_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "rabbitmq_program", lambda: None)
    with pytest.raises(Unavailable, match="apt-get install rabbitmq-server"):
        choose_broker("rabbitmq", {})


def test_two_brokers_named_at_once_are_refused() -> None:
    with pytest.raises(InvalidInput, match="leave one of them out"):
        choose_broker("postgres", GIVEN)


def test_the_database_as_a_broker() -> None:
    assert pgmq_url("postgres://u:p@127.0.0.1:5/d") == "pgmq://u:p@127.0.0.1:5/d"
