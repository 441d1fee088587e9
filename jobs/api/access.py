"""Who may call what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.db import transaction
from knox.auth import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.addresses import client_address
from jobs.api.errors import explain
from jobs.api.parsing import LONGEST_BODY, BoundedJSONParser
from jobs.services import throttling


class Token(TokenAuthentication):  # type: ignore[misc]  # knox has no types
    """Knox's tokens; one that is not even text is refused like any other that is wrong.

    An address that sends too many wrong ones is answered 429.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        try:
            found: tuple[Any, Any] | None = super().authenticate(request)
        except AuthenticationFailed:
            throttling.token_refused(client_address(request))
            raise
        return found

    def authenticate_credentials(self, token: bytes) -> tuple[Any, Any]:
        try:
            token.decode("ascii")
        except UnicodeDecodeError:
            raise AuthenticationFailed("Invalid token.") from None
        user, kept = super().authenticate_credentials(token)
        return user, kept


class MayCall(BasePermission):
    """Signed in, and given every permission that the view's `needs` names for the method."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user.is_authenticated:
            return False
        method = "GET" if request.method == "HEAD" else str(request.method)
        needed = getattr(view, "needs", {}).get(method, ())
        self.message = f"You may not do this: it needs the permission {' and '.join(needed)}."
        return bool(request.user.has_perms(needed))


class Endpoint(APIView):
    """Base of every view: a token, the permissions in `needs` (method -> permissions), and JSON both ways.

    Nothing here depends on the settings that a project has for views of its own (REST_FRAMEWORK).
    """

    needs: ClassVar[Mapping[str, tuple[str, ...]]]
    longest_body: ClassVar[int] = LONGEST_BODY
    """In bytes. Longer ones are answered with 413 before they are parsed."""

    authentication_classes = [Token]
    permission_classes = [MayCall]
    parser_classes = [BoundedJSONParser]
    renderer_classes = [JSONRenderer]
    throttle_classes = []
    content_negotiation_class = DefaultContentNegotiation
    versioning_class = None

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response]:
        return explain

    @classmethod
    def as_view(cls, **initial: Any) -> Any:
        """Return the view, outside of the transaction of ATOMIC_REQUESTS: services have transactions of their own.

        With it, the count of a refused token would be rolled back with the request.
        """
        return transaction.non_atomic_requests(super().as_view(**initial))


def actor(request: Request) -> str:
    """Who asks, as history will show it."""
    return request.user.get_username()
