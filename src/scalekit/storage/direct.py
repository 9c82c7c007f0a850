"""Permissions to talk to S3 directly, so that large files need not pass through the application.

A permission is signed here and checked by S3. It says what may be uploaded: how many bytes, of which type,
under which key, until when. Nothing else is allowed. There are three:

* ``S3Storage.presign_post``: a form. Any size in a range, one type or a kind of types.
* ``S3Storage.presign_put``: one request, up to 5 GiB. An exact size, one type, on request one checksum.
* :class:`DirectUploads`: parts, up to 5 TiB. An exact size; the content is looked at when it is there.

With a ticket for a form or one request nothing reaches the application before or after. The type is then what
the browser says, and S3 does not look inside. For a kind such as ``image/*`` it compares how
the type begins: ``image/svg+xml`` passes, and so does ``image/png, text/html``, which browsers run as
a web page when they open the object at S3's own address. An exact type leaves no such room.

:class:`DirectUploads` has the last word: it makes the object out of the parts, and looks inside before the
application hears of it.
"""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

try:
    import aiobotocore  # noqa: F401  the modules below need it
except ModuleNotFoundError:
    from scalekit.errors import MissingExtra

    raise MissingExtra("s3", needed_by="scalekit.storage.direct") from None

from scalekit._durations import Duration, seconds
from scalekit.errors import BackendError, ConfigurationError, FileTooLarge, UploadFailed, UploadRejected
from scalekit.storage import _direct_parts
from scalekit.storage._callbacks import check_callbacks, who_asks
from scalekit.storage._direct_finish import Incomplete, Over
from scalekit.storage._direct_grant import MIN_PART_SIZE, Grant, Tokens, part_size_for
from scalekit.storage._direct_handover import DirectUpload, Handover, OnFile
from scalekit.storage._direct_requests import (
    answer,
    asked,
    described,
    etags_in,
    first,
    numbers_in,
    size_in,
    text_in,
)
from scalekit.storage._extensions import extension_for
from scalekit.storage._hourly import EVERY, Hourly
from scalekit.storage._media_types import check_accept, claimed_type
from scalekit.storage._respond import Refused, path_below
from scalekit.storage._s3_multipart import begin
from scalekit.storage._s3_target import Target
from scalekit.storage._s3_tickets import MAX_EXPIRES, PostTicket, PutTicket
from scalekit.storage._s3_upload import MAX_OBJECT_SIZE
from scalekit.storage.keys import check_prefix, clean_filename, random_key
from scalekit.storage.s3 import S3Storage
from scalekit.types import Receive, Scope, SecretKey, Send

__all__ = ["MAX_EXPIRES", "DirectUpload", "DirectUploads", "PostTicket", "PutTicket", "cors_rule"]

_log = logging.getLogger("scalekit.storage")

_MIB = 1024**2
_GIB = 1024**3


