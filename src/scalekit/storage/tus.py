"""``TusUploads``: resumable uploads by the tus protocol 1.0.0, behind any load balancer.

No server keeps anything about an upload. Rules:

* The upload's address is a signed token that says how long the file is, who it will be and until when it
  may be sent; any server with the same ``secret_key`` can go on with it.
* Every PATCH becomes a piece in the storage (:mod:`scalekit.storage._tus_pieces`), so that a stale server is
  fenced and the offset is where the pieces end.
* When they are complete they become one object, ``on_complete`` is told, and only then are they removed. A
  server that died in between leaves nothing that another, asked by HEAD, would not finish.
* One process finishes an upload once at a time; who asks meanwhile is answered without waiting.
"""

import asyncio
import base64
import binascii
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from itsdangerous import BadSignature

from scalekit._durations import Duration, seconds
from scalekit._signing import signer
from scalekit.errors import FileTooLarge, MalformedUpload, ObjectExists, UnsupportedMediaType, UploadRejected
from scalekit.storage._contract import Chunk, Storage, UploadedFile
from scalekit.storage._media_types import SNIFF_BYTES, accepted_type, check_accept
from scalekit.storage._request import ClientHungUp, body_of, header
from scalekit.storage._respond import path_below, respond
from scalekit.storage._source import chained, first_chunks, limited
from scalekit.storage._tus_pieces import Pieces, Progress
from scalekit.storage.keys import check_prefix, clean_filename
from scalekit.types import Headers, Receive, Scope, SecretKey, Send

_VERSION = b"1.0.0"
_EXTENSIONS = b"creation,creation-with-upload,expiration"
_BODY_TYPE = "application/offset+octet-stream"
_MAX_PIECES = 10_000
_GIB = 1024**3

