"""The storage for buckets fails as the storage for files does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from django.core.files.base import ContentFile

pytest.importorskip("storages", reason="needs django-storages: `make install` brings it")

from config.bucket import BucketStorage


class Bucket(BaseHTTPRequestHandler):
    """As much of the protocol as one object needs; `refuse` makes it answer 403 to everything."""

    objects: dict[str, bytes]
    address = ""
    refuse = False

    def do_PUT(self) -> None:
        size = int(self.headers.get("X-Amz-Decoded-Content-Length") or self.headers["Content-Length"])
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if "X-Amz-Decoded-Content-Length" in self.headers:
            raw = raw.split(b"\r\n", 1)[1][:size]
        if not self.refuse:
            self.objects[self.path] = raw
        self._answer(403 if self.refuse else 200)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        found = self.objects.get(path)
        if self.refuse:
            self._answer(403)
        elif "prefix=" in query:
            self._list(path, parse_qs(query)["prefix"][0])
        elif found is None:
            self._answer(404)
        else:
            self._answer(200, found)

    def do_DELETE(self) -> None:
        self.objects.pop(self.path, None)
        self._answer(403 if self.refuse else 204)

    def _list(self, path: str, prefix: str) -> None:
        """Answer with the objects and folders right below a folder."""
        names = [name[len(path) + 1 :] for name in self.objects if name.startswith(f"{path}/{prefix}")]
        below = [name[len(prefix) :] for name in names]
        folders = sorted({name.partition("/")[0] for name in below if "/" in name})
        keys = "".join(f"<Contents><Key>{prefix}{name}</Key></Contents>" for name in below if "/" not in name)
        keys += "".join(f"<CommonPrefixes><Prefix>{prefix}{name}/</Prefix></CommonPrefixes>" for name in folders)
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>"
        self._answer(200, body.encode())

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def bucket() -> Iterator[type[Bucket]]:
    class Fresh(Bucket):
        objects: dict[str, bytes] = {}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    Fresh.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield Fresh
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def storage(address: str) -> BucketStorage:
    return BucketStorage(
        bucket_name="runs",
        location="output",
        endpoint_url=address,
        region_name="us-east-1",
        access_key="key",
        secret_key="secret",
        addressing_style="path",
    )


def test_what_was_saved_is_read_back_until_it_is_deleted(bucket: type[Bucket]) -> None:
    output = storage(bucket.address)
    name = output.save("runs/0/1-1.log", ContentFile(b"built\n"))
    with output.open(name) as file:
        assert file.read() == b"built\n"
    output.delete(name)
    with pytest.raises(FileNotFoundError):
        output.open(name)


def test_a_second_save_never_replaces_the_first(bucket: type[Bucket]) -> None:
    output = storage(bucket.address)
    first = output.save("runs/0/1-1.log", ContentFile(b"one"))
    second = output.save("runs/0/1-1.log", ContentFile(b"two"))
    assert first != second
    with output.open(first) as file:
        assert file.read() == b"one"


def test_folders_and_objects_are_listed_with_their_times(bucket: type[Bucket]) -> None:
    output = storage(bucket.address)
    for name in ("runs/0/1/a.log", "runs/0/1/b.log", "runs/0/2/c.log"):
        output.save(name, ContentFile(b"x"))
    assert output.listdir("runs/0") == (["1", "2"], [])
    assert output.listdir("runs/0/1") == ([], ["a.log", "b.log"])
    assert output.get_modified_time("runs/0/1/a.log").year == 2026


@pytest.mark.parametrize("verb", ["save", "open", "exists", "delete", "listdir", "get_modified_time"])
def test_a_refusal_is_an_os_error_that_names_no_secret(verb: str, bucket: type[Bucket]) -> None:
    output = storage(bucket.address)
    bucket.refuse = True
    arguments = ("a.log", ContentFile(b"x")) if verb == "save" else ("a.log",)
    with pytest.raises(OSError, match=r"the bucket answered \w+ for") as caught:
        getattr(output, verb)(*arguments)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("verb", ["save", "open", "exists", "delete", "listdir", "get_modified_time"])
def test_a_server_that_is_gone_is_an_os_error(verb: str, bucket: type[Bucket]) -> None:
    output = storage("http://127.0.0.1:1")
    arguments = ("a.log", ContentFile(b"x")) if verb == "save" else ("a.log",)
    with pytest.raises(OSError, match="the bucket cannot be used for"):
        getattr(output, verb)(*arguments)
