"""`python -m benchmarks.beat.prototype`: make the job that all others are copies of, by the verb that people use."""

from __future__ import annotations

import django

JOB = "prototype"
QUEUE = "jobsched-bench-beat"
_MANIFEST = f"""
jobs:
  - name: {JOB}
    queue: {QUEUE}
    call: benchmarks.callables:isolated
    params: {{path: unused}}
"""


def main() -> None:
    """Make it in the database that Django's settings name."""
    django.setup()
    from jobs.services import definitions  # only importable once Django is set up

    definitions.apply(_MANIFEST, filename="prototype.yaml", actor="benchmark")


if __name__ == "__main__":
    main()