class DirectUploads:
    """An ASGI application: ``app.mount("/uploads", DirectUploads(storage, secret_key=SECRET))``.

    It lets browsers send large files to S3 in parts, several at a time, each again if it fails. No server
    remembers anything: what an upload is stands in its token, how far it is stands in S3. Its requests and
    answers are JSON:

    * ``POST /`` with ``size``, ``type`` and ``name`` begins one: 201 with ``token``, ``key``, ``size``,
      ``part_size``, ``parts`` (how many), ``expires`` (seconds since 1970) and ``urls`` of the first parts.
    * ``GET /{token}`` answers the same, ``urls`` of the first parts that are missing, and ``arrived``: a
      ``number`` and ``etag`` of each part that S3 has. ``complete`` is true if all are together already.
    * ``POST /{token}/parts`` with ``numbers``, 100 at most, answers their ``urls``.
    * ``POST /{token}/complete`` with the ``etags`` of all parts in order makes the file: 200 with ``key``,
      ``url``, ``size``, ``content_type`` and ``filename``. Asked again it answers the same. 409 with
      ``missing`` names parts to be sent again.
    * ``DELETE /{token}`` removes what has arrived: 204. A file that is complete stays.

    ``urls`` is a list of ``number``, ``url`` and ``size``: PUT so many bytes there, with no headers of your
    own, and keep the header ``ETag`` of the answer. They are valid for an hour; ask for others then. What is
    refused is answered with ``error``, a sentence. 410 means that an upload has ended: begin anew. 503, that
    S3 does not answer: ask again.

    Args:
        storage: where the objects go, under random keys.
        secret_key: signs the tokens; a list is a key ring, the last one signs.
        max_size: bytes of one file, 1 GiB by default, 5 TiB at most.
        accept: media types as for :func:`scalekit.storage.forms.stream_form`, compared with the content when
            it is there. What is not accepted is removed, and answered with 415; a browser that says so
            itself, by the file's ``type``, is told before it begins.
        prefix: goes before the random keys.
        expires: seconds or ``timedelta`` in which an upload must be finished, a day by default, a week at
            most.
        part_size: bytes, 8 MiB by default; larger for files of more than 10,000 parts. All parts but the last
            have one size, as some services want.
        on_complete: awaited with each finished file, at least once: again if a server died at that moment, or
            if two of them finish the upload together. What it raises is answered as a failure; the next
            request to complete calls it again. To refuse a file, delete it and raise
            :class:`~scalekit.errors.UploadRejected`.
        user: called with the scope of each request, returns who is asking, as a ``str``. A token works for
            the user that it was made for and is unknown (404) to others; ``None`` is refused (403). Without
            it, who may upload is for the middleware in front to say, and whoever has a token can use it.

    What nobody finishes stays in S3, unseen and paid for, until ``storage.sweep()`` or a lifecycle rule of
    the bucket removes it. While a file is being finished there is a note of it below ``direct/``.

    Raises:
        ConfigurationError: a size below 1, parts below S3's 5 MiB, a key too short, a type that is none, a
            ``user`` or ``on_complete`` that cannot be called so.
    """

    def __init__(
        self,
        storage: S3Storage,
        *,
        secret_key: SecretKey,
        max_size: int = _GIB,
        accept: Sequence[str] = ("*/*",),
        prefix: str = "",
        expires: Duration = 24 * 3600,
        part_size: int = 8 * _MIB,
        on_complete: OnFile | None = None,
        user: Callable[[Scope], str | None] | None = None,
    ) -> None:
        if not isinstance(storage, S3Storage):
            raise ConfigurationError(
                f"storage is a {type(storage).__name__}; browsers can reach S3Storage only"
            )
        if not 1 <= max_size <= MAX_OBJECT_SIZE:
            raise ConfigurationError(
                f"max_size={max_size}; give 1 to {MAX_OBJECT_SIZE} bytes, which is S3's limit"
            )
        if part_size < MIN_PART_SIZE:
            raise ConfigurationError(f"part_size={part_size}; S3 takes no parts below {MIN_PART_SIZE} bytes")
        self.storage = storage
        self.max_size = max_size
        self.accept = check_accept(accept)
        self.prefix = check_prefix(prefix)
        self.expires = int(seconds(expires, name="expires", minimum=1))
        if self.expires > MAX_EXPIRES:
            raise ConfigurationError(f"expires={self.expires} s; give {MAX_EXPIRES} at most, which is a week")
        self.part_size = part_size
        check_callbacks(user=user, on_complete=on_complete)
        self.user = user
        self._tokens = Tokens(secret_key, place=f"{storage.bucket}\0{storage.prefix}\0{self.prefix}")
        self._handover = Handover(storage, prefix=self.prefix, accept=self.accept, on_complete=on_complete)
        self._now: Callable[[], float] = time.time
        self._hourly = Hourly(self.sweep, lambda: self._now())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"DirectUploads answers HTTP requests, not {scope['type']!r}")
        try:
            status, content = await self._answer(scope, receive)
        except Incomplete as error:
            status, content = HTTPStatus(error.status), {"error": str(error), "missing": first(error.numbers)}
        except UploadRejected as error:
            status, content = HTTPStatus(error.status), {"error": str(error)}
        except (UploadFailed, BackendError) as error:
            _log.error("%s", error, exc_info=error)  # what it names is not for clients
            status = HTTPStatus.SERVICE_UNAVAILABLE
            content = {"error": "the storage does not answer; ask again in a moment"}
        await answer(send, status, content)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[HTTPStatus, dict[str, Any] | None]:
        user, method = who_asks(self.user, scope), scope["method"]
        token, _, step = path_below(scope).partition("/")
        if (method, token, step) == ("POST", "", ""):
            return HTTPStatus.CREATED, await self._create(await asked(scope, receive), user)
        grant = self._tokens.read(token, user)
        if grant is None:
            raise Refused(404, "there is no such upload here")
        if (method, step) not in {("GET", ""), ("DELETE", ""), ("POST", "parts"), ("POST", "complete")}:
            raise Refused(405, "POST to /, GET and DELETE at a token, POST to its /parts and /complete")
        target = await self._handover.target(grant)
        if method == "DELETE":
            await _direct_parts.abort(target, grant)
            return HTTPStatus.NO_CONTENT, None
        if self._now() >= grant.expires:
            raise Over("was not finished in time")
        if step == "complete":
            etags = etags_in(await asked(scope, receive), grant)
            file = await self._handover.complete(target, grant, etags, user)
            return HTTPStatus.OK, described(file)
        if step == "parts":
            numbers = numbers_in(await asked(scope, receive), grant)
            return HTTPStatus.OK, {"urls": await self._sign(target, grant, numbers)}
        return HTTPStatus.OK, await self._progress(target, grant, token)

    async def _create(self, request: dict[str, Any], user: str | None) -> dict[str, Any]:
        size = size_in(request)
        if size > self.max_size:
            raise FileTooLarge(limit=self.max_size, received=0, what=f"a file of {size} bytes")
        kind = claimed_type(text_in(request, "type"), self.accept)
        facts: dict[str, Any] = {
            "id": secrets.token_hex(8),
            "key": random_key(extension_for(kind), prefix=self.prefix),
            "size": size,
            "part_size": part_size_for(size, self.part_size),
            "content_type": kind,
            "filename": clean_filename(text_in(request, "name")),
            "expires": int(self._now()) + self.expires,
        }
        self._hourly.remind()
        target = await self.storage.target(facts["key"], kind, facts["filename"], mark=facts["id"])
        grant = Grant(**facts, upload_id=(await begin(target)).upload_id)
        return await self._described(target, grant, self._tokens.write(grant, user), grant.numbers)

    async def _progress(self, target: Target, grant: Grant, token: str) -> dict[str, Any]:
        arrived = await _direct_parts.arrived(target, grant)
        if arrived is None and await target.found() is None:
            raise Over("has ended")
        complete, arrived = arrived is None, arrived or {}
        missing = [number for number in grant.numbers if number not in arrived and not complete]
        parts = [{"number": part.number, "etag": part.etag} for part in arrived.values()]
        described = await self._described(target, grant, token, missing)
        return {**described, "arrived": parts, "complete": complete}

    async def _described(
        self, target: Target, grant: Grant, token: str, missing: Sequence[int]
    ) -> dict[str, Any]:
        return {
            "token": token,
            "key": grant.key,
            "size": grant.size,
            "part_size": grant.part_size,
            "parts": grant.parts,
            "expires": grant.expires,
            "urls": await self._sign(target, grant, first(missing)),
        }

    async def sweep(self) -> int:
        """See files through that were made more than an hour ago, and whose server died before it told of
        them. Returns how many.

        Each server does so by itself, once an hour, when an upload begins.
        """
        return await self._handover.sweep(self._now() - EVERY)

    async def _sign(self, target: Target, grant: Grant, numbers: Sequence[int]) -> list[dict[str, Any]]:
        return await _direct_parts.sign(target, grant, numbers, lifetime=int(grant.expires - self._now()))


def cors_rule(origins: Sequence[str]) -> dict[str, Any]:
    """The rule that a bucket needs before pages of ``origins`` can upload to it.

    Put it by ``put_bucket_cors(Bucket=..., CORSConfiguration={"CORSRules": [rule]})``, or as JSON in your
    infrastructure's own language. ``ETag`` is exposed because a page must tell it of every part.

    Args:
        origins: such as ``["https://shop.example"]``.
    """
    return {
        "AllowedOrigins": list(origins),
        "AllowedMethods": ["POST", "PUT"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3600,
    }
