"""Exit 0 if the given URL answers 200 within five seconds; the health check of containers that serve HTTP."""

from __future__ import annotations

import sys
from http.client import HTTPException
from urllib.request import urlopen


def main(url: str) -> int:
    """Return 0 or 1, and say what was answered instead of 200."""
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - the address stands in docker-compose.yml
            status = answer.status
    except (OSError, HTTPException) as error:
        sys.stderr.write(f"{url}: {error}\n")
        return 1
    sys.stdout.write(f"{url}: {status}\n")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
