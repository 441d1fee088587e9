"""Parameters in URLs."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsched.domain.errors import InvalidInput
from jobsched.domain.urltemplate import expand


@pytest.mark.parametrize(
    ("url", "params", "filled"),
    [
        ("http://a/b?c=$d", {}, "http://a/b?c=$d"),
        ("http://127.0.0.1:${params.port}/healthz", {"port": 8123}, "http://127.0.0.1:8123/healthz"),
        ("http://a/${params.x}/${params.y}", {"x": "1 2", "y": "ü/?#"}, "http://a/1%202/%C3%BC%2F%3F%23"),
        ("http://a/${params.flag}", {"flag": True}, "http://a/true"),
        ("http://a/${params.x}", {"x": "${params.y}", "y": 1}, "http://a/%24%7Bparams.y%7D"),
    ],
)
def test_parameters_are_filled_in(url: str, params: dict[str, Any], filled: str) -> None:
    assert expand(url, params) == filled


@pytest.mark.parametrize(
    ("url", "params", "reason"),
    [
        ("http://a/${params.x}", {}, "needs the parameter 'x'"),
        ("http://a/${params.x}", {"x": [1]}, "must be text, a number, true or false"),
        ("http://a/${params.x}", {"x": None}, "must be text, a number, true or false"),
        ("http://a/${params.x}/b", {"x": ".."}, "another part of the URL"),
        ("http://a/${env.HOME}", {}, "must be"),
        ("http://a/${params.x", {"x": 1}, "must be"),
        ("http://a/${}", {}, "must be"),
        ("http://a/${params.x.y}", {"x": 1}, "must be"),
    ],
)
def test_what_cannot_be_filled_in_is_refused(url: str, params: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        expand(url, params)


@given(st.text().filter(lambda text: text not in (".", "..") and text.isprintable()))
def test_a_value_stays_inside_its_place(value: str) -> None:
    parts = urlsplit(expand("https://host/a/${params.x}/b?q=${params.x}", {"x": value}))
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "host", "")
    assert parts.path.count("/") == 3
    assert parts.query.count("&") == 0
