"""How a request for a stored object is answered: what the ASGI and the WSGI application have in common.

Rules:

* What users uploaded is not to be trusted: every response forbids browsers to guess another type
  (``nosniff``) and to run anything in it (``Content-Security-Policy``). Only types that cannot run anything
  are shown; the rest is offered for saving, and is not redirected to where that could not be said.
* Who may not see an object learns no more of it than who asks for one that is not there; nothing that was
  said to the one is kept for the other.
* What is asked for without conditions is opened at once, as looking first would be another round trip. Else
  headers and content are of one version: an object that is replaced in between is looked up again.
* A signed address is not kept longer than half of the time for which it is valid, so that whoever has kept it
  still has the other half to come with it.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Literal

from scalekit._http import make_private
from scalekit.errors import BackendError, ConfigurationError, InvalidKey
from scalekit.storage._conditions import refusal, wanted_range
from scalekit.storage._content_type import essence_of, is_content_type
from scalekit.storage._contract import Storage
from scalekit.storage._disposition import content_disposition
from scalekit.storage._extensions import UNKNOWN
from scalekit.storage._values import Opened, Stored
from scalekit.types import Headers

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

_MAX_AGE = re.compile(r"(?:^|,)\s*max-age=(\d{1,10})", re.IGNORECASE)
_NO_STORE: Headers = [(b"cache-control", b"no-store")]

_log = logging.getLogger("scalekit.storage")


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send. The body is ``opened``, which the shell closes, or nothing."""

    status: HTTPStatus
    headers: Headers = field(default_factory=list)
    opened: Opened | None = None

    @property
    def is_whole(self) -> bool:
        return self.status == HTTPStatus.OK


Allowed = Callable[[Stored], Awaitable[bool]]


