"""Every failure below /api/ as one sentence of JSON: never an HTML page, never a trace."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, DataError, InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from jobsched.domain.errors import (
    Conflict,
    InvalidInput,
    JobschedError,
    NotFound,
    TooManyFailures,
    Unavailable,
)

logger = logging.getLogger(__name__)

SIGN_IN = "Sign in: send the header 'Authorization: Token …' with a token of yours."

_UNIQUE_VIOLATION = "23505"
_ROLLBACK_CLASS = "40"
"""SQLSTATEs of deadlocks and serialization failures."""

_STATUS: dict[type[Exception], int] = {
    InvalidInput: 400,
    NotFound: 404,
    Conflict: 409,
    Unavailable: 503,
    JobschedError: 400,
}


def explain(error: Exception, context: dict[str, Any]) -> Response:
    """Answer `{"error": sentence}` with the status that fits. Called by REST framework for whatever a view raises."""
    set_rollback()
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if isinstance(error, exceptions.APIException):
        return _framework(error)
    if isinstance(error, TooManyFailures):
        return _answer(str(error), 429, {"Retry-After": str(error.seconds)})
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return _answer(str(error), status)
    if isinstance(error, DatabaseError | InterfaceError) and (answer := _database(error)):
        return answer
    request = context.get("request")
    logger.error(
        "request failed path=%s", getattr(request, "path", "?"), exc_info=(type(error), error, error.__traceback__)
    )
    return _answer("Something went wrong here, and the server's log says what; the request may have failed.", 500)


def _database(error: DatabaseError | InterfaceError) -> Response | None:
    """Answer what is nobody's defect: a collision, a value PostgreSQL refuses, a server that is away."""
    state = getattr(error.__cause__, "sqlstate", None) or ""
    if state == _UNIQUE_VIOLATION or state.startswith(_ROLLBACK_CLASS):
        return _answer("Another request changed the same thing at the same moment; try again.", 409)
    if isinstance(error, DataError):
        return _answer("The request holds a value that cannot be stored or looked up, such as a NUL character.", 400)
    if isinstance(error, OperationalError | InterfaceError):
        logger.warning("request failed: database unreachable error=%s", error)
        return _answer("The database cannot be reached now; try again in a moment.", 503)
    return None


def _framework(error: exceptions.APIException) -> Response:
    headers: dict[str, str] = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = f"{wait:.0f}"
    sentence = SIGN_IN if isinstance(error, exceptions.NotAuthenticated) else _sentence(error.detail)
    return _answer(sentence, error.status_code, headers)


def _sentence(detail: Any) -> str:
    if isinstance(detail, dict):
        return " ".join(f"{key}: {_sentence(value)}" for key, value in detail.items())
    if isinstance(detail, list | tuple):
        return " ".join(_sentence(value) for value in detail)
    return str(detail)


def _answer(sentence: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response({"error": sentence}, status=status, headers=headers)
