"""Which broker carries the hints of a local stack, and why that one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import psycopg

from jobsched.domain.errors import InvalidInput, Unavailable
from jobsched.local.rabbitmq import rabbitmq_program


class BrokerKind(StrEnum):
    """Where messages go."""

    RABBITMQ = "rabbitmq"
    """A private node that the stack starts."""
    POSTGRES = "postgres"
    """The stack's own database, through Kombu's `pgmq://` transport."""
    GIVEN = "given"
    """A server that exists already, by JOBSCHED_BROKER_URL."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A broker, and the line that tells the user about it."""

    kind: BrokerKind
    why: str
    url: str | None = None
    """Known beforehand only for a given broker."""

    @property
    def has_events(self) -> bool:
        """Tell whether workers' events get through it, without which Flower shows nothing."""
        return self.kind is BrokerKind.RABBITMQ or (self.url or "").startswith("amqp")


def choose_broker(asked: str | None, environ: Mapping[str, str]) -> Choice:
    """Decide by what was asked for, then by the environment, then by what is installed.

    Raises InvalidInput for a contradiction, Unavailable when what was asked for cannot be had.
    """
    given = environ.get("JOBSCHED_BROKER_URL")
    if given and asked:
        raise InvalidInput(f"Both --broker {asked} and JOBSCHED_BROKER_URL name a broker: leave one of them out.")
    if given:
        scheme = given.partition("://")[0]
        return Choice(kind=BrokerKind.GIVEN, url=given, why=f"{scheme}, because JOBSCHED_BROKER_URL names it")
    if asked == BrokerKind.POSTGRES:
        return Choice(kind=BrokerKind.POSTGRES, why="PostgreSQL (pgmq), because you asked for it")
    installed = rabbitmq_program() is not None
    if asked == BrokerKind.RABBITMQ:
        if not installed:
            raise Unavailable(
                "--broker rabbitmq: RabbitMQ is not installed; `apt-get install rabbitmq-server` installs it."
            )
        return Choice(kind=BrokerKind.RABBITMQ, why="a private RabbitMQ, because you asked for it")
    if installed:
        return Choice(kind=BrokerKind.RABBITMQ, why="a private RabbitMQ, because rabbitmq-server is installed")
    return Choice(kind=BrokerKind.POSTGRES, why="PostgreSQL (pgmq), because rabbitmq-server is not installed here")


def pgmq_url(database_url: str) -> str:
    """Return the broker address that means the database itself."""
    return f"pgmq://{database_url.partition('://')[2]}"


def install_pgmq(database_url: str) -> None:
    """Put the queue functions into the database, unless they are there. Raises Unavailable."""
    try:
        from pgmq import install_pgmq_from_sql
    except ImportError as error:
        raise Unavailable(
            "The package pgmq is not installed: `pip install pgmq`, or install rabbitmq-server."
        ) from error
    try:
        with psycopg.connect(database_url) as connection:
            found = connection.execute("SELECT to_regnamespace('pgmq')").fetchone()
            if found is None or found[0] is None:
                install_pgmq_from_sql(conn=connection)
    except psycopg.Error as error:
        raise Unavailable(f"The message queue could not be set up in PostgreSQL: {error}") from error
