"""Output that is not shown or kept whole: its beginning and its end, and a line between them."""

from __future__ import annotations

import re
from typing import Final

from jobsched.domain.cuts import first_cut, last_cut

END_BYTES: Final = 8 * 1024
"""Of the beginning, and of the end, in the row of an attempt."""
_LEFT_OUT: Final = re.compile(r"\[… \d+ bytes left out …\]\n")


def left_out(count: int, *, after: bytes | bytearray = b"", why: str = "left out") -> bytes:
    """Return the line that stands for so many bytes, to follow `after`."""
    start = "" if after.endswith(b"\n") or not after else "\n"
    return f"{start}[… {count} bytes {why} …]\n".encode()


def after_left_out(text: str) -> str:
    """Return what follows the last line for output that is left out, or all of `text` if there is none."""
    return _LEFT_OUT.split(text)[-1]


def ends_of(output: bytes, total: int) -> bytes:
    """Return beginning and end of output of `total` bytes, of which `output` are the first and the last part."""
    if len(output) == total <= 2 * END_BYTES:
        return output
    head = output[: last_cut(output, min(len(output), END_BYTES) // 2, min(len(output), END_BYTES))]
    tail = end_of(output)
    return head + left_out(total - len(head) - len(tail), after=head) + tail


def end_of(output: bytes) -> bytes:
    """Return the end of output, from the beginning of a line where one is near."""
    low = max(0, len(output) - END_BYTES)
    return output[first_cut(output, low, low + END_BYTES // 2) :] if low else output
