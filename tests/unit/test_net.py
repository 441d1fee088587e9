"""The one HTTP client: limits on time, size and redirects, and no credentials where they do not belong."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from jobsched import net
from jobsched.domain.errors import InvalidInput
from tests.conformance.executors.server import running


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running() as found:
        yield found


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    with running() as found:
        yield found


@pytest.mark.parametrize("path", ["/silent", "/drip?what=headers", "/drip?what=body"])
def test_the_limit_covers_the_whole_time(address: str, path: str) -> None:
    started = time.monotonic()
    with pytest.raises(net.RequestFailed, match=r"took longer than 0\.5 s"):
        net.fetch(address + path, timeout_seconds=0.5)
    assert time.monotonic() - started < 15, "the server would have held us for 30 s"


def test_a_body_over_the_limit_is_cut(address: str) -> None:
    answer = net.fetch(f"{address}/big?bytes=5000000", max_bytes=1000)
    assert (len(answer.body), answer.truncated) == (1000, True)


def test_a_body_at_the_limit_is_whole(address: str) -> None:
    answer = net.fetch(f"{address}/big?bytes=1000", max_bytes=1000)
    assert (len(answer.body), answer.truncated) == (1000, False)


def test_redirects_are_followed_and_counted(address: str) -> None:
    assert net.fetch(f"{address}/redirect?to=/hello").body == b"hello\n"
    with pytest.raises(net.RequestFailed, match="redirected more than 5 times"):
        net.fetch(f"{address}/loop")


def test_redirects_are_not_followed_when_not_wanted(address: str) -> None:
    assert net.fetch(f"{address}/redirect?to=/hello", follow_redirects=False).status == 302


@pytest.mark.parametrize(
    ("code", "method", "after"),
    [(303, "PUT", "GET"), (302, "POST", "GET"), (307, "POST", "POST"), (301, "PUT", "PUT")],
)
def test_the_method_after_a_redirect(address: str, code: int, method: str, after: str) -> None:
    answer = net.fetch(f"{address}/redirect?code={code}&to=/echo", method=method, body=b"data")
    assert answer.body.startswith(after.encode() + b" ")
    assert answer.body.endswith(b"data") is (after == method)


def test_a_redirect_out_of_http_is_refused(address: str) -> None:
    with pytest.raises(net.RequestFailed, match="not http or https"):
        net.fetch(f"{address}/redirect?to=file:///etc/passwd")


def test_credentials_in_the_url_are_sent_but_never_shown(address: str) -> None:
    with_password = address.replace("http://", "http://ann:s3cret@")
    answer = net.fetch(f"{with_password}/echo")
    assert b"authorization: basic" in answer.body.lower()
    assert "s3cret" not in answer.url
    with pytest.raises(net.RequestFailed) as failed:
        net.fetch("http://ann:s3cret@127.0.0.1:1/")
    assert "s3cret" not in str(failed.value)


def test_credentials_and_cookies_stay_with_their_origin(address: str, elsewhere: str) -> None:
    headers = {"Authorization": "Bearer abc", "Cookie": "a=b", "X-Plain": "kept"}
    same = net.fetch(f"{address}/redirect?to={address}/echo", headers=headers)
    other = net.fetch(f"{address}/redirect?to={elsewhere}/echo", headers=headers)
    assert b"Bearer abc" in same.body
    assert b"Bearer abc" not in other.body and b"a=b" not in other.body
    assert b"kept" in other.body


@pytest.mark.parametrize(
    "url", ["", "ftp://host/", "file:///etc/passwd", "//host/path", "http://", "http://host:99999999/"]
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        net.fetch(url)


@pytest.mark.parametrize("name", ["no-such-host.invalid"])
def test_an_unknown_host_is_named(name: str) -> None:
    with pytest.raises(net.RequestFailed, match=name):
        net.fetch(f"http://{name}/", timeout_seconds=10)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://u:p@host:8443/a/b?token=x#y", "https://host:8443/a/b"),
        ("http://[::1]:80/", "http://[::1]:80/"),
        ("nonsense\\", "the URL"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, shown: str) -> None:
    assert "p@" not in net.describe(url)
    if shown != "the URL":
        assert net.describe(url) == shown
