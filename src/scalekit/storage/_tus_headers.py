"""What the headers of the tus protocol say, and how its requests are refused. Pure."""

import binascii
import re
from base64 import b64decode
from collections.abc import Sequence
from urllib.parse import urlsplit

from scalekit._http import get
from scalekit.errors import ConfigurationError, MalformedUpload
from scalekit.storage._request import header
from scalekit.storage.checksums import Checksum
from scalekit.types import Headers, Receive, Scope

VERSION = "1.0.0"
EXTENSIONS = (
    "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration,concatenation"
)
BODY_TYPE = "application/offset+octet-stream"
MAX_METADATA = 2000
"""Bytes of ``Upload-Metadata``: it travels in the upload's address."""
MAX_PARTIALS = 100
"""How many partial uploads one final upload may be made of."""

_SENT = (
    b"Location, Tus-Version, Tus-Resumable, Tus-Max-Size, Tus-Extension, Tus-Checksum-Algorithm, "
    b"Upload-Offset, Upload-Length, Upload-Defer-Length, Upload-Metadata, Upload-Concat, Upload-Expires"
)
_METHODS = b"OPTIONS, POST, HEAD, PATCH, DELETE"
_DAY = b"86400"
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1000}")

Request = tuple[Scope, Receive]


def number(request: Request, name: str) -> int | None:
    """A header that is a number of bytes, or ``None`` if there is none.

    Raises:
        MalformedUpload: it is none, or has more digits than any file has bytes.
    """
    value = header(request, name.lower().encode())
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal()) or len(value) > 18:
        raise MalformedUpload(f"{name}: {value!r:.40} is not a whole number of bytes; send digits only")
    return int(value)


def metadata(value: str) -> dict[str, str]:
    """``Upload-Metadata``: names, each with a value in base64, separated by commas.

    Raises:
        MalformedUpload: longer than ``MAX_METADATA``, a name twice or without text, no base64 of UTF-8.
    """
    if len(value) > MAX_METADATA:
        raise MalformedUpload(
            f"Upload-Metadata has {len(value)} bytes, more than {MAX_METADATA}; send a name and a type only"
        )
    result: dict[str, str] = {}
    for pair in value.split(",") if value.strip() else ():
        name, _, encoded = pair.strip().partition(" ")
        if not name or not name.isascii() or name in result:
            raise MalformedUpload("Upload-Metadata: each name must be ASCII text and come once")
        try:
            result[name] = b64decode(encoded, validate=True).decode()
        except (binascii.Error, ValueError):
            raise MalformedUpload(f"Upload-Metadata: {name!r:.40} has no base64 of UTF-8 as value") from None
    return result


def concat(value: str | None) -> tuple[str, list[str]]:
    """``Upload-Concat``: ``"whole"``, ``"partial"`` or ``"final"``, and the addresses that a final one names.

    An address is reduced to its last segment, the rest is as the client sees it.

    Raises:
        MalformedUpload: neither of these, or more than ``MAX_PARTIALS``.
    """
    if value is None:
        return "whole", []
    kind, _, listed = value.strip().partition(";")
    names = [urlsplit(url).path.rpartition("/")[2] for url in listed.split()]
    if (kind == "partial" and not names) or (kind == "final" and 0 < len(names) <= MAX_PARTIALS):
        return kind, names
    raise MalformedUpload(
        f"Upload-Concat: {value!r:.40} is neither 'partial' nor 'final;' and up to {MAX_PARTIALS} addresses"
    )


def checksum_of(value: str | None) -> Checksum | None:
    """``Upload-Checksum``: the name of an algorithm, and the checksum of the body in base64.

    Raises:
        MalformedUpload: an algorithm that is not offered, or no checksum of it.
    """
    if value is None:
        return None
    algorithm, _, encoded = value.strip().partition(" ")
    return Checksum.from_base64(algorithm, encoded.strip())


class Cors:
    """What browsers ask before a page of another origin may upload, and what it may then read.

    Args:
        origins: such as ``"https://shop.example"``; ``"*"`` for every page, which then sends no cookies.

    Raises:
        ConfigurationError: an entry is no origin.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        if isinstance(origins, str):
            raise ConfigurationError(f"cors_origins={origins!r}; give a list such as [{origins!r}]")
        for origin in origins:
            scheme, _, host = origin.partition("://")
            if origin != "*" and (not scheme or not host or "/" in host or origin != origin.lower()):
                raise ConfigurationError(
                    f"cors_origins: {origin!r} is no origin such as 'https://shop.example', without a path"
                )
        self.origins = frozenset(origins)

    def headers(self, scope: Scope) -> Headers:
        """For each answer."""
        origin = get(scope["headers"], b"origin")
        if not self.origins:
            return []
        vary = [(b"vary", b"Origin")]
        if origin is None or not self.origins & {"*", origin.decode("latin-1")}:
            return vary
        allowed = [(b"access-control-allow-origin", b"*" if "*" in self.origins else origin)]
        if "*" not in self.origins:
            allowed.append((b"access-control-allow-credentials", b"true"))
        wanted = get(scope["headers"], b"access-control-request-headers")
        if scope["method"] == "OPTIONS" and wanted is not None and _NAMES.fullmatch(wanted):
            # All that it asks for: a header that is not understood here may be for what stands in front.
            allowed += [
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-allow-headers", wanted),
                (b"access-control-max-age", _DAY),
            ]
        return [*vary, *allowed, (b"access-control-expose-headers", _SENT)]
