"""Ports are chosen so that nobody else's server is met."""

from __future__ import annotations

import socket

import pytest

from jobsched.local.ports import answers, free_port, free_ports, is_free


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_preferred_port_that_is_taken_is_avoided(address: str) -> None:
    with socket.socket() as server:
        server.bind((address, 0))
        server.listen()
        taken = server.getsockname()[1]
        assert not is_free(taken)
        assert free_port(prefer=taken) != taken


def test_a_preferred_port_that_is_free_is_taken() -> None:
    port = free_port()
    assert free_port(prefer=port) == port


def test_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20


def test_a_server_that_greets_otherwise_is_not_taken_for_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert answers(port)
        # It accepts, and says nothing.
        assert not answers(port, greeting=b"AMQP", expect=b"\x01", timeout_seconds=0.1)
    assert not answers(port)
