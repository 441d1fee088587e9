"""The WSGI environment (PEP 3333) of a request that arrived over ASGI."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

_BARE = {"CONTENT_TYPE", "CONTENT_LENGTH"}


def wsgi_environ(scope: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    """Return what a WSGI application is called with. Bytes become text as Latin-1, as the PEP demands."""
    server_name, server_port = scope.get("server") or ("localhost", 80)
    client = scope.get("client")
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    return {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(raw_path.partition(b"?")[0]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server_name,
        "SERVER_PORT": str(server_port or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **_headers(scope),
        # The body is here, however it was transferred.
        "CONTENT_LENGTH": str(len(body)) if body else "",
    }


def _headers(scope: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        # Two names may differ in "_" and "-" only: a client could otherwise add what a proxy removes.
        if b"_" in raw_name or raw_name.lower() == b"transfer-encoding":
            continue
        name = raw_name.decode("latin-1").upper().replace("-", "_")
        key = name if name in _BARE else f"HTTP_{name}"
        value = raw_value.decode("latin-1")
        between = "; " if key == "HTTP_COOKIE" else ","
        found[key] = f"{found[key]}{between}{value}" if key in found else value
    return found
