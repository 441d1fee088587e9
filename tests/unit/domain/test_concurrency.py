"""Keys that say which runs count as the same."""

from __future__ import annotations

from typing import Any

import pytest

from jobsched.domain.concurrency import names, render
from jobsched.domain.errors import InvalidInput


@pytest.mark.parametrize(
    ("template", "params", "key"),
    [
        ("customer-{customer}", {"customer": "acme", "other": []}, "customer-acme"),
        ("{a}:{b}:{a}", {"a": 1, "b": 2.5}, "1:2.5:1"),
        ("{on}", {"on": True}, "true"),
        ("{text}", {"text": "{a} \\1 ü"}, "{a} \\1 ü"),
        ("all of them", {}, "all of them"),
    ],
)
def test_parameters_fill_the_places_of_a_key(template: str, params: dict[str, Any], key: str) -> None:
    assert render(template, params) == key


def test_the_names_of_a_key_are_known_each_once() -> None:
    assert names("{b}-{a}-{b}") == ("b", "a")
    assert names("plain") == ()


@pytest.mark.parametrize("template", ["", "  ", "{", "a}", "{}", "{a.b}", "{a b}", "{1}", "{{a}}", "{a!r}", "x" * 201])
def test_what_is_no_key_is_refused(template: str) -> None:
    with pytest.raises(InvalidInput, match="concurrency key"):
        names(template)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, "needs the parameter 'customer'; give it in the job's params or with the request"),
        ({"customer": None}, "parameter 'customer' is part of the concurrency key and must be text, a number"),
        ({"customer": [1]}, "parameter 'customer' is part"),
        ({"customer": {}}, "parameter 'customer' is part"),
        ({"customer": "x" * 192}, "has 201 characters; the most is 200"),
    ],
)
def test_parameters_that_give_no_key_are_refused(params: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        render("customer-{customer}", params)
