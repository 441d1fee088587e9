"""Queues: what waits, and how fast it may start."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api import parsing, present
from jobs.api.access import Endpoint, actor
from jobs.services import queues


class Queues(Endpoint):
    needs = {"GET": ("jobs.view_queue",)}

    def get(self, request: Request) -> Response:
        parsing.query(request, parsing.Nothing)
        return Response({"queues": [present.queue(view) for view in queues.queues()]})


class OneQueue(Endpoint):
    needs = {"PUT": ("jobs.change_queue",)}

    def put(self, request: Request, name: str) -> Response:
        wanted = parsing.body(request, parsing.Limit)
        return Response(present.queue(queues.set_rate(name, wanted.rate, actor=actor(request))))
