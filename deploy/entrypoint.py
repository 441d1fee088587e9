"""What every container of ours runs first: refuse missing or well-known secrets, then become the given command.

Secrets are variables, or files that variables with `_FILE` at their end name. Django is not loaded, so that a refusal
is instant.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

from jobsched.domain.errors import InvalidInput
from jobsched.secretfiles import SUFFIX, secret

# The value of sysexits.h for a configuration error, so that a supervisor can tell it from a crash.
EXIT_CONFIG = 78

SHORTEST_PASSWORD = 12
SHORTEST_SECRET_KEY = 32
KNOWN_DEFAULTS = frozenset(
    [
        *("admin", "administrator", "changeit", "changeme", "default", "example", "flower", "guest"),
        *("jobsched", "letmein", "minioadmin", "password", "postgres", "postgresql", "qwerty", "rabbit", "rabbitmq"),
        *("root", "secret", "secretkey", "test", "user"),
    ]
)
SECRETS = (
    *("JOBSCHED_SECRET_KEY", "JOBSCHED_DATABASE_URL", "JOBSCHED_BROKER_URL", "JOBSCHED_ADMIN_PASSWORD"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)
REMEDY = "set a random one in .env (`python3 deploy/new_env.py` writes such a file)"


def problems(environ: Mapping[str, str], command: list[str]) -> Iterator[str]:
    """Yield one sentence for each secret that `command` must not be started with. No secret is quoted."""
    key = environ.get("JOBSCHED_SECRET_KEY", "")
    yield from _weakness("JOBSCHED_SECRET_KEY", key, shortest=SHORTEST_SECRET_KEY)
    for name in ("JOBSCHED_DATABASE_URL", "JOBSCHED_BROKER_URL"):
        yield from _url_problems(name, environ.get(name, ""))
    for name in ("JOBSCHED_DATABASE_PASSWORD", "JOBSCHED_BROKER_PASSWORD"):
        if re.search(r"[^\w.~-]", environ.get(name, ""), re.ASCII):
            yield f"{name} stands inside a URL, so it may hold only letters, digits and . _ ~ -: {REMEDY}."
    if environ.get("AWS_SECRET_ACCESS_KEY"):
        yield from _weakness("AWS_SECRET_ACCESS_KEY", environ["AWS_SECRET_ACCESS_KEY"])
    if "JOBSCHED_ADMIN_PASSWORD" in environ:
        yield from _weakness("JOBSCHED_ADMIN_PASSWORD", environ["JOBSCHED_ADMIN_PASSWORD"])
    # A configuration file of Flower's may set it, too.
    starts_flower = any("flower" in word for word in command) and not any(word.startswith("--conf") for word in command)
    if starts_flower or "FLOWER_BASIC_AUTH" in environ:
        yield from _flower_problems(environ.get("FLOWER_BASIC_AUTH", ""))


def main(argv: list[str]) -> int:
    """Run `argv` in place of this process, or return EXIT_CONFIG after saying why not."""
    if not argv:
        sys.stderr.write("No command was given to the container; docker-compose.yml shows those there are.\n")
        return EXIT_CONFIG
    found: list[str] = []
    values = _read_files(os.environ, found)
    found = found or list(problems(values, argv))
    if found:
        sys.stderr.writelines(f"{sentence}\n" for sentence in found)
        return EXIT_CONFIG
    os.execvp(argv[0], argv)  # noqa: S606 - the command is the container's own


def _read_files(environ: Mapping[str, str], faults: list[str]) -> dict[str, str]:
    """Return `environ` with what the files of SECRETS hold. `faults` gets a sentence for each that cannot be read."""
    values = dict(environ)
    for name in SECRETS:
        if not environ.get(name + SUFFIX):
            continue
        try:
            values[name] = secret(name, environ) or ""
        except InvalidInput as error:
            faults.append(str(error))
    return values


def _url_problems(name: str, url: str) -> Iterator[str]:
    if not url:
        yield f"{name} is not set: give the server's URL with user and password."
        return
    try:
        password = urlsplit(url).password
    except ValueError:
        yield f"{name} is not a URL: escape special characters of its password as %XX."
        return
    yield from _weakness(f"The password in {name}", unquote(password or ""))


def _flower_problems(basic_auth: str) -> Iterator[str]:
    user, colon, password = basic_auth.partition(":")
    if not (user and colon) or "," in basic_auth:
        yield "Flower needs a password: set FLOWER_BASIC_AUTH to user:password, without commas."
        return
    yield from _weakness("Flower's password in FLOWER_BASIC_AUTH", password)


def _weakness(what: str, secret: str, shortest: int = SHORTEST_PASSWORD) -> Iterator[str]:
    letters = re.sub(r"[\W\d_]", "", secret.lower())
    if not secret:
        yield f"{what} is missing: {REMEDY}."
    elif letters in KNOWN_DEFAULTS or len(set(secret)) < 5 or secret.startswith("django-insecure-"):
        yield f"{what} is a well-known default: {REMEDY}."
    elif len(secret) < shortest:
        yield f"{what} is shorter than {shortest} characters: {REMEDY}."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
