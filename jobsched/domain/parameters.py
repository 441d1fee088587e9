"""How large the parameters of a run may be. Larger ones belong in a file or an object store, named by a parameter."""

from __future__ import annotations

import json
from typing import Any, Final

LARGEST_BYTES: Final = 64 * 1024
"""Of a job, and of a request: as JSON in UTF-8. Peers take 16 KiB (a dispatched job of Nomad), 64 KiB (a dispatched
workflow of GitHub), 256 KiB (an execution of AWS Step Functions)."""
LARGEST_REQUEST_BYTES: Final = 8 * 1024 * 1024
"""Of all runs of one request together: each keeps parameters of its own, and all are made by one statement."""

LONGEST_ARGUMENT_BYTES: Final = 100_000
"""Linux refuses to start a program with a longer single argument or variable (128 KiB, some of it ours)."""


class Unfit(ValueError):
    """The parameters cannot be given to a run; the message says why, as the end of a sentence about them."""


def size(value: Any) -> int:
    """Return how many bytes a value has as JSON in UTF-8. Raises Unfit when it is no JSON."""
    try:
        return len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass"))
    except (TypeError, ValueError, RecursionError) as error:
        raise Unfit("cannot be written as JSON; use text, numbers, true, false, null, lists and mappings") from error


def check(value: Any, *, runs: int = 1) -> None:
    """Raise Unfit when a value is too large for the parameters of a run, or of so many runs of one request."""
    bytes_each = size(value)
    if bytes_each > LARGEST_BYTES:
        raise Unfit(
            f"has {bytes_each} bytes as JSON, more than the {LARGEST_BYTES} that a run can be given;"
            " put the data into a file or an object store and give its name"
        )
    if bytes_each * runs > LARGEST_REQUEST_BYTES:
        raise Unfit(
            f"has {bytes_each} bytes as JSON, with {runs} runs {bytes_each * runs} bytes, more than the"
            f" {LARGEST_REQUEST_BYTES} that one request can give; request at most {LARGEST_REQUEST_BYTES // bytes_each}"
            " runs at once"
        )
