from __future__ import annotations

from typing import Any


def run_demo(*a: Any) -> int:
    return 0
