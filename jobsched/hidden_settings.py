"""Which environment variables hold settings of the installation, and how a run's process gets rid of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from jobsched.environment import PASSED
from jobsched.shim.initial_environment import overwrite_values

_PREFIXES: Final = ("JOBSCHED_", "FLOWER_", "AWS_")
_HARMLESS: Final = frozenset({"AWS_REGION", "AWS_DEFAULT_REGION"})
_READ_BY_SLOTS: Final = frozenset({"JOBSCHED_ISOLATION", "JOBSCHED_USER", "JOBSCHED_JOB_UIDS"})
"""What a slot reads whenever it starts the process that performs its runs; none is a secret."""
_SHORTEST_PART: Final = 8
"""Characters: a shorter secret counts only where it is the whole value or the password of a URL, since by chance it
may be part of anything."""


@dataclass(frozen=True, kw_only=True)
class HiddenSettings:
    """Settings of the installation, by the names of their variables and by the secrets in their values."""

    secrets: frozenset[str] = frozenset()
    """Texts that are secret in any variable, such as the password of the database."""
    kept: frozenset[str] = frozenset()
    """Names of variables that are not hidden all the same."""

    def hides(self, name: str, value: str) -> bool:
        """Tell whether a run must not see this variable."""
        if name in self.kept or name in PASSED or name in _HARMLESS:
            return False
        return name.startswith(_PREFIXES) or self._is_in(value)

    def _is_in(self, value: str) -> bool:
        if value in self.secrets or _password(value) in self.secrets:
            return True
        return any(part in value for part in self._parts)

    @cached_property
    def _parts(self) -> frozenset[str]:
        """The secrets that are looked for anywhere in a value, as they are and quoted as in a URL."""
        long = [secret for secret in self.secrets if len(secret) >= _SHORTEST_PART]
        return frozenset(form for secret in long for form in (secret, quote(secret, safe="")))


def hidden_in_slots(name: str, _value: str) -> bool:
    """Tell whether a slot removes this variable from itself: settings that Django has read before.

    A slot performs plain Celery tasks and trusted callables, too, which may need any other variable.
    """
    return name.startswith(("JOBSCHED_", "FLOWER_")) and name not in _READ_BY_SLOTS


def forget(hides: Callable[[str, str], bool]) -> None:
    """Remove from this process, and so from what it starts, the variables for which `hides(name, value)` is true."""
    for name, value in tuple(os.environ.items()):
        if hides(name, value):
            del os.environ[name]
    overwrite_values(hides)


def _password(text: str) -> str | None:
    if "@" not in text:
        return None
    try:
        password = urlsplit(text).password
    except ValueError:
        return None
    return unquote(password) if password else None
