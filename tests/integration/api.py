"""Calls to the API within the test's own process."""

from __future__ import annotations

from django.contrib.auth.models import User
from knox.models import AuthToken
from rest_framework.test import APIClient


def signed_in(user: User | None = None) -> APIClient:
    """Return a client with a token of `user`, or of a superuser named `ann`."""
    if user is None:
        user = User.objects.filter(username="ann").first() or User.objects.create_superuser("ann")
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Token {AuthToken.objects.create(user)[1]}")
    return api
