"""The preflight over REST, as this web process sees the servers."""

from __future__ import annotations

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.api import parsing
from jobs.api.access import Endpoint, MayCall
from jobs.services import preflight


class Staff(BasePermission):
    """What is wrong with the servers is for those who look after them."""

    message = "You may not do this: it is for staff."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(request.user.is_staff)


class Doctor(Endpoint):
    needs = {"GET": ()}
    permission_classes = [MayCall, Staff]

    def get(self, request: Request) -> Response:
        parsing.query(request, parsing.Nothing)
        return Response(preflight.examine().to_json())
