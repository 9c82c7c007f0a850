"""From the body of a PATCH to pieces, so that a server that is killed takes no more than one of them along.

Rules:

* A piece is full at ``size`` bytes, or ``seconds`` after it began: on a slow line, too, little is at stake.
* However large the file, there are no more than ``MAX_PIECES``. Half of them are for what is sent at one go,
  which ``size`` is chosen for; the other half for those that come to an end early.
* The last piece of an upload is stored only when the body has come to its end there, so that a body that is
  too long completes nothing. So is a body with a checksum, in one piece: nothing of it may be kept if that is
  wrong.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from scalekit.errors import ChecksumMismatch, UnsupportedMediaType
from scalekit.storage._media_types import SNIFF_BYTES, accepted_type
from scalekit.storage._request import ClientHungUp, body_of, header
from scalekit.storage._respond import Refused
from scalekit.storage._tus_address import Upload
from scalekit.storage._tus_headers import BODY_TYPE, Request, checksum_of
from scalekit.storage._tus_pieces import Gone, Pieces, Progress
from scalekit.storage._values import Chunk
from scalekit.storage.checksums import Checksum

MAX_PIECES = 10_000
"""S3 puts no more together in one object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """When a piece is full, and how many seconds (``stall``) a client may be silent.

    The clocks tell seconds: ``now`` since 1970, ``clock`` since any time.
    """

    size: int
    seconds: float
    stall: float
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic


class Content:
    """A stream of chunks that is taken piece by piece."""

    def __init__(self, chunks: AsyncIterator[Chunk], clock: Callable[[], float]) -> None:
        self._chunks, self._clock = chunks, clock
        self._held: list[Chunk] = []

    async def more(self) -> bool:
        """Whether anything follows."""
        return bool(await self._hold(1))

    async def head(self, size: int) -> bytes:
        """The next ``size`` bytes, or as many as there are; they are not taken."""
        return b"".join(await self._hold(size))[:size]

    async def _hold(self, size: int) -> list[Chunk]:
        while sum(len(chunk) for chunk in self._held) < size:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                break
            self._held.append(chunk)
        return self._held

    async def piece(self, size: int, seconds: float, *, last: bool) -> AsyncGenerator[Chunk, None]:
        """The next ``size`` bytes, or those that come within ``seconds``. One chunk comes at least.

        Args:
            last: no more than ``size`` may come. A full piece waits for the end, which may be an error.
        """
        began = self._clock()
        while (size or last) and await self.more():
            chunk = self._held.pop(0)
            if len(chunk) > size:
                view = memoryview(chunk)
                chunk = view[:size]
                self._held.insert(0, view[size:])
            size -= len(chunk)
            yield chunk
            if size and self._clock() - began >= seconds:
                return


async def append(
    request: Request,
    pieces: Pieces,
    progress: Progress,
    upload: Upload,
    *,
    limit: int,
    accept: tuple[str, ...],
    cut: Cut,
) -> int:
    """Store the body of ``request`` from where the upload is. Returns where it is then.

    Args:
        limit: how long the upload may become, in bytes.
        accept: patterns of media types, for the first bytes of a whole file.

    Raises:
        UnsupportedMediaType: of the body, or of the file.
        FileTooLarge: there is more than fits; of the last piece nothing is stored then.
        ObjectExists, ChecksumMismatch, Gone: as :meth:`Pieces.append`; what was stored before stays.
        Refused: there are ``MAX_PIECES``, 413; nothing arrived of what has a checksum, 408.
    """
    kind = header(request, b"content-type") or ""
    if kind != BODY_TYPE:
        raise UnsupportedMediaType(found=kind, accepted=(BODY_TYPE,))
    checksum = checksum_of(header(request, b"upload-checksum"))
    room = limit - progress.offset
    async with (
        aclosing(body_of(request, limit=room)) as body,
        aclosing(_arriving(body, cut.stall, whole=checksum is not None)) as chunks,
    ):
        content = Content(chunks, cut.clock)
        if progress.offset == 0 and upload.kind == "whole":
            head = await content.head(SNIFF_BYTES)
            if len(head) == SNIFF_BYTES or (head and len(head) == progress.length):
                accepted_type(head, upload.declared, accept)  # as early as it can be told
        return await _append(pieces, progress, content, room, cut, checksum)


async def _append(
    pieces: Pieces, progress: Progress, content: Content, room: int, cut: Cut, checksum: Checksum | None
) -> int:
    offset, count = progress.offset, len(progress.pieces)
    full = max(cut.size, -(-(offset + room) // (MAX_PIECES // 2)))
    if checksum is not None and not await content.more():
        _check_nothing(checksum)
    while await content.more():
        if count == MAX_PIECES:
            raise Refused(413, f"this upload is in {count} pieces, no more are allowed; send larger ones")
        if cut.now() >= pieces.expires:
            raise Gone("was not finished in time")
        last = checksum is not None or room <= full
        early = checksum is None and count < MAX_PIECES // 2
        seconds = cut.seconds if early else math.inf
        async with aclosing(content.piece(room if last else full, seconds, last=last)) as piece:
            size = await pieces.append(offset, piece, checksum)
        offset, room, count = offset + size, room - size, count + 1
    return offset


async def _arriving(
    body: AsyncGenerator[Chunk, None], stall: float, *, whole: bool
) -> AsyncGenerator[Chunk, None]:
    """The body as far as it comes: what has arrived is worth keeping, unless only the ``whole`` of it is."""
    while True:
        try:
            async with asyncio.timeout(stall):
                chunk = await anext(body, None)
        except TimeoutError:
            if whole:
                raise Refused(408, f"nothing arrived for {stall:g} seconds; send it again") from None
            return
        except ClientHungUp:
            if whole:
                raise
            return
        if chunk is None:
            return
        yield chunk


def _check_nothing(checksum: Checksum) -> None:
    found = Checksum.of(b"", checksum.algorithm)
    if found != checksum:
        raise ChecksumMismatch(expected=str(checksum), found=str(found))