class Files:
    """See :class:`scalekit.storage.serve.StorageFiles` for the options. ``private``: not all may see all."""

    def __init__(
        self,
        storage: Storage,
        *,
        cache_control: str,
        download: bool,
        redirect: bool,
        private: bool,
        refuse_with: Literal[403, 404],
    ) -> None:
        if refuse_with not in (403, 404):
            raise ConfigurationError(f"refuse_with={refuse_with!r}; give 404 or 403")
        self.storage = storage
        self.keeps_names = "immutable" in cache_control
        """No key is ever used again, so a file under its path is the one that was looked at."""
        self._download, self._redirect, self._private = download, redirect, private
        self._refused = HTTPStatus(refuse_with)
        self._cache_control = cache_control
        max_age = _MAX_AGE.search(cache_control)
        self._max_age = int(max_age[1]) if max_age and "no-" not in cache_control else 0

    async def answer(self, method: str, key: str, headers: Headers, allowed: Allowed | None) -> Answer:
        """The answer to a request for ``key``; ``allowed`` tells whether this visitor may see it."""
        if method not in ("GET", "HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, _empty([(b"allow", b"GET, HEAD")]))
        try:
            found = await self._find(method, key, headers, allowed)
        except InvalidKey:  # the storage's own limits may be narrower than those of keys
            found = None
        except BackendError as error:
            _log.error("%s", error, exc_info=error)  # what it names is not for visitors
            return _later()
        return found or Answer(HTTPStatus.NOT_FOUND, _empty(_NO_STORE if self._private else []))

    async def _find(self, method: str, key: str, headers: Headers, allowed: Allowed | None) -> Answer | None:
        if method == "GET" and allowed is None and not self._redirect and not _asks_more(headers):
            opened = await self.storage.open(key)
            return None if opened is None else self._whole(opened)
        for _ in range(_ATTEMPTS):
            stored = await self.storage.stat(key)
            if stored is None:
                return None
            if allowed is not None and not await allowed(stored):
                return Answer(self._refused, _empty(_NO_STORE))
            if (answer := await self._answer(method, stored, headers)) is not None:
                return answer
        return _later()

    def _whole(self, opened: Opened) -> Answer:
        headers = self._headers(opened.stored)
        headers.append((b"content-length", b"%d" % opened.stored.size))
        return Answer(HTTPStatus.OK, headers, opened)

    async def _answer(self, method: str, stored: Stored, request: Headers) -> Answer | None:
        """The answer, unless the object was replaced after the headers were made: they are of the old one."""
        if self._redirect and method == "GET" and (there := await self._elsewhere(stored)) is not None:
            return there
        headers, etag = self._headers(stored), _etag(stored)
        if (status := refusal(request, etag, stored.modified)) is not None:
            return Answer(status, headers if status == HTTPStatus.NOT_MODIFIED else _empty(headers))
        span = wanted_range(request, etag, stored.modified, stored.size) if method == "GET" else None
        start, stop = span or (0, stored.size)
        if span is not None and start >= stop:
            headers.append((b"content-range", b"bytes */%d" % stored.size))
            return Answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, _empty(headers))
        status = HTTPStatus.OK
        if span is not None:
            status = HTTPStatus.PARTIAL_CONTENT
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, stored.size)))
        headers.append((b"content-length", b"%d" % (stop - start)))
        if method == "HEAD" or not stored.size:
            return Answer(status, headers)
        opened = await self.storage.open(
            stored.key, offset=start, length=None if span is None else stop - start
        )
        if opened is None:
            return None
        if opened.stored.etag != stored.etag:
            await opened.aclose()
            return None
        return Answer(status, headers, opened)

    async def _elsewhere(self, stored: Stored) -> Answer | None:
        shown = self._is_shown(stored)
        name = None if shown else stored.filename or stored.key.rpartition("/")[2]
        signed = await self.storage.signed_url(stored.key, filename=name)
        if signed is not None:
            # HEAD asked of a signed GET would be refused, so only GET is redirected.
            seconds = int((signed.expires - datetime.now(UTC)).total_seconds()) // 2
            seconds = min(seconds, self._max_age)
            kept = b"private, max-age=%d" % seconds if seconds > 0 else b"no-store"
            return _found(signed.url, [(b"cache-control", kept)])
        if shown and (self.storage.base_url or "").startswith(("https://", "http://")):
            headers: Headers = [(b"cache-control", self._cache_control.encode("latin-1"))]
            if self._private:
                make_private(headers)
            return _found(self.storage.public_url(stored.key), headers)
        return None

    def _is_shown(self, stored: Stored) -> bool:
        return not self._download and essence_of(_type(stored)) in _SHOWN

    def _headers(self, stored: Stored) -> Headers:
        kind, shown = _type(stored), self._is_shown(stored)
        film = shown and kind.lower().startswith(("audio/", "video/"))
        disposition = content_disposition("inline" if shown else "attachment", stored.filename)
        headers = [
            (b"content-type", kind.encode()),
            (b"content-disposition", disposition.encode("latin-1")),
            (b"etag", _etag(stored)),
            (b"last-modified", format_datetime(stored.modified, usegmt=True).encode()),
            (b"cache-control", self._cache_control.encode("latin-1")),
            (b"accept-ranges", b"bytes"),
            (b"x-content-type-options", b"nosniff"),
            (b"content-security-policy", _FILM_POLICY if film else _POLICY),
        ]
        if self._private:
            make_private(headers)
        return headers


def _asks_more(headers: Headers) -> bool:
    """Whether there is something to look up before it is known what to open."""
    return any(name == b"range" or name.startswith(b"if-") for name, _ in headers)


def _etag(stored: Stored) -> bytes:
    return f'"{stored.etag}"'.encode("latin-1")


def _type(stored: Stored) -> str:
    # Others write to buckets too: what came in by a presigned upload may carry any text for a type.
    return stored.content_type if is_content_type(stored.content_type) else UNKNOWN


def _found(url: str, headers: Headers) -> Answer:
    return Answer(HTTPStatus.FOUND, _empty([(b"location", url.encode("ascii")), *headers]))


def _later() -> Answer:
    return Answer(HTTPStatus.SERVICE_UNAVAILABLE, _empty([(b"retry-after", b"1"), *_NO_STORE]))


def _empty(headers: Headers) -> Headers:
    return [*headers, (b"content-length", b"0")]
