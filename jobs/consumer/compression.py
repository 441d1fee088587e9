"""Bounds what a compressed message may become: a megabyte of zeros, compressed twice over, fills any memory."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from kombu import compression

LONGEST: Final = 64 * 1024 * 1024
"""Bytes, of a message that is decompressed."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_BOUNDED: Final[tuple[tuple[str, Callable[[bytes], bytes], Callable[[], _Decompressor]], ...]] = (
    ("application/x-gzip", zlib.compress, zlib.decompressobj),
    ("application/x-bz2", bz2.compress, bz2.BZ2Decompressor),
    ("application/x-lzma", lzma.compress, lzma.LZMADecompressor),
)
"""The kinds of compression that Kombu always has. Others need a package, and are left as they are."""


def bound() -> None:
    """Make Kombu refuse what would become longer than `LONGEST`, in this process."""
    for content_type, encode, decompressor in _BOUNDED:
        compression.register(encode, _bounded(decompressor), content_type)


def _bounded(decompressor: Callable[[], _Decompressor]) -> Callable[[bytes], bytes]:
    def decode(data: bytes) -> bytes:
        machine = decompressor()
        whole = machine.decompress(data, LONGEST)
        if not machine.eof:
            raise ValueError(f"it is cut off, or longer than {LONGEST} bytes when it is decompressed")
        return whole

    return decode
