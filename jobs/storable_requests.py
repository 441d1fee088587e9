"""Refuse what no page can look up or store, for all pages at once.

That is the character NUL and halves of surrogate pairs, which PostgreSQL does not take, and numbers and moments that
are beyond its range or Python's. A page that passes one on would answer 500.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse

from jobsched.domain.storable import is_storable

logger = logging.getLogger(__name__)


class StorableRequestMiddleware:
    """Answers 400 with one sentence. Belongs into MIDDLEWARE, before that of sessions.

    The views of the API say themselves what is wrong with a request.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], args: Any, kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Look at the path, the address, the form and the cookies of a request."""
        if hasattr(view, "cls"):  # a view of the API, as REST framework marks it
            return None
        place = next((place for place, text in _texts(request) if not is_storable(text)), None)
        if place is None:
            return None
        sentence = (
            f"The {place} of this request holds the character NUL or half of a character, which cannot be stored or "
            "looked up; take it out."
        )
        return _refusal(sentence)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer for a number or a moment that Python or PostgreSQL could not hold, and for a field that is none."""
        if not isinstance(error, OverflowError | DataError | FieldDoesNotExist):
            return None
        logger.warning("request refused path=%s", request.path, exc_info=error)
        return _refusal("This request holds a number, a date or a name that no field can have; give another.")


def _refusal(sentence: str) -> HttpResponse:
    # Without the request: a page that shows who is signed in reads the session, and so the cookies.
    context = {
        "title": "Bad request",
        "sentence": sentence,
        "back": reverse("admin:index"),
        "back_to": "the first page",
    }
    page = render_to_string("admin/jobs/refusal.html", context)
    return HttpResponse(page, status=400)


def _texts(request: HttpRequest) -> Iterator[tuple[str, str]]:
    yield "path", request.path_info
    for name, value in request.COOKIES.items():
        yield "cookie", name
        yield "cookie", value
    for place, fields in (("address", request.GET), ("form", request.POST)):
        for name, values in fields.lists():
            yield place, name
            for value in values:
                yield place, str(value)
