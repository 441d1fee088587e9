"""Which experiments there are: the modules of the folder `experiments`, in the order of their NUMBER."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_FOLDER: Final = Path(__file__).parent / "experiments"


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """`about` is the module's docstring. Nothing of it has been imported yet: it needs Django, and so servers."""

    name: str
    number: float
    about: str

    def load(self) -> Callable[[Any], None]:
        """Import it. Return what carries it out on a stage."""
        module = importlib.import_module(f"tests.chaos.experiments.{self.name.replace('-', '_')}")
        run: Callable[[Any], None] = module.run
        return run


def experiments() -> list[Experiment]:
    """Return all experiments."""
    found = [_experiment(file) for file in _FOLDER.glob("*.py") if file.stem != "__init__"]
    return sorted(found, key=lambda one: (one.number, one.name))


def _experiment(file: Path) -> Experiment:
    tree = ast.parse(file.read_text())
    about = ast.get_docstring(tree)
    numbers = [number for node in tree.body if (number := _number(node)) is not None]
    if about is None or len(numbers) != 1:
        raise ValueError(f"{file} needs a docstring that says what is broken, and a NUMBER that orders it")
    return Experiment(name=file.stem.replace("_", "-"), number=numbers[0], about=" ".join(about.split()))


def _number(node: ast.stmt) -> float | None:
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "NUMBER" and node.value is not None:
        return float(ast.literal_eval(node.value))
    return None
