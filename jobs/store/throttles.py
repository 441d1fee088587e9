"""Count failures in the database, for all web processes together.

The generic cell rate algorithm (ITU-T I.371) in one moment a key: each failure moves `until` further by an interval,
and a failure is allowed as long as `until` is not further away than `burst` of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from jobs.store.session import django_connection

_SWEPT_AT_ONCE: Final = 100

_CHARGE: Final = """
    INSERT INTO jobs_throttle AS kept (key, until)
    VALUES (%(key)s, statement_timestamp() + %(interval)s)
    ON CONFLICT (key) DO UPDATE SET until = greatest(kept.until, statement_timestamp()) + %(interval)s
    WHERE kept.until <= statement_timestamp() + %(room)s
    RETURNING 1
"""
_WAIT: Final = "SELECT until - %(room)s - statement_timestamp() FROM jobs_throttle WHERE key = %(key)s"
_SWEEP: Final = """
    DELETE FROM jobs_throttle WHERE key IN (
        SELECT key FROM jobs_throttle WHERE until < statement_timestamp()
        ORDER BY until LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    )
"""


def charge(key: str, *, burst: int, interval: timedelta) -> timedelta:
    """Count one failure of `key`. Return zero, or how long to wait when it is over its limit and was not counted."""
    values: Mapping[str, Any] = {"key": key, "interval": interval, "room": interval * (burst - 1)}
    _do(_SWEEP, {"limit": _SWEPT_AT_ONCE})
    if django_connection(_CHARGE, values):
        return timedelta(0)
    found = django_connection(_WAIT, values)
    return max(found[0][0], timedelta(0)) if found else timedelta(0)


def refund(key: str, interval: timedelta) -> None:
    """Take back one failure of `key` that was counted before it was known to be none."""
    _do("UPDATE jobs_throttle SET until = until - %(interval)s WHERE key = %(key)s", {"key": key, "interval": interval})


def forget(key: str) -> None:
    """Forget every failure of `key`."""
    _do("DELETE FROM jobs_throttle WHERE key = %(key)s", {"key": key})


def remember(key: str, period: timedelta) -> None:
    """Keep `key` for a period from now on, as something that is known."""
    _do(
        """
        INSERT INTO jobs_throttle AS kept (key, until) VALUES (%(key)s, statement_timestamp() + %(period)s)
        ON CONFLICT (key) DO UPDATE SET until = excluded.until
        """,
        {"key": key, "period": period},
    )


def is_known(key: str) -> bool:
    """Tell whether `key` was remembered and its period has not passed."""
    return bool(
        django_connection(
            "SELECT 1 FROM jobs_throttle WHERE key = %(key)s AND until > statement_timestamp()", {"key": key}
        )
    )


def _do(sql: str, params: Mapping[str, Any]) -> None:
    django_connection(sql, params)
