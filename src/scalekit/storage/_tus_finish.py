"""From the pieces of a resumable upload to its file, and to the application that waits for it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from scalekit.errors import ObjectExists, ObjectMissing, UnsupportedMediaType, UploadRejected
from scalekit.storage._callbacks import hand_over
from scalekit.storage._contract import Storage
from scalekit.storage._extensions import extension_for
from scalekit.storage._media_types import SNIFF_BYTES, accepted_type
from scalekit.storage._respond import Refused
from scalekit.storage._tus_address import Upload
from scalekit.storage._tus_append import MAX_PIECES
from scalekit.storage._tus_pieces import Final, Gone, Pieces, Progress
from scalekit.storage._values import Stored, UploadedFile

_log = logging.getLogger("scalekit.storage")


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedUpload(UploadedFile):
    """A file that came in by a resumable upload.

    Args:
        metadata: what the client said of it, by name. Claims, like any input.
        user: what ``user=`` of :class:`TusUploads` said of the client.
    """

    metadata: dict[str, str] = field(default_factory=dict)
    user: str | None = None


OnFile = Callable[[FinishedUpload], Awaitable[None]]


class Finisher:
    """Sees complete uploads through: joins the pieces, tells the application, removes the pieces, in this
    order.

    Whoever is interrupted leaves something that shows it, and the next one to look goes on from there.

    Args:
        prefix: goes before the random keys of the files.
        patience: seconds that a client waits for it.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        prefix: str,
        accept: tuple[str, ...],
        on_complete: OnFile | None,
        patience: float,
    ) -> None:
        self.storage = storage
        self.prefix = prefix
        self.accept = accept
        self.on_complete = on_complete
        self.patience = patience
        self._working: dict[str, asyncio.Future[None]] = {}

    async def finish(self, pieces: Pieces, progress: Progress, upload: Upload, user: str | None) -> None:
        """See an upload through whose ``progress`` is complete.

        Raises:
            Refused: it takes longer than ``patience``, 423.
            UnsupportedMediaType, Gone: as :func:`join`.
        """

        async def work() -> None:
            final = progress.final
            if final is None:
                try:
                    final = await self._join(pieces, progress.pieces, upload, user)
                except UnsupportedMediaType:
                    await pieces.give_up()
                    raise
            await self.tell(final)
            await pieces.drop()

        await self._once(upload.id, work)

    async def concatenate(
        self, pieces: Pieces, partials: Sequence[Pieces], upload: Upload, user: str | None, concat: str
    ) -> None:
        """Make a final upload of ``partials``, which are given up then.

        Raises:
            Refused: one of them is not complete, 409; there are too many pieces, 413; or as :meth:`finish`.
            Gone: one of them was given up.
            UnsupportedMediaType: the whole is nothing that is accepted.
        """

        async def work() -> None:
            final = (await pieces.progress()).final
            told = final is not None
            parts: list[Stored] = []
            for partial in partials:
                try:
                    progress = await partial.progress()
                except Gone:
                    if final is None:
                        raise
                    continue
                if not progress.complete:
                    raise Refused(409, "a partial upload is not complete; finish it first")
                parts += progress.pieces
            if final is None:
                if len(parts) > MAX_PIECES:
                    raise Refused(413, f"{len(parts)} pieces are more than {MAX_PIECES}; send larger ones")
                try:
                    final = await self._join(pieces, parts, upload, user, concat)
                except UnsupportedMediaType:
                    await _give_up([pieces, *partials])
                    raise
            if parts or not told:
                await self.tell(final)
            await _give_up(partials)
            await pieces.drop()

        await self._once(upload.id, work)

    async def _join(
        self, pieces: Pieces, parts: Sequence[Stored], upload: Upload, user: str | None, concat: str = ""
    ) -> Final:
        return await join(
            pieces, parts, upload, prefix=self.prefix, accept=self.accept, user=user, concat=concat
        )

    async def tell(self, final: Final) -> None:
        """Hand a file over to the application."""
        if self.on_complete is not None:
            await hand_over(self.on_complete, await self.described(final), option="on_complete=")

    async def described(self, final: Final) -> FinishedUpload:
        """A file as the application gets to see it."""
        key = final.key or ""
        return FinishedUpload(
            key=key,
            url=await self.storage.url(key),
            size=final.size,
            content_type=final.content_type,
            filename=final.filename,
            metadata=final.metadata,
            user=final.user,
        )

    async def _once(self, id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do it once however many ask; those wait for it."""
        if id not in self._working:
            task = asyncio.ensure_future(work())
            self._working[id] = task
            task.add_done_callback(lambda task: self._done(id, task))
        # A client that hangs up ends its own waiting, not the work that others wait for.
        done, _ = await asyncio.wait({self._working[id]}, timeout=self.patience)
        if not done:
            raise Refused(423, "all of it is there and is being put together; ask again in a moment")
        done.pop().result()

    def _done(self, id: str, task: asyncio.Future[None]) -> None:
        del self._working[id]
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, UploadRejected):
            # Perhaps nobody waits for it any more.
            _log.warning("a complete upload was not seen through, the next request tries again: %r", error)


async def join(
    pieces: Pieces,
    parts: Sequence[Stored],
    upload: Upload,
    *,
    prefix: str,
    accept: tuple[str, ...],
    user: str | None,
    concat: str = "",
) -> Final:
    """Make one object of the ``parts`` and decide that this is the end. Other servers may be doing the same.

    Raises:
        UnsupportedMediaType: it is none of ``accept``.
        Gone: the upload was given up meanwhile; the object is removed again.
        Refused: a part of it was, 409.
    """
    storage = pieces.storage
    try:
        head = await _head(storage, parts)
        kind = accepted_type(head, upload.declared, accept)
        # Noted first: should this server die over it, whoever gives the upload up finds the file.
        key = await pieces.claim(f"{prefix}{upload.id}{extension_for(kind)}")
        with suppress(ObjectExists):  # of another server, or of this one before it died: the same content
            if parts:
                names = [part.key for part in parts]
                await storage.compose(key, names, content_type=kind, filename=upload.filename or None)
            else:
                await storage.put(key, b"", content_type=kind, filename=upload.filename or None)
    except ObjectMissing:
        # Whoever has removed a piece has seen the upload to its end.
        final = await pieces.final()
        if final is None:
            raise Refused(409, "a partial upload was removed while the final one was made") from None
        return final
    made = Final(
        key=key,
        size=sum(part.size for part in parts),
        content_type=kind,
        filename=upload.filename,
        metadata=upload.named,
        user=user,
        concat=concat,
    )
    final = await pieces.end(made)
    if final is None:
        await storage.delete(key)
        raise Gone()
    return final


async def _give_up(uploads: Sequence[Pieces]) -> None:
    for upload in uploads:
        await upload.give_up()


async def _head(storage: Storage, parts: Sequence[Stored]) -> bytes:
    head = b""
    for part in parts:
        if len(head) >= SNIFF_BYTES:
            break
        opened = await storage.open(part.key, length=SNIFF_BYTES - len(head))
        if opened is None:
            raise ObjectMissing(part.key)
        async with opened:
            head += await opened.read()
    return head
