"""Write .env from .env.example, with a fresh random value for every secret in it.

Usage: python3 deploy/new_env.py [FILE]      (default .env; an existing file is never overwritten)
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent.parent / ".env.example"
SECRET = re.compile(r"^(\w+_(?:PASSWORD|SECRET_KEY))=$", re.MULTILINE)


def fill(example: str) -> str:
    """Return `example` with every empty `…_PASSWORD=` and `…_SECRET_KEY=` given 43 random characters."""
    return SECRET.sub(lambda line: f"{line[1]}={secrets.token_urlsafe(32)}", example)


def main(argv: list[str]) -> int:
    """Create the file, readable by its owner only; return 1 when it is there already."""
    target = Path(argv[0] if argv else ".env")
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.stderr.write(f"{target} is there already and was left as it is; remove it to start afresh.\n")
        return 1
    with os.fdopen(descriptor, "w") as file:
        file.write(fill(EXAMPLE.read_text()))
    sys.stdout.write(f"Wrote {target}. Keep it: the servers remember the passwords of their first start.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
