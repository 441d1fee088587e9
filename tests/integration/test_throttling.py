"""Guesses at passwords and tokens are limited by account and by address, and nobody is locked out for good."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import Client
from knox.models import AuthToken
from rest_framework.test import APIClient

from jobs.conf import conf
from jobs.models import Throttle
from jobs.services import throttling
from jobsched.domain.errors import TooManyFailures

pytestmark = pytest.mark.django_db

GOOD, BAD = "a-good-password", "a-wrong-password"
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


RULES = ("OF_ACCOUNT_AND_ADDRESS", "OF_ADDRESS", "OF_ACCOUNT", "OF_TOKENS")


@pytest.fixture(autouse=True)
def _no_failure_expires_during_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, fifty sign-ins take longer than the intervals of the rules."""
    for name in RULES:
        monkeypatch.setattr(throttling, name, replace(getattr(throttling, name), interval=timedelta(hours=1)))


@pytest.fixture(autouse=True)
def _ann() -> None:
    User.objects.create_superuser("ann", password=GOOD)


def sign_in(account: str = "ann", password: str = BAD, address: str = HERE, **headers: str) -> Any:
    """Post the admin's form. A success is 302, a wrong password 200."""
    client = Client(raise_request_exception=False)
    return client.post(
        "/admin/login/", {"username": account, "password": password}, REMOTE_ADDR=address, headers=headers or None
    )


def statuses(count: int, **attempt: str) -> list[int]:
    return [sign_in(**attempt).status_code for _ in range(count)]


def fail(count: int, account: str = "ann", address: str = HERE) -> None:
    """Count failures as the sign-in page does, without the page."""
    for _ in range(count):
        throttling.begin_sign_in(account, address)


