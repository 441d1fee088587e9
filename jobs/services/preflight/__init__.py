"""Look at the PostgreSQL, the RabbitMQ and the rows there are, and say in one sentence each what is wrong with them."""

from __future__ import annotations

from jobs.services.preflight.connections import warn_at_start
from jobs.services.preflight.examination import examine
from jobs.services.preflight.findings import Finding, Level, Report, first_line
from jobs.services.preflight.postgres import durability, encoding_problem

__all__ = [
    "Finding",
    "Level",
    "Report",
    "durability",
    "encoding_problem",
    "examine",
    "first_line",
    "warn_at_start",
]
