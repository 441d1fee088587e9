"""Why a benchmark is not a benchmark."""

from __future__ import annotations


class BenchmarkError(Exception):
    """Something is missing, or what was measured is not what the table would say. One sentence for the reader."""
