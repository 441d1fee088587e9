"""Files of jobs: short ones are applied at once, others while their clients ask how far they are."""

from __future__ import annotations

from django.urls import reverse
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api import parsing, present
from jobs.api.access import Endpoint, actor
from jobs.services import definitions

ADD_AND_CHANGE = ("jobs.add_job", "jobs.change_job")


class Apply(Endpoint):
    needs = {"POST": ADD_AND_CHANGE}
    longest_body = parsing.LONGEST_BODY_OF_JOBS

    def post(self, request: Request) -> Response:
        file = parsing.body(request, parsing.File)
        key = parsing.idempotency_key(request)
        found = definitions.request(file.source, filename=file.filename, actor=actor(request), key=key)
        applied = definitions.outcome(found)
        if applied is not None:
            return Response({"jobs": [present.applied(one) for one in applied]})
        address = reverse("api-apply-state", args=[found.id])
        return Response(present.apply(found), status=status.HTTP_202_ACCEPTED, headers={"Location": address})


class ApplyState(Endpoint):
    """How far a file is; only for the user who sent it."""

    needs = {"GET": ADD_AND_CHANGE, "DELETE": ADD_AND_CHANGE}

    def get(self, request: Request, id: str) -> Response:
        return Response(present.apply(definitions.look(actor=actor(request), id=int(id))))

    def delete(self, request: Request, id: str) -> Response:
        return Response(present.apply(definitions.cancel(int(id), actor=actor(request))))
