"""Secrets by files: the variable `NAME` holds a secret, or `NAME_FILE` names the file that holds it.

An environment can be read from /proc for as long as its process lives, and every child inherits it. A file has an
owner and a mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from jobsched.domain.errors import InvalidInput

SUFFIX: Final = "_FILE"
OF_AN_INSTALLATION: Final = (
    "JOBSCHED_DATABASE_URL",
    "JOBSCHED_BROKER_URL",
    "JOBSCHED_SECRET_KEY",
    "JOBSCHED_ADMIN_PASSWORD",
)
"""The secrets that the local stack makes for its processes where none are given."""
_files_read: Final[set[Path]] = set()
_LONGEST: Final = 64 * 1024
"""In bytes. A device or a log that is named by mistake is not read to its end."""


def secret(name: str, environ: Mapping[str, str]) -> str | None:
    """Return the value of the variable `name`, or the text of the file that `name`_FILE names; None without either.

    An empty variable counts as one that is not there. Raises InvalidInput when both are given, and when the file
    cannot be read or does not hold one line of text. No message quotes what is in the file.
    """
    value, file = environ.get(name), environ.get(name + SUFFIX)
    if not file:
        return value
    if value:
        raise InvalidInput(f"{name} and {name}{SUFFIX} are both set; leave one of them out.")
    return _read(Path(file), f"{name}{SUFFIX}")


def resolved(environ: Mapping[str, str], names: Iterable[str] = OF_AN_INSTALLATION) -> dict[str, str]:
    """Return `environ` with the text of its file in each of `names` that has one. Raises InvalidInput as `secret`."""
    found = {name: secret(name, environ) for name in names if environ.get(name + SUFFIX)}
    others = {name: value for name, value in environ.items() if name.removesuffix(SUFFIX) not in found}
    return {**others, **{name: value for name, value in found.items() if value is not None}}


def files_read() -> frozenset[Path]:
    """Return the files from which this process has read secrets."""
    return frozenset(_files_read)


def _read(file: Path, variable: str) -> str:
    what = f"{variable} names {file}, which"
    try:
        with file.open("rb") as opened:
            content = opened.read(_LONGEST + 1)
    except FileNotFoundError:
        raise InvalidInput(f"{what} does not exist; create the file, or correct the name.") from None
    except IsADirectoryError:
        raise InvalidInput(f"{what} is a folder; name a file in it.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or "its name is not valid"
        raise InvalidInput(f"{what} cannot be read ({reason}); let the user of this process read it.") from None
    if len(content) > _LONGEST:
        raise InvalidInput(f"{what} is longer than {_LONGEST // 1024} KiB; name the file that holds the secret.")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{what} is not UTF-8 text; write the secret into it as text.") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise InvalidInput(f"{what} is empty; write the secret into it.")
    if any(character in text for character in "\n\r\0"):
        raise InvalidInput(f"{what} has more than one line; a secret is the only line of its file.")
    _files_read.add(file.absolute())
    return text