def later(seconds: float) -> None:
    """Let time pass for every throttle."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_throttle SET until = until - %s", [timedelta(seconds=seconds)])


def test_an_account_is_throttled_by_address_and_the_answer_says_when_to_try_again() -> None:
    allowed = throttling.OF_ACCOUNT_AND_ADDRESS.burst
    assert statuses(allowed) == [200] * allowed
    refused = sign_in(password=GOOD)
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= throttling.OF_ACCOUNT_AND_ADDRESS.interval.total_seconds()
    assert f"try again in {refused['Retry-After']} seconds" in refused.content.decode()
    # Others, and the same account from elsewhere, are not concerned.
    assert sign_in(account="bob").status_code == 200
    assert sign_in(password=GOOD, address=ELSEWHERE).status_code == 302


def test_what_was_throttled_is_allowed_again_after_the_time_that_was_named() -> None:
    fail(throttling.OF_ACCOUNT_AND_ADDRESS.burst)
    later(int(sign_in()["Retry-After"]))
    assert statuses(2) == [200, 429]
    later(throttling.OF_ACCOUNT_AND_ADDRESS.interval.total_seconds())
    assert sign_in(password=GOOD).status_code == 302


def test_a_success_forgets_the_failures_before_it() -> None:
    for _ in range(3):
        fail(throttling.OF_ACCOUNT_AND_ADDRESS.burst - 1)
        assert sign_in(password=GOOD).status_code == 302


@pytest.mark.parametrize("name", ["ANN", "a\ufb00", "\uff41nn"])  # capitals, a ligature, full-width letters
def test_other_ways_to_write_a_name_are_the_same_account(name: str) -> None:
    plain = {"ANN": "ann", "a\ufb00": "aff", "\uff41nn": "ann"}[name]
    fail(throttling.OF_ACCOUNT_AND_ADDRESS.burst, account=plain)
    assert sign_in(account=name).status_code == 429


def test_an_address_is_throttled_over_all_accounts() -> None:
    for n in range(throttling.OF_ADDRESS.burst):
        fail(1, account=f"user-{n}")
    assert sign_in(account="one-more").status_code == 429
    assert sign_in(account="user-0", address=ELSEWHERE).status_code == 200


def test_strangers_with_many_addresses_are_throttled_and_do_not_keep_the_owner_out() -> None:
    assert sign_in(password=GOOD).status_code == 302
    for n in range(throttling.OF_ACCOUNT.burst):
        fail(1, address=f"203.0.113.{n}")
    assert sign_in(address="203.0.113.200").status_code == 429
    assert sign_in(password=GOOD, address="203.0.113.200").status_code == 429
    # The owner signs in from where they did before, and from a new place when an interval has passed.
    assert sign_in(password=GOOD).status_code == 302
    later(throttling.OF_ACCOUNT.interval.total_seconds() + 1)
    assert sign_in(password=GOOD, address=ELSEWHERE).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_many_at_the_same_moment_do_not_pass_together() -> None:
    def attempt(_: int) -> int:
        try:
            throttling.begin_sign_in("ann", HERE)
        except TooManyFailures:
            return 429
        finally:
            connections.close_all()
        return 200

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(attempt, range(40)))
    assert found.count(200) == throttling.OF_ACCOUNT_AND_ADDRESS.burst


def test_addresses_of_one_ipv6_network_count_together() -> None:
    for n in range(throttling.OF_ADDRESS.burst):
        assert sign_in(account=f"u{n}", address=f"2001:db8:1:2::{n:x}").status_code == 200
    assert sign_in(account="u", address="2001:db8:1:2:ffff::1").status_code == 429
    assert sign_in(account="u", address="2001:db8:1:3::1").status_code == 200


def test_a_client_does_not_choose_its_address_by_a_header() -> None:
    fail(throttling.OF_ACCOUNT_AND_ADDRESS.burst)
    assert sign_in(**{"X-Forwarded-For": "203.0.113.1"}).status_code == 429


@pytest.mark.parametrize(
    ("header", "counts_as"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("10.0.0.1, 203.0.113.9", "203.0.113.9"),  # the client wrote the first itself
        ("203.0.113.9:4711", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[2001:db8::1]:80", "2001:db8::/64"),
        ("nonsense", HERE),
        ("", HERE),
    ],
)
def test_behind_a_proxy_the_address_that_it_appended_counts(header: str, counts_as: str, settings: Any) -> None:
    settings.JOBSCHED = {**settings.JOBSCHED, "PROXIES": 1}
    conf.cache_clear()
    try:
        fail(throttling.OF_ACCOUNT_AND_ADDRESS.burst, address=counts_as)
        assert sign_in(**{"X-Forwarded-For": header}).status_code == 429
    finally:
        conf.cache_clear()


def test_nothing_is_kept_of_names_addresses_and_of_what_is_past() -> None:
    sign_in(account="a-password-typed-as-a-name\0")
    assert all(len(row.key) == 64 for row in Throttle.objects.all())
    later(throttling.OF_ACCOUNT.burst * throttling.OF_ACCOUNT.interval.total_seconds())
    sign_in(account="bob")
    assert Throttle.objects.count() == 3


def test_wrong_tokens_are_throttled_and_good_ones_are_not() -> None:
    _, token = AuthToken.objects.create(User.objects.get(username="ann"))

    def ask(credentials: str, address: str = HERE) -> Any:
        api = APIClient()
        api.credentials(HTTP_AUTHORIZATION=credentials)
        return api.get("/api/v1/jobs", REMOTE_ADDR=address)

    assert {ask(one).status_code for one in ("Token " + "1" * 64, "Token", "Token \xff\xff")} == {401}
    for _ in range(throttling.OF_TOKENS.burst - 3):
        throttling.token_refused(HERE)
    refused = ask("Token " + "1" * 64)
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= throttling.OF_TOKENS.interval.total_seconds()
    assert refused.json()["error"].startswith("Too many sign-ins failed; try again in ")
    assert ask(f"Token {token}").status_code == 200
    assert ask("Token " + "1" * 64, ELSEWHERE).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_wrong_tokens_are_throttled_also_with_atomic_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    for _ in range(throttling.OF_TOKENS.burst - 1):
        throttling.token_refused(HERE)
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION="Token " + "1" * 64)
    assert [api.get("/api/v1/jobs", REMOTE_ADDR=HERE).status_code for _ in range(2)] == [401, 429]
