"""Form fields that speak plainly about what is wrong."""

from __future__ import annotations

import json
from typing import Any

from django import forms

TEXT_LIMIT = 200_000
"""More than this in one field belongs in a file that the job fetches."""


class CodeField(forms.CharField):
    """Text that is kept as typed, but for line endings: browsers send CRLF, shells do not take it."""

    def __init__(self, *, rows: int = 8, **kwargs: Any) -> None:
        attrs = {"rows": rows, "class": "js-code", "spellcheck": "false"}
        super().__init__(strip=False, max_length=TEXT_LIMIT, widget=forms.Textarea(attrs), **kwargs)

    def to_python(self, value: Any) -> str:
        return (super().to_python(value) or "").replace("\r\n", "\n")


class JsonField(forms.CharField):
    """JSON of one shape: an object (`dict`) or a list. Empty means an empty one."""

    def __init__(self, *, shape: type[dict[str, Any]] | type[list[Any]] = dict, rows: int = 4, **kwargs: Any) -> None:
        self.shape = shape
        attrs = {"rows": rows, "class": "js-json", "spellcheck": "false"}
        super().__init__(required=False, max_length=TEXT_LIMIT, widget=forms.Textarea(attrs), **kwargs)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return self.shape()
        try:
            found = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            raise forms.ValidationError(
                f"This is not JSON: {error.msg} in line {error.lineno}, column {error.colno}."
            ) from error
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"This is not JSON that can be kept: {error}.") from error
        if not isinstance(found, self.shape):
            example = '{"customer": 7}' if self.shape is dict else "[1, 2]"
            wanted = "an object" if self.shape is dict else "a list"
            raise forms.ValidationError(f"This must be {wanted}, such as {example}.")
        return found

    def run_validators(self, value: Any) -> None:
        """The length was that of the text; what came of it needs no further check."""

    def validate(self, value: Any) -> None:
        """Nothing is required."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False) if value else ""

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or self.shape()) != self.to_python(data))
        except forms.ValidationError:
            return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands in it twice")
    return found


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


class ListField(forms.CharField):
    """Short values separated by commas; `number` makes them whole numbers."""

    def __init__(self, *, number: bool = False, **kwargs: Any) -> None:
        self.number = number
        super().__init__(required=False, max_length=2000, widget=forms.TextInput({"size": 40}), **kwargs)

    def to_python(self, value: Any) -> Any:
        parts = [part.strip() for part in (super().to_python(value) or "").split(",") if part.strip()]
        try:
            return [int(part) for part in parts] if self.number else parts
        except ValueError as error:
            raise forms.ValidationError("Give whole numbers separated by commas, such as 1, 75.") from error

    def run_validators(self, value: Any) -> None:
        """The length was that of the text."""

    def validate(self, value: Any) -> None:
        """Nothing is required."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(str(part) for part in value) if isinstance(value, list | tuple) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(list(initial or []) != self.to_python(data))
        except forms.ValidationError:
            return True


class LinesField(forms.CharField):
    """Short values, one a line; empty lines count for nothing."""

    def __init__(self, *, rows: int = 3, **kwargs: Any) -> None:
        attrs = {"rows": rows, "cols": 50, "class": "js-lines", "spellcheck": "false"}
        super().__init__(required=False, max_length=TEXT_LIMIT, widget=forms.Textarea(attrs), **kwargs)

    def to_python(self, value: Any) -> Any:
        return [line.strip() for line in (super().to_python(value) or "").splitlines() if line.strip()]

    def run_validators(self, value: Any) -> None:
        """Nothing is left to check; JobSpec judges each entry."""

    def validate(self, value: Any) -> None:
        """Nothing is required."""

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(str(line) for line in value) if isinstance(value, list | tuple) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(list(initial or []) != self.to_python(data))
