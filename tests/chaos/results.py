"""What an experiment found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number of an experiment. With `below` it is an acceptance figure of the full suite."""

    name: str
    value: float | str
    unit: str = ""
    below: float | None = None
    enforced: bool = True
    """Limits hold for the full suite. On a scale below 1 they are shown only."""

    @property
    def met(self) -> bool:
        """Tell whether the figure is within its limit; one without a limit always is."""
        return (
            self.below is None or not self.enforced or (isinstance(self.value, int | float) and self.value < self.below)
        )

    def words(self) -> str:
        """Say it in a few words: `recovery p99: 17.2 s (must be below 20 s)`."""
        text = f"{self.name}: {self.value_words()}"
        return f"{text} ({self.limit_words()})" if self.below is not None else text

    def value_words(self) -> str:
        """Return the value with its unit."""
        if isinstance(self.value, str):
            return self.value
        number = f"{self.value:,.4g}" if abs(self.value) < 1000 else f"{self.value:,.0f}"
        return f"{number} {self.unit}".strip()

    def limit_words(self) -> str:
        """Return the limit in words, if there is one."""
        if self.below is None:
            return ""
        return f"{'must be' if self.enforced else 'in the full suite'} below {self.below:g} {self.unit}".strip()


@dataclass(kw_only=True)
class Result:
    """One experiment, carried out once."""

    name: str
    about: str
    """Its docstring: what is broken."""
    seed: int
    scale: float
    done: list[str] = field(default_factory=list)
    """What was done, a sentence each."""
    figures: list[Figure] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    load: float = 0.0
    """How many processes wanted a core when it ended, over the last five minutes: other work slows it down."""

    @property
    def passed(self) -> bool:
        return not self.violations and all(figure.met for figure in self.figures)

    def note(self, name: str, value: float | str, unit: str = "", *, below: float | None = None) -> None:
        """Add a figure. Limits are enforced in the full suite."""
        enforced = self.scale >= 1
        self.figures.append(Figure(name=name, value=value, unit=unit, below=below, enforced=enforced))
