"""Write the secrets of an installation into one folder for each kind of container. Run once, before every start.

The values come from this process's environment, which compose fills from .env. Each folder belongs to root and to the
group of its reader: `root:GROUP 0750`, with files `root:GROUP 0440`. The users of jobs are in none of these groups.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from entrypoint import EXIT_CONFIG, problems

TARGET = Path("/secrets")
JOBSCHED = 10001
"""The group of our image's user, as the Dockerfile makes it."""
POSTGRES = RABBITMQ = 999
"""The group of the users that both official images make."""


@dataclass(frozen=True, kw_only=True)
class SecretFile:
    """One file of a folder, and the group that may read it."""

    folder: str
    name: str
    group: int
    text: str


def complete(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with the addresses of both servers: those that are given, else those of this compose file."""
    database, broker = environ.get("JOBSCHED_DATABASE_PASSWORD", ""), environ.get("JOBSCHED_BROKER_PASSWORD", "")
    return {
        **environ,
        "JOBSCHED_DATABASE_URL": environ.get("JOBSCHED_DATABASE_URL")
        or f"postgres://jobsched:{database}@postgres:5432/jobsched",
        "JOBSCHED_BROKER_URL": environ.get("JOBSCHED_BROKER_URL") or f"amqp://jobsched:{broker}@rabbitmq:5672//",
        "FLOWER_BASIC_AUTH": f"admin:{environ.get('JOBSCHED_FLOWER_PASSWORD', '')}",
    }


def files(values: Mapping[str, str]) -> Iterator[SecretFile]:
    """Yield every file, from the variables that `complete` returns."""
    for name, text in (
        ("secret-key", values["JOBSCHED_SECRET_KEY"]),
        ("database-url", values["JOBSCHED_DATABASE_URL"]),
        ("broker-url", values["JOBSCHED_BROKER_URL"]),
        ("aws-credentials", _aws_credentials(values)),
    ):
        yield SecretFile(folder="jobsched", name=name, group=JOBSCHED, text=text)
    yield SecretFile(folder="admin", name="password", group=JOBSCHED, text=values["JOBSCHED_ADMIN_PASSWORD"])
    flower = f"basic_auth = [{json.dumps(values['FLOWER_BASIC_AUTH'])}]"
    yield SecretFile(folder="flower", name="flowerconfig.py", group=JOBSCHED, text=flower)
    # Used by the very first start only, which takes it away from the superuser in the end.
    superuser = secrets.token_urlsafe(32)
    yield SecretFile(folder="postgres", name="superuser-password", group=POSTGRES, text=superuser)
    role = values["JOBSCHED_DATABASE_PASSWORD"]
    yield SecretFile(folder="postgres", name="jobsched-password", group=POSTGRES, text=role)
    broker = f"default_user = jobsched\ndefault_pass = {values['JOBSCHED_BROKER_PASSWORD']}"
    yield SecretFile(folder="rabbitmq", name="rabbitmq.conf", group=RABBITMQ, text=broker)


def write(file: SecretFile, target: Path) -> None:
    """Put the file in its place in one step: a container that starts at the same moment finds the old one or this."""
    folder = target / file.folder
    os.chown(folder, -1, file.group)
    folder.chmod(0o750)
    fresh = folder / f".{file.name}.new"
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w") as opened:
        opened.write(f"{file.text}\n")
        os.fchown(opened.fileno(), -1, file.group)
        os.fchmod(opened.fileno(), 0o440)
    fresh.replace(folder / file.name)


def main() -> int:
    """Write all files, or return EXIT_CONFIG after saying what is wrong with the secrets."""
    values = complete(os.environ)
    found = list(problems(values, ["flower"]))
    if found:
        sys.stderr.writelines(f"{sentence}\n" for sentence in found)
        return EXIT_CONFIG
    for file in files(values):
        write(file, TARGET)
    sys.stdout.write("The secrets are written.\n")
    return 0


def _aws_credentials(values: Mapping[str, str]) -> str:
    """Return a credentials file as boto3 reads it; without keys it is empty, and the host's role is used."""
    key_id, key = values.get("AWS_ACCESS_KEY_ID"), values.get("AWS_SECRET_ACCESS_KEY")
    return f"[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {key}" if key_id and key else ""


if __name__ == "__main__":
    sys.exit(main())
