"""Output of an attempt, as a file to download and as text on a page."""

from __future__ import annotations

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

from jobs.admin.printable import printable
from jobs.services import outputs
from jobsched.domain.errors import NotFound, Unavailable

SHOWN_CHARACTERS = 8192
"""How much of the end of an output stands on a page. All of it is one download away."""


def download(run_id: int, number: int) -> HttpResponseBase:
    """Answer with what an attempt printed, byte for byte as kept, in a way no browser takes for a page."""
    headers = {
        "Content-Disposition": f'attachment; filename="run-{run_id}-attempt-{number}.txt"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "no-store",
    }
    plain = "text/plain; charset=utf-8"
    try:
        first = outputs.output(run_id, attempt=number, offset=0)
    except NotFound as error:
        return HttpResponse(f"{error}\n", content_type=plain, headers=headers, status=404)
    except Unavailable as error:
        return HttpResponse(f"{error}\n", content_type=plain, headers=headers, status=503)
    return StreamingHttpResponse(outputs.pieces(run_id, first), content_type=plain, headers=headers)


def live_end(run_id: int, number: int) -> str:
    """Return the end of what an attempt under way has printed so far."""
    try:
        offset = max(0, outputs.printed_so_far(run_id, number) - 4 * SHOWN_CHARACTERS)
        first = outputs.output(run_id, attempt=number, offset=offset)
        return ending("".join(outputs.pieces(run_id, first)))
    except (NotFound, Unavailable):
        return ""


def ending(text: str) -> str:
    """Return the last part of an output, safe to show: control characters stripped or made visible."""
    return printable(text[-SHOWN_CHARACTERS:])
