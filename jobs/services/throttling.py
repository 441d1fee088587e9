"""Limit guesses at passwords and tokens: for each account, for each address, and for both together.

A sign-in is counted before its password is looked at, so that many at the same moment do not pass together, and what
was counted is taken back when it succeeds.
"""

from __future__ import annotations

import logging
import math
import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.utils.crypto import salted_hmac

from jobs.store import throttles
from jobsched.domain.errors import TooManyFailures

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """So many failures at once, and then one more in each interval."""

    name: str
    burst: int
    interval: timedelta


OF_ACCOUNT_AND_ADDRESS: Final = Rule(name="account and address", burst=10, interval=timedelta(seconds=30))
OF_ADDRESS: Final = Rule(name="address", burst=50, interval=timedelta(seconds=10))
OF_ACCOUNT: Final = Rule(name="account", burst=100, interval=timedelta(seconds=20))
"""For addresses from which nobody has signed in to the account lately: strangers with many addresses can use this up,
and must not keep its owner out."""
OF_TOKENS: Final = Rule(name="tokens by address", burst=50, interval=timedelta(seconds=5))

KNOWN_FOR: Final = timedelta(days=30)
"""How long an address counts as its owner's after a sign-in to an account."""


def begin_sign_in(account: str, address: str) -> None:
    """Count a sign-in as failed until it succeeds. Raises TooManyFailures, and the password must not be looked at."""
    _charge(OF_ACCOUNT_AND_ADDRESS, account, address)
    _charge(OF_ADDRESS, address)
    if not throttles.is_known(_key("known", account, address)):
        _charge(OF_ACCOUNT, account)


def sign_in_succeeded(account: str, address: str) -> None:
    """Take back what `begin_sign_in` counted, and remember the address as one of the account's owner."""
    throttles.forget(_key(OF_ACCOUNT_AND_ADDRESS.name, account, address))
    throttles.refund(_key(OF_ADDRESS.name, address), OF_ADDRESS.interval)
    known = _key("known", account, address)
    if not throttles.is_known(known):
        throttles.refund(_key(OF_ACCOUNT.name, account), OF_ACCOUNT.interval)
    throttles.remember(known, KNOWN_FOR)


def token_refused(address: str) -> None:
    """Count a token that is none. Raises TooManyFailures when the address has sent too many.

    A good token is accepted all the same: nobody guesses one of 64 random characters, and behind one address there
    may be many clients, of which one repeats a token that has expired.
    """
    _charge(OF_TOKENS, address)


def _charge(rule: Rule, *what: str) -> None:
    wait = throttles.charge(_key(rule.name, *what), burst=rule.burst, interval=rule.interval)
    if wait:
        seconds = math.ceil(wait.total_seconds())
        logger.warning("too many failures by=%s wait_seconds=%d", rule.name.replace(" ", "_"), seconds)
        raise TooManyFailures(seconds)


def _key(*parts: str) -> str:
    # Compatibility forms and cases of one name are one account: a guess must not be counted separately for each.
    text = "\0".join(unicodedata.normalize("NFKC", part).casefold() for part in parts)
    return salted_hmac("jobs.throttle", text, algorithm="sha256").hexdigest()
