"""Wrong settings stop the process with a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from jobs.conf import conf


@pytest.fixture(autouse=True)
def _unread() -> Any:
    conf.cache_clear()
    yield
    conf.cache_clear()


def test_everything_has_a_default(tmp_path: Any) -> None:
    with override_settings(JOBSCHED={}, BASE_DIR=tmp_path):
        assert conf().queues == ("default",)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"QUEUES": ()}, "name at least one queue"),
        ({"LEASE_SECONDS": 10.0, "HEARTBEAT_SECONDS": 6.0}, "at most half"),
        ({"LEASE_SECONDS": 1.0, "HEARTBEAT_SECONDS": 0.2}, "at least 3"),
        ({"HEARTBEAT_SECONDS": 0.0}, "more than 0"),
    ],
)
def test_what_cannot_work_is_refused(given: dict[str, Any], sentence: str) -> None:
    with override_settings(JOBSCHED=given), pytest.raises(ImproperlyConfigured, match=sentence):
        conf()


def test_moments_without_a_zone_are_refused() -> None:
    with override_settings(USE_TZ=False), pytest.raises(ImproperlyConfigured, match="USE_TZ = True"):
        conf()


def test_another_database_is_refused() -> None:
    sqlite = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
    with override_settings(DATABASES=sqlite), pytest.raises(ImproperlyConfigured, match="needs PostgreSQL"):
        conf()
