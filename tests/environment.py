"""Loaded before Django (`-p tests.environment`): lets tests that need no server run without one."""

from __future__ import annotations

import os

HAS_DATABASE = "JOBSCHED_DATABASE_URL" in os.environ
HAS_BROKER = "JOBSCHED_BROKER_URL" in os.environ

# Settings want addresses. Nothing listens on port 1, so a test that needs a server does not go on by accident.
os.environ.setdefault("JOBSCHED_DATABASE_URL", "postgres://nobody:none@127.0.0.1:1/none")
os.environ.setdefault("JOBSCHED_BROKER_URL", "amqp://nobody:none@127.0.0.1:1//")
# Jobs of tests call functions of tests, and those of the examples.
os.environ.setdefault("JOBSCHED_CALLABLE_MODULES", "tests,examples")
os.environ.setdefault("JOBSCHED_SECRET_KEY", "for-tests-only-and-of-no-value-anywhere-else")
