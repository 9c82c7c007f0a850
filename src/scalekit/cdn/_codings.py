"""Which content codings can be taken off a page and put on again.

``gzip`` and ``deflate`` always; ``br`` and ``zstd`` where the extra ``compress`` is installed. Not several on
top of one another, which nobody sends.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from scalekit.cdn._coding import Coding
from scalekit.cdn._gzip import Deflate, Gzip
from scalekit.errors import MissingExtra

_SEPARATOR = re.compile(rb"[ \t]*,[ \t]*")


def names(header: bytes | None) -> list[bytes]:
    """The codings that a ``Content-Encoding`` names, in lower case; ``identity`` is none."""
    found = _SEPARATOR.split(header.strip(b" \t").lower()) if header is not None else []
    return [name for name in found if name not in (b"", b"identity")]


@lru_cache(maxsize=64)
def find(name: bytes) -> Callable[[], Coding] | None:
    """What makes the coding of that name for a body, if it can be had here."""
    if name in (b"gzip", b"x-gzip"):
        return Gzip
    if name == b"deflate":
        return Deflate
    try:
        if name == b"br":
            from scalekit.cdn._brotli import Brotli

            return Brotli
        if name == b"zstd":
            from scalekit.cdn._zstd import Zstd

            return Zstd
    except MissingExtra:
        return None
    return None
