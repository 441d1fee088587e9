"""Jobs: what is to be done, and when. Files of them: see views_applies."""

from __future__ import annotations

from typing import Any

from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from jobs.api import parsing, present
from jobs.api.access import Endpoint, actor
from jobs.services import control, definitions, reading
from jobsched.domain import manifest
from jobsched.domain.errors import InvalidInput
from jobsched.domain.specs import JobSpec

VIEW, ADD, CHANGE, DELETE = (f"jobs.{verb}_job" for verb in ("view", "add", "change", "delete"))


class Jobs(Endpoint):
    needs = {"GET": (VIEW,), "POST": (ADD,)}
    longest_body = parsing.LONGEST_BODY_OF_JOBS

    def get(self, request: Request) -> Response:
        asked = parsing.query(request, parsing.JobsQuery)
        found = reading.jobs(project=asked.project, after=asked.after, limit=asked.limit)
        last = found[-1].job if len(found) == asked.limit else None
        return Response(
            {
                "jobs": [present.job_summary(view) for view in found],
                "next": f"{last.project.name}/{last.name}" if last else None,
            }
        )

    def post(self, request: Request) -> Response:
        data = parsing.mapping(request)
        project = parsing.query(request, parsing.JobQuery).project
        project = parsing.project_of(data, default=project)
        saved = definitions.save(_spec(data), project=project, actor=actor(request), must_be_new=True)
        return Response(_job(saved.name, project), status=status.HTTP_201_CREATED)


class OneJob(Endpoint):
    needs = {"GET": (VIEW,), "PUT": (CHANGE,), "DELETE": (DELETE,)}
    longest_body = parsing.LONGEST_BODY_OF_JOBS

    def get(self, request: Request, name: str) -> Response:
        return Response(_job(name, parsing.query(request, parsing.JobQuery).project))

    def put(self, request: Request, name: str) -> Response:
        data = parsing.mapping(request)
        project = parsing.query(request, parsing.JobQuery).project
        if data.get("project", project) != project:
            raise InvalidInput(f"a job stays in its project '{project}'", where="key 'project'")
        if data.setdefault("name", name) != name:
            raise InvalidInput(f"a job keeps its name '{name}'; make a new one instead", where="key 'name'")
        control.find(name, project=project)
        definitions.save(_spec(data), project=project, actor=actor(request))
        return Response(_job(name, project))

    def delete(self, request: Request, name: str) -> Response:
        found = control.find(name, project=parsing.query(request, parsing.JobQuery).project)
        definitions.remove(found, actor=actor(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class Trigger(Endpoint):
    needs = {"POST": (CHANGE,)}

    def post(self, request: Request, name: str) -> Response:
        project = parsing.query(request, parsing.JobQuery).project
        order = parsing.body(request, parsing.Order)
        requested = control.request(
            job=name,
            project=project,
            actor=actor(request),
            count=order.count or 1,
            params=order.params,
            priority=order.priority,
            at=order.at,
        )
        shown = [present.run(view) for view in reading.runs_by_id([run.pk for run in requested.runs])]
        answer = shown[0] if order.count is None else {"runs": shown}
        return Response(answer, status=status.HTTP_201_CREATED if requested.anew else status.HTTP_200_OK)


class Pause(Endpoint):
    needs = {"POST": (CHANGE,)}
    verb = staticmethod(control.pause)

    def post(self, request: Request, name: str) -> Response:
        project = parsing.query(request, parsing.JobQuery).project
        parsing.body(request, parsing.Nothing)
        self.verb(control.find(name, project=project))
        return Response(_job(name, project))


class Resume(Pause):
    verb = staticmethod(control.resume)


class Schema(Endpoint):
    """The JSON Schema of the YAML format."""

    needs = {"GET": ()}

    def get(self, request: Request) -> Response:
        return Response(manifest.json_schema())


def _job(name: str, project: str) -> dict[str, Any]:
    view = reading.job(name, project=project)
    return present.job(view, definitions.manifest(view.job))


def _spec(data: dict[str, Any]) -> JobSpec:
    return manifest.parse_job({key: value for key, value in data.items() if key not in present.READ_ONLY})
