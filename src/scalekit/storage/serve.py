"""``StorageFiles``: the objects of a storage over HTTP, for those that no web server or CDN serves.

What users uploaded is not to be trusted, so every response forbids browsers to guess another type
(``nosniff``) and to run anything in it (``Content-Security-Policy``), and only types that cannot run
anything are shown; the rest is offered for saving.
"""

import re
from email.utils import format_datetime
from http import HTTPStatus

from anyio import move_on_after

from scalekit._http import get, matches_etag
from scalekit.errors import InvalidKey
from scalekit.storage._content_type import essence_of, is_content_type
from scalekit.storage._contract import Opened, Storage, Stored
from scalekit.storage._media_types import UNKNOWN
from scalekit.storage._respond import path_below, respond
from scalekit.types import Headers, Receive, Scope, Send

# Types of which browsers run nothing. Closed: what is missing here is saved instead of shown.
_SHOWN = frozenset(
    f"{kind}/{name}"
    for kind, names in {
        "image": "png jpeg gif webp avif heic heif tiff bmp x-icon vnd.microsoft.icon apng jxl",
        "audio": "mpeg mp4 aac wav x-wav flac ogg opus webm",
        "video": "mp4 webm ogg quicktime x-m4v 3gpp x-msvideo x-matroska mpeg",
        "text": "plain",
        "application": "pdf ogg",
    }.items()
    for name in names.split()
)

_POLICY = b"default-src 'none'; sandbox"
# A film opened by itself is a page of the browser that loads the film; in a full sandbox it has no origin
# and may not. Scripts stay forbidden.
_FILM_POLICY = b"default-src 'none'; media-src 'self'; sandbox allow-same-origin"

# How often one object is replaced between a look at it and its opening, before that is taken for a fault.
_ATTEMPTS = 10

_RANGE = re.compile(rb"bytes=(\d{1,18})?-(\d{1,18})?")


class StorageFiles:
    """An ASGI application that answers GET and HEAD with objects.

    ``app.mount("/media", StorageFiles(storage))`` in Starlette or FastAPI.

    It understands one ``Range`` (206, 416) and ``If-None-Match`` (304). Whoever can reach it can read every
    object whose key they know.

    Args:
        storage: any storage.
        cache_control: of the responses. The default asks every time whether the object changed. Where keys
            are never used again, as those of ``stream_form``, ``"max-age=31536000, immutable"`` saves that.
    """

    def __init__(self, storage: Storage, *, cache_control: str = "no-cache") -> None:
        self.storage = storage
        self._cache_control = cache_control.encode("latin-1")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"StorageFiles answers HTTP requests, not {scope['type']!r}")
        if scope["method"] not in ("GET", "HEAD"):
            return await respond(send, HTTPStatus.METHOD_NOT_ALLOWED, [(b"allow", b"GET, HEAD")])
        for _ in range(_ATTEMPTS):
            if await self._answered(scope, receive, send):
                return None
        return await respond(send, HTTPStatus.SERVICE_UNAVAILABLE, [(b"retry-after", b"1")])

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer, unless the object was replaced after the headers were made: they are of the old one."""
        try:
            stored = await self.storage.stat(path_below(scope))
        except InvalidKey:
            stored = None
        if stored is None:
            await respond(send, HTTPStatus.NOT_FOUND)
            return True
        headers = self._headers(stored)
        if matches_etag(get(scope["headers"], b"if-none-match"), f'"{stored.etag}"'.encode("latin-1")):
            await respond(send, HTTPStatus.NOT_MODIFIED, headers)
            return True
        start, end = _wanted(scope, stored)
        if start >= end and stored.size:
            headers.append((b"content-range", b"bytes */%d" % stored.size))
            await respond(send, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers)
            return True
        status = HTTPStatus.OK
        if (start, end) != (0, stored.size):
            status = HTTPStatus.PARTIAL_CONTENT
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, stored.size)))
        if scope["method"] == "HEAD" or not stored.size:
            await respond(send, status, headers, length=end - start)
            return True
        opened = await self.storage.open(stored.key, offset=start, length=end - start)
        if opened is None:
            return False
        async with opened:
            if opened.stored.etag != stored.etag:
                return False
            headers.append((b"content-length", b"%d" % (end - start)))
            await send({"type": "http.response.start", "status": status.value, "headers": headers})
            await _send(opened, receive, send)
        return True

    def _headers(self, stored: Stored) -> Headers:
        # Others write to buckets too: what came in by a presigned upload may carry any text for a type.
        kind = stored.content_type if is_content_type(stored.content_type) else UNKNOWN
        shown = essence_of(kind) in _SHOWN
        film = shown and kind.lower().startswith(("audio/", "video/"))
        return [
            (b"content-type", kind.encode()),
            (b"content-disposition", b"inline" if shown else b"attachment"),
            (b"etag", f'"{stored.etag}"'.encode("latin-1")),
            (b"last-modified", format_datetime(stored.modified, usegmt=True).encode()),
            (b"cache-control", self._cache_control),
            (b"accept-ranges", b"bytes"),
            (b"x-content-type-options", b"nosniff"),
            (b"content-security-policy", _FILM_POLICY if film else _POLICY),
        ]


async def _send(opened: Opened, receive: Receive, send: Send) -> None:
    async for chunk in opened:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if await _hung_up(receive):
            return  # nobody reads the rest, so it need not be read from the storage either
    await send({"type": "http.response.body", "body": b""})


async def _hung_up(receive: Receive) -> bool:
    """Whether the client is gone, as far as the server knows without waiting for it."""
    kind = ""
    with move_on_after(0):
        kind = (await receive())["type"]
    return kind == "http.disconnect"


def _wanted(scope: Scope, stored: Stored) -> tuple[int, int]:
    """First byte and the byte after the last: everything, unless a range is understood (RFC 9110, 14.2)."""
    whole = 0, stored.size
    match = _RANGE.fullmatch(get(scope["headers"], b"range") or b"")
    condition = get(scope["headers"], b"if-range")
    if match is None or match.group() == b"bytes=-" or scope["method"] != "GET":
        return whole
    if not stored.size:
        return whole  # there is no range of nothing
    if condition is not None and condition != f'"{stored.etag}"'.encode("latin-1"):
        return whole
    first, last = match.groups()
    if first is None:
        return max(0, stored.size - int(last)), stored.size
    if last is not None and int(last) < int(first):
        return whole
    return int(first), stored.size if last is None else min(stored.size, int(last) + 1)
