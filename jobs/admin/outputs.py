"""Output of an attempt, as a file to download and as text on a page."""

from __future__ import annotations

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse

from jobs.admin.printable import printable
from jobs.services import outputs
from jobsched.domain.errors import NotFound, Unavailable
from jobsched.domain.excerpts import END_BYTES, end_of


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


def live_end(run_id: int, number: int) -> tuple[str, int]:
    """Return the end of what an attempt under way has printed, and how many bytes it has printed so far."""
    printed = outputs.printed_so_far(run_id, number)
    try:
        first = outputs.output(run_id, attempt=number, offset=max(0, printed - 4 * END_BYTES))
        return ending("".join(outputs.pieces(run_id, first))), printed
    except (NotFound, Unavailable):
        return "", printed


def ending(text: str) -> str:
    """Return the last END_BYTES of an output, from the beginning of a line where one is near, safe to show.

    Control characters are removed or made visible.
    """
    return printable(end_of(text.encode(errors="replace")).decode(errors="replace"))
