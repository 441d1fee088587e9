"""Runs: what happened, and what may still be done about it."""

from __future__ import annotations

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api import parsing, present
from jobs.api.access import Endpoint, actor
from jobs.services import bulk, control, outputs, reading

VIEW, CHANGE = "jobs.view_run", "jobs.change_run"


class Runs(Endpoint):
    needs = {"GET": (VIEW,)}

    def get(self, request: Request) -> Response:
        asked = parsing.query(request, parsing.RunsQuery)
        found = reading.runs(asked.filter(), before=asked.before, limit=asked.limit)
        return Response(
            {
                "runs": [present.run(view) for view in found],
                "next": found[-1].run.pk if len(found) == asked.limit else None,
            }
        )


class OneRun(Endpoint):
    needs = {"GET": (VIEW,)}

    def get(self, request: Request, run_id: str) -> Response:
        return Response(present.story(reading.story(int(run_id))))


class Output(Endpoint):
    needs = {"GET": (VIEW,)}

    def get(self, request: Request, run_id: str) -> Response:
        asked = parsing.query(request, parsing.OutputQuery)
        return Response(present.output(outputs.output(int(run_id), attempt=asked.attempt, offset=asked.offset)))


class Cancel(Endpoint):
    needs = {"POST": (CHANGE,)}

    def post(self, request: Request, run_id: str) -> Response:
        parsing.body(request, parsing.Nothing)
        control.cancel_one(int(run_id), actor=actor(request))
        return Response(present.run(reading.run(int(run_id))))


class Retry(Endpoint):
    needs = {"POST": (CHANGE,)}

    def post(self, request: Request, run_id: str) -> Response:
        asked = parsing.body(request, parsing.OneRetry)
        requested = control.request_again(int(run_id), actor=actor(request), definition=asked.definition)
        return Response(
            present.run(reading.run(requested.runs[0].pk)),
            status=status.HTTP_201_CREATED if requested.anew else status.HTTP_200_OK,
        )


class CancelMany(Endpoint):
    needs = {"POST": (CHANGE,)}

    def post(self, request: Request) -> Response:
        asked = parsing.body(request, parsing.ManyRuns)
        chosen = asked.filter()
        if asked.dry_run:
            return Response(present.cancelled_many(bulk.count_to_cancel(chosen)))
        done = bulk.cancel(chosen, actor=actor(request), before=asked.before, limit=asked.limit)
        return Response(present.cancelled_many(done))


class RetryMany(Endpoint):
    needs = {"POST": (CHANGE,)}

    def post(self, request: Request) -> Response:
        asked = parsing.body(request, parsing.ManyRetries)
        chosen = asked.filter()
        if asked.dry_run:
            return Response({"matching": bulk.count_to_retry(chosen)})
        done = bulk.retry(
            chosen, actor=actor(request), definition=asked.definition, before=asked.before, limit=asked.limit
        )
        return Response(present.retried_many(done))
