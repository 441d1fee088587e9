"""Flower, with every address behind its password: `python -m config.flower --port=5555`.

Flower asks for no password at `/metrics`, for its static files and where nothing is. Here all addresses ask for one but
`/healthcheck`, which answers only OK. The options are those of `celery flower`.
"""

from __future__ import annotations

import hmac
import sys
from base64 import b64decode
from typing import Any, Final

from flower import command
from flower.app import Flower
from flower.views import BaseHandler
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError

from config.celery import app
from jobsched.shim.users import give_up_root

HEALTH: Final = "/healthcheck"


class SignIn(BaseHandler):  # type: ignore[misc]  # Flower has no types
    """Asks for name and password."""

    def prepare(self) -> None:
        """Refuse every method."""
        raise HTTPError(401)


class GuardedFlower(Flower):  # type: ignore[misc]  # Flower has no types
    """Flower that looks at the password before it looks for a handler: of pages, files, sockets and errors alike."""

    def __init__(self, options: Any, **more: Any) -> None:
        if not options.basic_auth:
            sys.exit("Flower needs a password: set FLOWER_BASIC_AUTH to user:password.")
        super().__init__(options=options, **more)

    def find_handler(self, request: HTTPServerRequest, **more: Any) -> Any:
        """Return what answers a request."""
        prefix = f"/{self.options.url_prefix.strip('/')}" if self.options.url_prefix else ""
        if request.path == prefix + HEALTH or self._may_enter(request.headers.get("Authorization", "")):
            return super().find_handler(request, **more)
        return self.get_handler_delegate(request, SignIn)

    def _may_enter(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = b64decode(encoded.strip(), validate=True)
        except ValueError:
            return False
        known = [hmac.compare_digest(given, credentials.encode()) for credentials in self.options.basic_auth]
        return scheme.lower() == "basic" and any(known)


def main() -> None:
    """Run Celery's command `flower` with the guarded application, and not as root."""
    give_up_root()
    command.Flower = GuardedFlower
    app.start(["flower", *sys.argv[1:]])


if __name__ == "__main__":
    main()
