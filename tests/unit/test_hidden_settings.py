"""Which variables runs must not see."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import override_settings

from jobs.installation_secrets import installation_secrets
from jobsched.hidden_settings import HiddenSettings, hidden_in_slots

HIDDEN = HiddenSettings(secrets=frozenset({"correct horse/battery", "pw"}), kept=frozenset({"KEPT", "JOBSCHED_KEPT"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOBSCHED_DATABASE_URL", "x"),
        ("JOBSCHED_SECRET_KEY_FILE", "/run/secrets/key"),
        ("FLOWER_BASIC_AUTH", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_PROFILE", "x"),
        ("SHOP_PASSWORD", "correct horse/battery"),
        ("SHOP_DATABASE", "postgres://shop:correct%20horse%2Fbattery@host/shop"),
        ("SHOP_OPTIONS", "user=shop password='correct horse/battery'"),
        ("SHOP_SHORT", "pw"),
        ("SHOP_DATABASE", "postgres://shop:pw@host/shop"),
    ],
)
def test_settings_and_copies_of_secrets_are_hidden(name: str, value: str) -> None:
    assert HIDDEN.hides(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PATH", "/usr/bin"),
        ("HOME", "/home/correct horse/battery"),
        ("AWS_REGION", "eu-north-1"),
        ("KEPT", "correct horse/battery"),
        ("JOBSCHED_KEPT", "x"),
        ("SHOP_UPWARDS", "upwards"),
        ("SHOP_HOST", "http://shop.example/?next=a@b"),
        ("SHOP_BROKEN", "postgres://[::1"),
        ("DJANGO_SETTINGS_MODULE", "shop.settings"),
    ],
)
def test_what_is_no_setting_of_ours_stays(name: str, value: str) -> None:
    assert not HIDDEN.hides(name, value)


def test_a_slot_keeps_what_starts_its_runs_and_what_plain_tasks_may_need() -> None:
    assert hidden_in_slots("JOBSCHED_BROKER_URL", "amqp://")
    assert not any(hidden_in_slots(name, "x") for name in ("JOBSCHED_ISOLATION", "AWS_PROFILE", "DATABASE_URL"))


@pytest.mark.parametrize(
    ("given", "secret"),
    [
        ({"SECRET_KEY": "the key"}, "the key"),
        ({"SECRET_KEY_FALLBACKS": ["old key"]}, "old key"),
        ({"SHOP": {"deep": [{"API_TOKEN": "deep token"}]}}, "deep token"),
        (
            {"CACHES": {"default": {"BACKEND": "x", "LOCATION": ["redis://:for%20cache@one", "redis://two"]}}},
            "for cache",
        ),
        ({"SHOP_MIRRORS": "amqp://a:first@one;amqp://a:second@two"}, "second"),
    ],
)
def test_the_secrets_of_the_settings_are_found(given: dict[str, Any], secret: str) -> None:
    with override_settings(**given):
        assert secret in installation_secrets()


def test_the_password_of_the_broker_is_found() -> None:
    assert urlsplit(settings.CELERY_BROKER_URL).password in installation_secrets()


def test_a_forgotten_variable_is_nowhere_in_the_process() -> None:
    script = """
from pathlib import Path
from jobsched.hidden_settings import forget
forget(lambda name, value: name == "HIDE_ME")
print(Path("/proc/self/environ").read_text())
"""
    env = {"HIDE_ME": "a secret = with\nlines", "NOT_ME": "shown", "HIDE_ME_NOT": "shown, too"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert "secret" not in done.stdout
    assert {"NOT_ME=shown", "HIDE_ME_NOT=shown, too"} <= set(done.stdout.rstrip("\n").split("\0"))
