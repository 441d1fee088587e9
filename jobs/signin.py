"""Throttle sign-ins on every page. A project names both classes below in its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from jobs.addresses import client_address
from jobs.services import throttling
from jobsched.domain.errors import TooManyFailures


class ThrottleBackend:
    """Authenticates no user: the first of AUTHENTICATION_BACKENDS, it stops a sign-in before others check it.

    It has no `get_user`: Django's `force_login` chooses the first backend with this method.
    """

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        """Count the sign-in. Raises TooManyFailures, which `TooManyFailuresMiddleware` answers."""
        account = credentials.get("username", credentials.get(get_user_model().USERNAME_FIELD))
        if request is not None and account is not None and "password" in credentials:
            throttling.begin_sign_in(str(account), client_address(request))

    async def aauthenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        """Do the same for asynchronous views."""
        await sync_to_async(self.authenticate)(request, **credentials)


class TooManyFailuresMiddleware:
    """Answers 429 with Retry-After to a client that failed too often."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Show a page with one sentence."""
        if not isinstance(error, TooManyFailures):
            return None
        context = {
            "title": "Too many failed sign-ins",
            "sentence": str(error),
            "back": reverse("admin:login"),
            "back_to": "the sign-in",
        }
        response = render(request, "admin/jobs/refusal.html", context, status=429)
        response["Retry-After"] = str(error.seconds)
        return response


def note_success(sender: Any, request: HttpRequest | None, user: AbstractBaseUser, **_: Any) -> None:
    """Take back what the sign-in was counted as. Called by Django for every sign-in."""
    if request is not None:
        throttling.sign_in_succeeded(user.get_username(), client_address(request))


user_logged_in.connect(note_success, dispatch_uid="jobs.signin")
