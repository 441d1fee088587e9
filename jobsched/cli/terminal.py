"""What may reach a terminal. Text from jobs can hold sequences that rename, repaint or even command one."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Final

import click

# Escape sequences: CSI, the string kinds (OSC, DCS, SOS, PM, APC) up to their end, and those of two characters.
_CSI: Final = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*"
_STRING: Final = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*"
_SEQUENCE: Final = re.compile(
    rf"{_CSI}[@-~]|{_STRING}(?:\x07|\x1b\\|\x9c|(?=\n))|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
    rf"|(?P<unfinished>(?:{_CSI}|{_STRING}\x1b?|\x1b[ -/]*)\Z)"
)
_LONGEST_HELD: Final = 4096
"""A sequence that has not ended by then is none; its first character goes and its text is shown."""
_LINE_ENDS: Final = re.compile(r"\r+\n?")
_CONTROLS: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # everything but tab and line feed
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # what makes text read in another order than it has
)


def plain(text: object) -> str:
    """Return text as one harmless line: line ends become spaces, control characters visible escapes."""
    one_line = re.sub(r"[\r\n\t\u2028\u2029]+", " ", str(text))
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), one_line)


def full_name(project: str, job: str) -> str:
    """Return what people call a job: by its name alone in the default project."""
    return plain(job if project == "default" else f"{project}/{job}")


def counted(number: int, noun: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class Cleaner:
    """Takes a stream of output in pieces and lets through what no terminal can be harmed by.

    Escape sequences go, wherever the pieces are cut; a carriage return becomes a line feed, so that nothing is
    painted over. Tabs and line feeds pass, other control characters go.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text
        self._held = ""
        text = _SEQUENCE.sub(self._remove, text)
        without = text.rstrip("\r")
        if without != text:
            self._held = f"\r{self._held}"  # a line feed may belong to it
        return self._without_controls(without)

    def _remove(self, match: re.Match[str]) -> str:
        held = match["unfinished"]
        if held and len(held) > _LONGEST_HELD:
            return held
        self._held = held or ""
        return ""

    def rest(self) -> str:
        """Return what was held back, at the end of the stream."""
        held, self._held = self._held, ""
        return self._without_controls(held)

    @staticmethod
    def _without_controls(text: str) -> str:
        return _CONTROLS.sub("", _LINE_ENDS.sub("\n", text))


class OutputWriter:
    """Writes a job's output: cleaned for a terminal, exactly as it is into a pipe or file."""

    def __init__(self) -> None:
        self._cleaner: Cleaner | None = Cleaner() if sys.stdout.isatty() else None
        self._at_line_start = True

    def write(self, text: str) -> None:
        self._put(self._cleaner.feed(text) if self._cleaner else text)

    def end(self) -> None:
        """Finish the last line, on a terminal, so that what follows starts a new one."""
        if self._cleaner:
            self._put(self._cleaner.rest())
            if not self._at_line_start:
                self._put("\n")

    def _put(self, text: str) -> None:
        if text:
            # Bytes, so that a terminal or pipe that cannot encode a character does not end the command.
            sys.stdout.buffer.write(text.encode(errors="replace"))
            sys.stdout.flush()
            self._at_line_start = text.endswith("\n")


def say(text: str) -> None:
    """Print a line about the command itself where it does not mix with a job's output."""
    click.echo(plain(text), err=True)


def complain(text: str) -> None:
    """Print an error, each of its lines made harmless."""
    for line in text.splitlines():
        click.secho(plain(line), err=True, fg="red")


def print_json(data: Any) -> None:
    """Print JSON for programs; nothing in it can reach a terminal unescaped."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=True))
