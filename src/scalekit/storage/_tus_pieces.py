"""A resumable upload as objects of a storage, the only place where it exists.

Rules:

* Every piece is one object, named by the offset at which it starts and written create-only: of two servers
  that append at one offset the storage lets one win, and the upload ends where the chain of its pieces does.
* A complete chain is written as one object, create-only too. It tells that the upload is complete; pieces
  that are still there tell that its end was not seen through, and are removed last.
* Whoever has written a piece and then finds the upload complete was either a part of that or too late. The
  bytes tell: the piece counts if the object has them.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256

from scalekit.errors import ObjectExists, UnsupportedMediaType, UploadRejected
from scalekit.storage._contract import Chunk, Storage, Stored
from scalekit.storage._media_types import SNIFF_BYTES, accepted_type, extension_for
from scalekit.storage._source import chained, first_chunks


@dataclass(frozen=True, slots=True)
class Progress:
    """What the storage has of an upload."""

    pieces: list[Stored]
    offset: int
    final: Stored | None


class PieceGone(UploadRejected):
    """The upload was removed while it was being finished."""

    status = 410


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """The objects of one upload of ``length`` bytes, whose keys begin with ``stem``."""

    storage: Storage
    stem: str
    length: int

    async def progress(self) -> Progress:
        """How far the upload is, by one listing."""
        part = f"{self.stem}.part"
        async with aclosing(self.storage.list(self.stem)) as entries:
            found = [stored async for stored in entries]
        pieces = [stored for stored in found if stored.key.startswith(part)]
        for stored in found:
            if not stored.key.startswith(part):
                return Progress(pieces, self.length, stored)
        offset = 0
        for number, piece in enumerate(pieces):
            if int(piece.key.removeprefix(part)) != offset:
                return Progress(pieces[:number], offset, None)
            offset += piece.size
        return Progress(pieces, offset, None)

    async def append(self, progress: Progress, content: AsyncIterator[Chunk]) -> Progress:
        """Write the next piece.

        Raises:
            ObjectExists: another request has written at this offset.
        """
        key = f"{self.stem}.part{progress.offset:016d}"
        piece = await self.storage.put(key, content)
        now = await self.progress()
        if now.final is None:
            return Progress([*progress.pieces, piece], progress.offset + piece.size, None)
        if not await self._has(now.final, piece, progress.offset):
            await self.storage.delete(key)  # it would look like a beginning
            raise ObjectExists(key)
        return now

    async def join(self, pieces: list[Stored], declared: str, accept: tuple[str, ...]) -> Stored:
        """Write the pieces as one object. Another server may be doing the same, and be faster.

        Raises:
            UnsupportedMediaType: it is none of ``accept``; the pieces are removed.
        """
        try:
            async with aclosing(self._content(pieces)) as content:
                first = await first_chunks(content, SNIFF_BYTES)
                kind = accepted_type(b"".join(first)[:SNIFF_BYTES], declared, accept)
                key = self.stem + extension_for(kind)
                async with aclosing(chained(first, content)) as whole:
                    return await self.storage.put(key, whole, content_type=kind, size=self.length)
        except UnsupportedMediaType:
            await self.drop()
            raise
        except (ObjectExists, PieceGone):
            final = (await self.progress()).final
            if final is None:
                raise
            return final

    async def drop(self) -> None:
        """Remove the pieces, the last one first: what is left if this is cut short is still a chain."""
        pieces = [stored.key async for stored in self.storage.list(f"{self.stem}.part")]
        for key in reversed(pieces):
            await self.storage.delete(key)

    async def _content(self, pieces: list[Stored]) -> AsyncGenerator[Chunk, None]:
        for piece in pieces:
            opened = await self.storage.open(piece.key)
            if opened is None:
                raise PieceGone("the upload was removed while it was being finished")
            async with opened:
                async for chunk in opened:
                    yield chunk

    async def _has(self, final: Stored, piece: Stored, offset: int) -> bool:
        mine = await self._digest(piece.key, 0, piece.size)
        return mine is not None and mine == await self._digest(final.key, offset, piece.size)

    async def _digest(self, key: str, offset: int, length: int) -> bytes | None:
        opened = await self.storage.open(key, offset=offset, length=length)
        if opened is None:
            return None
        digest = sha256()
        async with opened:
            async for chunk in opened:
                digest.update(chunk)
        return digest.digest()
