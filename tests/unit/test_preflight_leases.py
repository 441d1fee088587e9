"""What the preflight says of the settings of leases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jobs.conf import conf
from jobs.services.preflight import Level, leases


def judged(monkeypatch: pytest.MonkeyPatch, *, connection: dict[str, Any] | None = None, **seconds: float) -> Any:
    """Return what is said of these settings, by the name of the check."""
    settings = replace(conf(), **{name: timedelta(seconds=value) for name, value in seconds.items()})
    monkeypatch.setattr(leases, "conf", lambda: settings)
    monkeypatch.setattr(
        leases, "session_parameters", lambda: {"tcp_user_timeout": 10_000, "connect_timeout": 2} | (connection or {})
    )
    return {finding.check: finding for finding in leases.look()}


def test_the_defaults_are_fine_and_survive_an_outage_of_20_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    said = judged(monkeypatch, lease=30, heartbeat=5, stop_grace=15)
    assert {finding.level for finding in said.values()} == {Level.FINE}
    assert "up to 20 s: the lease of 30 s less a margin of 3 s, the heartbeat of 5 s and 2 s" in said["outage"].sentence


@pytest.mark.parametrize(
    ("check", "settings", "words"),
    [
        ("outage", {"lease": 30, "heartbeat": 10}, "up to 15 s"),
        ("outage", {"lease": 8, "heartbeat": 1.33}, "raise JOBSCHED_LEASE_SECONDS"),
        ("outage", {"lease": 3, "heartbeat": 1}, "up to 0 s"),
        ("heartbeat", {"lease": 30, "heartbeat": 0.5}, "every 0.5 s"),
        ("dead_connection", {"connection": {"tcp_user_timeout": "0"}}, "without end"),
        ("dead_connection", {"connection": {"connect_timeout": "0"}}, "without end"),
        ("dead_connection", {"connection": {"tcp_user_timeout": 25_000}}, "after 25 s"),
        ("stop_grace", {"stop_grace": 55}, "for 55 s"),
    ],
)
def test_a_setting_that_costs_running_work_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, check: str, settings: dict[str, Any], words: str
) -> None:
    finding = judged(monkeypatch, **{"lease": 30, "heartbeat": 5, **settings})[check]
    assert finding.level is Level.WARNING
    assert words in finding.sentence


def test_a_project_without_time_limits_of_connections_gets_those_of_workers() -> None:
    parameters = leases.session_parameters()
    assert int(parameters["tcp_user_timeout"]) > 0
    assert int(parameters["connect_timeout"]) > 0
