"""Django's system checks: settings at every start, and with `check --database default` the database behind them."""

from __future__ import annotations

from jobs.checks.database import check_database, refuse_encoding
from jobs.checks.output import check_output_storage
from jobs.checks.settings import check_settings

__all__ = ["check_database", "check_output_storage", "check_settings", "refuse_encoding"]
