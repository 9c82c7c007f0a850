"""Resumable uploads by the tus protocol (version 1.0.0), on any server of several, in any order.

Each request goes to whichever server the balancer picks, and may break off. What an upload is stands in its
signed address; how far it is stands in the storage. No server remembers anything, so that any may be killed.

Extensions: creation, creation-with-upload, creation-defer-length, termination, checksum, expiration and
concatenation.

Rules:

* What a client was told is there stays there, see :mod:`scalekit.storage._tus_pieces`.
* A client is told that its file is complete after the application was told. Until then it is told to ask
  again (423), or waits.
* Partial uploads are checked and handed over with the final one, and removed after it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus

from scalekit._durations import Duration, seconds
from scalekit.errors import (
    BackendError,
    ChecksumMismatch,
    ConfigurationError,
    FileTooLarge,
    MalformedUpload,
    ObjectExists,
    UploadFailed,
    UploadRejected,
)
from scalekit.storage import _tus_headers as tus
from scalekit.storage._callbacks import check_callbacks, hand_over, who_asks
from scalekit.storage._contract import Storage
from scalekit.storage._given import check_storage
from scalekit.storage._media_types import check_accept
from scalekit.storage._request import header
from scalekit.storage._respond import Refused, path_below, respond
from scalekit.storage._tus_address import Addresses, Upload, id_of, new_id
from scalekit.storage._tus_append import Cut, append
from scalekit.storage._tus_describe import description_of, place_of
from scalekit.storage._tus_finish import FinishedUpload, Finisher, OnFile
from scalekit.storage._tus_headers import Request
from scalekit.storage._tus_pieces import Gone, Pieces, Progress, stem_of
from scalekit.storage._tus_sweep import Sweeper
from scalekit.storage.checksums import ALGORITHMS
from scalekit.storage.keys import check_prefix
from scalekit.types import Headers, Receive, Scope, SecretKey, Send

__all__ = ["FinishedUpload", "TusUploads"]

_MIB = 1024**2
_GIB = 1024**3
_CHECKSUM_MISMATCH = 460  # the protocol's own

_log = logging.getLogger("scalekit.storage")


class TusUploads:
    """An ASGI application: ``app.mount("/uploads", TusUploads(storage, secret_key=SECRET))``.

    The finished object has a random key; ``on_complete`` tells the application.

    Args:
        storage: where the objects go; all servers must share it.
        secret_key: signs the addresses of uploads; a list is a key ring, the last one signs.
        max_size: bytes of one file, 1 GiB by default.
        accept: media types as for :func:`scalekit.storage.forms.stream_form`, compared with the content.
        prefix: goes before the random keys. Unfinished uploads are below ``tus/``, whatever it is.
        expires: seconds or ``timedelta`` in which an upload must be finished, a day by default.
        on_complete: awaited with each finished file, at least once: again if a server died at that moment, or
            if two servers finish the upload together. What it raises is answered as a failure; the next
            request for the upload calls it again.
        on_terminate: awaited when a client takes back a *finished* file, at least once, before the file is
            removed. It may raise :class:`~scalekit.errors.UploadRejected` to keep it. Without it a finished
            file stays, since the application would not learn that it is gone; only its address is given up.
        user: called with the scope of each request, returns who is asking, as a ``str``. An address works for
            the user that it was made for and is unknown (404) to others; ``None`` is refused (403). Without
            it, who may upload is for the middleware in front to say, and whoever has an address can use it.
        cors_origins: whose pages may upload, such as ``["https://shop.example"]``, or ``["*"]``; by default
            those of the same origin. Not needed behind a middleware that answers for CORS.
        piece_size: bytes, 8 MiB by default. What is sent at one go is stored in pieces of this size (larger
            ones for very large files): a server that is killed loses what it has of one. S3 wants 5 MiB at
            least; smaller ones pass through the server once more when they are put together.
        piece_seconds: a piece that takes longer to arrive is stored as it is, 15 seconds by default.
        stall_seconds: a client that sends nothing for so long is hung up on, 60 by default. What it sent
            stays.
        patience: seconds that a client waits for its file to be put together before it is told to ask again
            (423), 20 by default. The work goes on.

    Raises:
        ConfigurationError: a size or duration below 1, a key too short, an origin or type that is none.
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
        on_complete: OnFile | None = None,
        on_terminate: OnFile | None = None,
        user: Callable[[Scope], str | None] | None = None,
        cors_origins: Sequence[str] = (),
        piece_size: int = 8 * _MIB,
        piece_seconds: Duration = 15,
        stall_seconds: Duration = 60,
        patience: Duration = 20,
    ) -> None:
        check_storage(storage)
        for name, size in (("max_size", max_size), ("piece_size", piece_size)):
            if size < 1:
                raise ConfigurationError(f"{name}={size}; give at least 1 byte")
        self.storage = storage
        self.max_size = max_size
        self.accept = check_accept(accept)
        self.prefix = check_prefix(prefix)
        self.expires = int(seconds(expires, name="expires", minimum=1))
        check_callbacks(user=user, on_complete=on_complete, on_terminate=on_terminate)
        self.on_terminate = on_terminate
        self.user = user
        self._cors = tus.Cors(cors_origins)
        self._cut = Cut(
            size=piece_size,
            seconds=seconds(piece_seconds, name="piece_seconds", minimum=0.1),
            stall=seconds(stall_seconds, name="stall_seconds", minimum=0.1),
        )
        self._addresses = Addresses(secret_key, prefix=self.prefix)
        waits = seconds(patience, name="patience")
        self._finisher = Finisher(
            storage, prefix=self.prefix, accept=self.accept, on_complete=on_complete, patience=waits
        )
        self._sweeper = Sweeper(storage, self._finisher.tell, lambda: self._cut.now())

    async def sweep(self) -> int:
        """Remove what is left of uploads that expired more than an hour ago. Returns of how many.

        Each server does so by itself, once an hour, when an upload begins.
        """
        return await self._sweeper.sweep()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"TusUploads answers HTTP requests, not {scope['type']!r}")
        method = header((scope, receive), b"x-http-method-override") or scope["method"]
        headers: Headers = [(b"tus-resumable", tus.VERSION.encode()), *self._cors.headers(scope)]
        text = ""
        try:
            status: int = await self._answer(method, (scope, receive), headers)
        except ChecksumMismatch as error:
            status, text = _CHECKSUM_MISMATCH, str(error)
        except UploadRejected as error:
            status, text = error.status, str(error)
        except ObjectExists:
            status = HTTPStatus.CONFLICT
            text = "another request has written at this offset; ask by HEAD where to go on"
        except (UploadFailed, BackendError) as error:
            _log.error("%s", error, exc_info=error)  # what it names is not for clients
            status = error.status if isinstance(error, UploadFailed) else HTTPStatus.SERVICE_UNAVAILABLE
            text = "the storage does not take it now; ask again in a moment"
        await respond(send, status, headers, text="" if method == "HEAD" else text)

    async def _answer(self, method: str, request: Request, headers: Headers) -> HTTPStatus:
        if method == "OPTIONS":
            headers.append((b"tus-version", tus.VERSION.encode()))
            headers.append((b"tus-extension", tus.EXTENSIONS.encode()))
            headers.append((b"tus-checksum-algorithm", ",".join(ALGORITHMS).encode()))
            headers.append((b"tus-max-size", b"%d" % self.max_size))
            return HTTPStatus.NO_CONTENT
        headers.append((b"cache-control", b"no-store"))
        if header(request, b"tus-resumable") != tus.VERSION:
            headers.append((b"tus-version", tus.VERSION.encode()))
            raise Refused(412, f"send Tus-Resumable: {tus.VERSION}")
        user, address = who_asks(self.user, request[0]), path_below(request[0])
        if method == "POST" and not address:
            return await self._create(request, headers, user)
        if method not in ("HEAD", "PATCH", "DELETE"):
            headers.append((b"allow", b"OPTIONS, POST, HEAD, PATCH, DELETE"))
            raise Refused(405, "use POST at the root, and HEAD, PATCH and DELETE at an upload's address")
        upload = self._addresses.read(address, user)
        if upload is None:
            raise Refused(404, "there is no such upload here")
        if (
            upload.length is not None and upload.length > self.max_size
        ):  # of another mount, or before a change
            raise FileTooLarge(limit=self.max_size, received=0, what=f"a file of {upload.length} bytes")
        progress = await self._pieces(upload).progress()
        if progress.final is None and self._cut.now() >= upload.expires:
            raise Gone("was not finished in time")
        if method == "DELETE":
            return await self._terminate(upload, progress, user)
        if method == "PATCH":
            progress = await self._patch(request, upload, progress)
        await self._finish(upload, progress, user)
        headers += place_of(upload, progress)
        if method == "PATCH":
            return HTTPStatus.NO_CONTENT
        headers += description_of(upload, progress)
        return HTTPStatus.OK

    async def _create(self, request: Request, headers: Headers, user: str | None) -> HTTPStatus:
        self._sweeper.now_and_then()
        concat = header(request, b"upload-concat")
        kind, names = tus.concat(concat)
        given = header(request, b"upload-metadata") or ""
        tus.metadata(given)
        length = self._length(request)
        if kind == "final":
            if length is not None:
                raise MalformedUpload("a final upload has the length of its parts; leave Upload-Length out")
            upload = await self._concatenate(names, given, user, concat or "")
            progress = await self._pieces(upload).progress()
        else:
            if length is None and header(request, b"upload-defer-length") != "1":
                raise MalformedUpload("send Upload-Length, or Upload-Defer-Length: 1 if it is not known yet")
            expires = int(self._cut.now()) + self.expires
            upload = Upload(id=new_id(), length=length, metadata=given, expires=expires, kind=kind)
            progress = Progress(length=length)
            if header(request, b"content-type") == tus.BODY_TYPE:
                progress = await self._append(request, upload, progress)
            await self._finish(upload, progress, user)
        root = str(request[0].get("root_path", "")).rstrip("/")
        headers.append((b"location", f"{root}/{self._addresses.write(upload, user)}".encode("latin-1")))
        headers += place_of(upload, progress)
        return HTTPStatus.CREATED

    async def _concatenate(self, names: list[str], given: str, user: str | None, concat: str) -> Upload:
        parts: list[Upload] = []
        for name in names:
            part = self._addresses.read(name, user)
            if part is None or part.kind != "partial":
                raise MalformedUpload(f"Upload-Concat: {name!r:.40} is no partial upload of yours")
            parts.append(part)
        expires = min(part.expires for part in parts)
        if self._cut.now() >= expires:
            raise Gone("was not finished in time")
        # The same whenever it is asked for: a client that did not get the answer asks again.
        upload = Upload(id=id_of(parts), length=None, metadata=given, expires=expires, kind="final")
        partials = [self._pieces(part) for part in parts]
        await self._finisher.concatenate(self._pieces(upload), partials, upload, user, concat)
        return upload

    async def _patch(self, request: Request, upload: Upload, progress: Progress) -> Progress:
        if upload.kind == "final":
            raise Refused(403, "a final upload is made of its partial ones; nothing can be added to it")
        claimed = tus.number(request, "Upload-Offset")
        if claimed is None:
            raise MalformedUpload("send Upload-Offset, the offset at which the body starts")
        if claimed != progress.offset:
            raise Refused(409, f"Upload-Offset is {claimed}, the upload is at {progress.offset}; go on there")
        length = self._length(request)
        if length is not None and length != progress.length:
            if progress.length is not None or length < progress.offset:
                raise Refused(409, f"Upload-Length: {length} cannot be; it is known, or less than is there")
            await self._pieces(upload).set_length(length)
            progress = replace(progress, length=length)
        return progress if progress.final is not None else await self._append(request, upload, progress)

    async def _append(self, request: Request, upload: Upload, progress: Progress) -> Progress:
        pieces = self._pieces(upload)
        limit = self.max_size if progress.length is None else progress.length
        offset = await append(
            request, pieces, progress, upload, limit=limit, accept=self.accept, cut=self._cut
        )
        return await pieces.progress() if offset == progress.length else replace(progress, offset=offset)

    async def _finish(self, upload: Upload, progress: Progress, user: str | None) -> None:
        # Not the last PATCH alone: the server that took it may have died over it.
        if upload.kind == "whole" and progress.complete and (progress.final is None or progress.pieces):
            await self._finisher.finish(self._pieces(upload), progress, upload, user)

    async def _terminate(self, upload: Upload, progress: Progress, user: str | None) -> HTTPStatus:
        pieces, final = self._pieces(upload), progress.final
        if final is None:
            final = await pieces.give_up()
        else:
            await self._finish(upload, progress, user)
        if final is not None:
            if self.on_terminate is not None:
                file = await self._finisher.described(final)
                await hand_over(self.on_terminate, file, option="on_terminate=")
                await self.storage.delete(final.key or "")
            await pieces.forget()
        return HTTPStatus.NO_CONTENT

    def _length(self, request: Request) -> int | None:
        length = tus.number(request, "Upload-Length")
        if length is not None and length > self.max_size:
            raise FileTooLarge(limit=self.max_size, received=0, what=f"a file of {length} bytes")
        return length

    def _pieces(self, upload: Upload) -> Pieces:
        stem = stem_of(upload.id, upload.expires)
        return Pieces(storage=self.storage, stem=stem, length=upload.length, expires=upload.expires)