OnComplete = Callable[[UploadedFile], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Upload:
    """What a token says."""

    id: str
    length: int
    filename: str
    declared: str
    expires: int


class TusUploads:
    """An ASGI application: ``app.mount("/uploads", TusUploads(storage, secret_key=SECRET))``.

    It understands creation (also with the first bytes), HEAD, PATCH and expiration. The finished object has a
    random key; ``on_complete`` tells the application. Who may upload is for the middleware in front to say.

    Args:
        storage: where the objects go; all servers must share it.
        secret_key: signs the addresses of uploads; a list is a key ring, the last one signs.
        max_size: bytes of one file, 1 GiB by default.
        accept: media types as for :func:`scalekit.storage.forms.stream_form`, compared with the content.
        prefix: goes before the random keys.
        expires: seconds or ``timedelta`` in which an upload must be finished, a day by default.
        on_complete: awaited with each finished file, at least once: again if a server died at that moment, or
            if two servers finish the upload together.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        secret_key: SecretKey,
        max_size: int = _GIB,
        accept: Sequence[str] = ("*/*",),
        prefix: str = "",
        expires: Duration = 24 * 3600,
        on_complete: OnComplete | None = None,
    ) -> None:
        self.storage = storage
        self.max_size = max_size
        self.accept = check_accept(accept)
        self.prefix = check_prefix(prefix)
        self.expires = int(seconds(expires, name="expires", minimum=1))
        self.on_complete = on_complete
        self._signer = signer(secret_key, salt="scalekit.storage.tus")
        self._finishing: dict[str, asyncio.Task[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"TusUploads answers HTTP requests, not {scope['type']!r}")
        method = header((scope, receive), b"x-http-method-override") or scope["method"]
        token = path_below(scope)
        headers: Headers = [(b"tus-resumable", _VERSION)]
        text = ""
        try:
            status = await self._answer(method, token, scope, receive, headers)
        except UploadRejected as error:
            status, text = HTTPStatus(error.status), str(error)
        except ObjectExists:
            status, text = HTTPStatus.CONFLICT, "another request has written at this offset"
        await respond(send, status, headers, text="" if method == "HEAD" else text)

    async def _answer(
        self, method: str, token: str, scope: Scope, receive: Receive, headers: Headers
    ) -> HTTPStatus:
        if method == "OPTIONS":
            headers += [(b"tus-version", _VERSION), (b"tus-extension", _EXTENSIONS)]
            headers.append((b"tus-max-size", b"%d" % self.max_size))
            return HTTPStatus.NO_CONTENT
        if header((scope, receive), b"tus-resumable") != _VERSION.decode():
            headers.append((b"tus-version", _VERSION))
            return HTTPStatus.PRECONDITION_FAILED
        if method == "POST" and not token:
            return await self._create(scope, receive, headers)
        if method not in ("HEAD", "PATCH"):
            headers.append((b"allow", b"OPTIONS, POST, HEAD, PATCH"))
            return HTTPStatus.METHOD_NOT_ALLOWED
        upload = self._read_token(token)
        if upload is None:
            return HTTPStatus.NOT_FOUND
        headers.append((b"upload-expires", formatdate(upload.expires, usegmt=True).encode()))
        if method == "HEAD":
            headers.append((b"cache-control", b"no-store"))
            headers.append((b"upload-length", b"%d" % upload.length))
            if upload.id in self._finishing:  # a client that asks again and again starts nothing
                headers.append((b"upload-offset", b"%d" % upload.length))
                return HTTPStatus.OK
        progress = await self._pieces(upload).progress()
        if progress.final is None and time.time() > upload.expires:
            return HTTPStatus.GONE
        if method == "PATCH":
            claimed = _number(header((scope, receive), b"upload-offset"), "Upload-Offset")
            if claimed != progress.offset:
                raise _Conflict(claimed, progress.offset)
            if progress.final is None:
                progress = await self._append(upload, progress, scope, receive)
        # Not the PATCH alone finishes: the server that took the last one may have died over it.
        if progress.offset == upload.length and (progress.final is None or progress.pieces):
            await self._finish_once(upload, progress)
        headers.append((b"upload-offset", b"%d" % progress.offset))
        return HTTPStatus.OK if method == "HEAD" else HTTPStatus.NO_CONTENT

    async def _create(self, scope: Scope, receive: Receive, headers: Headers) -> HTTPStatus:
        request = scope, receive
        if header(request, b"upload-defer-length") is not None:
            raise MalformedUpload("Upload-Defer-Length is not supported; send Upload-Length")
        length = _number(header(request, b"upload-length"), "Upload-Length")
        if length > self.max_size:
            raise FileTooLarge(limit=self.max_size, received=length)
        metadata = _metadata(header(request, b"upload-metadata") or "")
        upload = _Upload(
            id=secrets.token_hex(16),
            length=length,
            filename=clean_filename(metadata.get("filename", metadata.get("name", ""))),
            declared=metadata.get("filetype", metadata.get("type", ""))[:100],
            expires=int(time.time()) + self.expires,
        )
        progress = Progress([], 0, None)
        if header(request, b"content-type") == _BODY_TYPE:
            progress = await self._append(upload, progress, scope, receive)
            headers.append((b"upload-offset", b"%d" % progress.offset))
        if progress.offset == length:
            await self._finish_once(upload, progress)
        location = f"{str(scope.get('root_path', '')).rstrip('/')}/{self._write_token(upload)}"
        headers.append((b"location", location.encode("latin-1")))
        headers.append((b"upload-expires", formatdate(upload.expires, usegmt=True).encode()))
        return HTTPStatus.CREATED

    async def _append(self, upload: _Upload, progress: Progress, scope: Scope, receive: Receive) -> Progress:
        request, room = (scope, receive), upload.length - progress.offset
        kind = header(request, b"content-type") or ""
        if kind != _BODY_TYPE:
            raise UnsupportedMediaType(found=kind, accepted=(_BODY_TYPE,))
        if len(progress.pieces) >= _MAX_PIECES:
            raise MalformedUpload(f"an upload can be sent in {_MAX_PIECES} pieces at most; send larger ones")
        async with (
            aclosing(body_of(request, limit=room)) as body,
            aclosing(_until_hang_up(body)) as arriving,
            aclosing(limited(arriving, room, "upload")) as content,
        ):
            first = await first_chunks(content, SNIFF_BYTES)
            if not first:
                return progress
            head = b"".join(first)[:SNIFF_BYTES]
            if progress.offset == 0 and (len(head) == SNIFF_BYTES or len(head) == upload.length):
                accepted_type(head, upload.declared, self.accept)  # as early as it can be told
            async with aclosing(chained(first, content)) as whole:
                return await self._pieces(upload).append(progress, whole)

    async def _finish_once(self, upload: _Upload, progress: Progress) -> None:
        if upload.id not in self._finishing:
            task = asyncio.create_task(self._finish(upload, progress))
            self._finishing[upload.id] = task
            task.add_done_callback(lambda _: self._finishing.pop(upload.id))
        # A client that hangs up ends its own waiting, not the work that others wait for.
        await asyncio.shield(self._finishing[upload.id])

    async def _finish(self, upload: _Upload, progress: Progress) -> None:
        pieces = self._pieces(upload)
        final = progress.final or await pieces.join(progress.pieces, upload.declared, self.accept)
        if self.on_complete is not None:
            url = await self.storage.url(final.key)
            await self.on_complete(
                UploadedFile(
                    key=final.key,
                    url=url,
                    size=final.size,
                    content_type=final.content_type,
                    filename=upload.filename,
                )
            )
        # Last: while there are pieces, whoever looks will do all of the above again.
        await pieces.drop()

    def _pieces(self, upload: _Upload) -> Pieces:
        return Pieces(storage=self.storage, stem=self.prefix + upload.id, length=upload.length)

    def _write_token(self, upload: _Upload) -> str:
        facts = [upload.id, upload.length, upload.filename, upload.declared, upload.expires]
        payload = base64.urlsafe_b64encode(json.dumps(facts, separators=(",", ":")).encode()).rstrip(b"=")
        return self._signer.sign(payload).decode()

    def _read_token(self, token: str) -> _Upload | None:
        try:
            payload = self._signer.unsign(token)
        except BadSignature:
            return None
        name, length, filename, declared, expires = json.loads(
            base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
        )
        return _Upload(id=name, length=length, filename=filename, declared=declared, expires=expires)


class _Conflict(UploadRejected):
    status = 409

    def __init__(self, claimed: int, offset: int) -> None:
        super().__init__(f"Upload-Offset is {claimed}, but the upload is at {offset}")


async def _until_hang_up(body: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
    # What has arrived is worth keeping: that is what resuming is for.
    try:
        async for chunk in body:
            yield chunk
    except ClientHungUp:
        return


def _number(value: str | None, name: str) -> int:
    if value is None or not value.isdecimal() or len(value) > 18:
        raise MalformedUpload(f"{name} must be a whole number of bytes")
    return int(value)


def _metadata(value: str) -> dict[str, str]:
    """``Upload-Metadata``: pairs of a name and a base64 value, separated by commas."""
    result: dict[str, str] = {}
    for pair in value.split(","):
        name, _, encoded = pair.strip().partition(" ")
        try:
            result[name] = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise MalformedUpload("Upload-Metadata must be names and base64 of UTF-8") from None
    return result
