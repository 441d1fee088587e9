"""Every other address below /api/: JSON as well, after the same sign-in."""

from __future__ import annotations

from rest_framework.request import Request

from jobs.api.access import Endpoint
from jobsched.domain.errors import NotFound


class Nowhere(Endpoint):
    needs = {}

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound(f"There is nothing at {request.path}; docs/api.md lists the addresses there are.")
