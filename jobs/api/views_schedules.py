"""Schedules: what is to come, what became of what was due, and runs for the past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api import parsing, present
from jobs.api.access import Endpoint, actor
from jobs.services import backfill, control, definitions, history, lookahead
from jobsched.domain import manifest
from jobsched.domain.specs import KINDS

VIEW, CHANGE, VIEW_RUN = "jobs.view_job", "jobs.change_job", "jobs.view_run"


class Preview(Endpoint):
    """The schedule of a job that need not be saved, nor say more than when."""

    needs = {"POST": (VIEW,)}
    longest_body = parsing.LONGEST_BODY_OF_JOBS

    def post(self, request: Request) -> Response:
        asked = parsing.query(request, parsing.PreviewQuery)
        given = parsing.mapping(request)
        job = {"name": "preview", **{key: value for key, value in given.items() if key not in present.READ_ONLY}}
        if not job.keys() & KINDS.keys():
            job["run"] = "true"
        return Response(present.preview(definitions.preview(manifest.parse_job(job), count=asked.count)))


class Next(Endpoint):
    needs = {"GET": (VIEW,)}

    def get(self, request: Request, name: str) -> Response:
        asked = parsing.query(request, parsing.NextQuery)
        found = control.find(name, project=asked.project)
        return Response(present.preview(definitions.preview_of(found, count=asked.count)))


class Fires(Endpoint):
    """Expected against actual."""

    needs = {"GET": (VIEW, VIEW_RUN)}

    def get(self, request: Request, name: str) -> Response:
        asked = parsing.query(request, parsing.FiresQuery)
        found = control.find(name, project=asked.project)
        # The service tells what came after a moment; here as for backfills, an instant at `from` counts.
        told = history.account(found, start=asked.start - timedelta(microseconds=1), end=asked.end)
        return Response(present.account(told))


class Backfill(Endpoint):
    needs = {"POST": (CHANGE,)}

    def post(self, request: Request, name: str) -> Response:
        found = control.find(name, project=parsing.query(request, parsing.JobQuery).project)
        wanted = parsing.body(request, parsing.Past)
        outcome = backfill.backfill(
            found,
            start=wanted.start,
            end=wanted.end,
            max_running=wanted.max_running,
            dry_run=wanted.dry_run,
            actor=actor(request),
        )
        made = outcome.id is not None
        return Response(present.filled(outcome), status=status.HTTP_201_CREATED if made else status.HTTP_200_OK)


class Upcoming(Endpoint):
    needs = {"GET": (VIEW,)}

    def get(self, request: Request) -> Response:
        asked = parsing.query(request, parsing.UpcomingQuery)
        fires = lookahead.upcoming(
            until=datetime.now(UTC) + timedelta(hours=asked.hours),
            limit=asked.limit,
            of_each=asked.of_each,
            project=asked.project,
        )
        return Response({"fires": [present.upcoming(fire) for fire in fires]})
