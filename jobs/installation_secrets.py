"""The secrets that Django's settings hold, so that they can be kept out of the environment of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import current_app
from django.conf import settings
from django.views.debug import SafeExceptionReporterFilter

_URLS = ("broker_url", "broker_read_url", "broker_write_url", "result_backend")
"""Settings of Celery's that may hold a password, also where they are not Django's."""


def installation_secrets() -> frozenset[str]:
    """Return each text that is secret: the values of the settings whose names Django hides on its error pages, and
    the passwords of URLs."""
    named = {name: getattr(settings, name) for name in dir(settings) if name.isupper()}
    celery = {name: current_app.conf.get(name) for name in _URLS}
    return frozenset(secret for secret in _secrets_in({**named, **celery}, is_secret=False) if secret)


def _secrets_in(value: Any, *, is_secret: bool) -> Iterator[str]:
    match value:
        case str():
            yield from [value] if is_secret else _passwords(value)
        case Mapping():
            for key, part in value.items():
                yield from _secrets_in(part, is_secret=_names_a_secret(key))
        case list() | tuple():
            for part in value:
                yield from _secrets_in(part, is_secret=is_secret)


def _names_a_secret(key: object) -> bool:
    return isinstance(key, str) and SafeExceptionReporterFilter.hidden_settings.search(key) is not None


def _passwords(text: str) -> Iterator[str]:
    # Celery takes several URLs in one text.
    for url in text.split(";"):
        try:
            password = urlsplit(url).password
        except ValueError:
            continue
        if password:
            yield unquote(password)
