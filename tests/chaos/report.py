"""The report: what was done, the figures, the verdict. Experiments that were not carried out now keep their section."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.chaos.results import Result

_HEAD = """# Chaos report

Written by `make chaos`; [chaos.md](chaos.md) says what is measured and how. Each section is the latest time that the
experiment was carried out.
"""
_SHOWN = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the figures were found on."""

    cores: int
    memory_gib: float
    versions: str

    @classmethod
    def this(cls, postgres: str, rabbitmq: str) -> Machine:
        """Describe this machine, without its name."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        named = ", ".join(f"{name} {version(name.lower())}" for name in ("Django", "Celery", "Kombu", "psycopg"))
        return cls(
            cores=os.cpu_count() or 1,
            memory_gib=memory,
            versions=f"Python {platform.python_version()}, {named}, PostgreSQL {postgres}, RabbitMQ {rabbitmq}, "
            f"Linux {platform.release().split('-')[0]}",
        )


def write(path: Path, results: Sequence[Result], machine: Machine, *, order: Sequence[str]) -> None:
    """Write sections for `results` and keep those of other experiments, in `order`."""
    sections = _sections(path) | {result.name: _section(result, machine) for result in results}
    known = [name for name in order if name in sections]
    path.write_text("\n".join([_HEAD, _summary(known, sections), *(sections[name] for name in known)]))


def _sections(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    _head, *parts = re.split(r"^## ", path.read_text(), flags=re.MULTILINE)
    return {part.split("\n", 1)[0]: f"## {part.strip()}\n" for part in parts}


def _summary(names: Sequence[str], sections: dict[str, str]) -> str:
    rows = []
    for name in names:
        verdict = re.search(r"^Verdict: \*\*(.*)\*\*", sections[name], re.MULTILINE)
        rows.append(f"| [{name}](#{name}) | {verdict[1] if verdict else ''} |")
    return "\n".join(["| experiment | verdict |", "|---|---|", *rows, ""])


def _section(result: Result, machine: Machine) -> str:
    lines = [f"## {result.name}", "", result.about, ""]
    lines += [f"- {sentence}" for sentence in result.done]
    if result.figures:
        lines += ["", "| figure | value | limit |", "|---|---|---|"]
        lines += [f"| {figure.name} | {figure.value_words()} | {figure.limit_words()} |" for figure in result.figures]
    verdict = "passed" if result.passed else "FAILED"
    scale = "" if result.scale == 1 else f" on the scale {result.scale:g}"
    lines += ["", f"Verdict: **{verdict}{scale}**, in {result.seconds:.0f} s; seed {result.seed}.", ""]
    shown = [*result.violations, *(figure.words() for figure in result.figures if not figure.met)]
    lines += [f"- violated: {sentence}" for sentence in shown[:_SHOWN]]
    if len(shown) > _SHOWN:
        lines.append(f"- … and {len(shown) - _SHOWN} more")
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    lines += [
        f"{day}, {machine.cores} cores (load {result.load:.1f}), {machine.memory_gib:.0f} GiB; {machine.versions}."
    ]
    return "\n".join(lines) + "\n"
