"""A resumable upload as objects of a storage, the only place where it exists.

Its objects, ``<hour>`` being the one in which it expires and ``<id>`` 128 random bits:

* ``tus/<hour>/<id>.p<n>``: a piece, the bytes from offset ``n`` on.
* ``tus/<hour>/<id>.length``: how long it is, where the client learned that late.
* ``tus/<hour>/<id>.file``: the key of the file, written before the file is.
* ``tus/<hour>/<id>.end``: how it ended: complete, with the facts of the file, or given up.
* ``tus/<hour>/<id>.gone``: its address was given up after it was complete.

Every one of them is written create-only, by whatever server has the request, and the storage decides which of
two writers wins. No server holds a lock that could outlive it. Rules:

* **Pieces.** A server that has read the chain of pieces up to an offset may write the one that starts there,
  and then those that follow its own. Whoever finds a piece at its offset was overtaken, stops and answers
  409: so does a server that was frozen in the middle of a body and wakes up when another has gone on.
  A piece never changes, and one is only ever written at the end of the chain, so the chain only grows, at its
  end: what a client was told is there stays as it was. Each acknowledged range is of one request, whole;
  where two requests send at once, the chain goes on with the winner's bytes and the loser is told.
* **The end.** ``.end`` is written once and decides. *Complete* comes after the file has been put together,
  and before anybody is told. *Given up* means that nobody ever was or will be: whoever writes it removes all
  that is there, and whoever was about to complete the upload finds it and removes the file that they made.
* **Late pieces.** Whoever has written a piece looks for ``.end`` afterwards. Given up: the piece goes.
  Complete: the server was a part of that, or too late. The bytes tell; a piece that the file does not have
  goes.
  What a killed server leaves behind lies below ``tus/<hour>/``, where the sweeper finds it.
* **Seen through.** Pieces are removed last. While there are some, whoever looks tells the application again.
"""

import json
from collections.abc import AsyncIterator, Container
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from math import inf

from scalekit.errors import ObjectExists
from scalekit.storage._contract import Storage
from scalekit.storage._extensions import UNKNOWN
from scalekit.storage._respond import Refused
from scalekit.storage._values import Chunk, Stored
from scalekit.storage.checksums import Checksum

PLACE = "tus/"
"""What the keys of all of them begin with."""


def stem_of(id: str, expires: float) -> str:
    """What the keys of an upload's objects begin with. Those that expire first are listed first."""
    return f"{PLACE}{datetime.fromtimestamp(expires, UTC):%Y%m%d%H}/{id}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Final:
    """How an upload ended. ``key`` is that of the file, ``None`` if the upload was given up."""

    key: str | None = None
    size: int = 0
    content_type: str = ""
    filename: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    concat: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What the storage has of an upload. ``length`` is ``None`` while the client does not know it."""

    pieces: list[Stored] = field(default_factory=list)
    offset: int = 0
    length: int | None
    final: Final | None = None

    @property
    def complete(self) -> bool:
        return self.offset == self.length


class Gone(Refused):
    """The upload was given up, or not finished in time."""

    def __init__(self, reason: str = "was given up") -> None:
        super().__init__(410, f"this upload {reason}; begin a new one")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pieces:
    """The objects of one upload.

    Args:
        stem: what their keys begin with, see :func:`stem_of`.
        length: in bytes, ``None`` if the client did not know when it began.
        expires: in seconds since 1970.
    """

    storage: Storage
    stem: str
    length: int | None = None
    expires: float = inf

    async def progress(self) -> Progress:
        """How far the upload is, by one listing.

        Raises:
            Gone: it was given up.
        """
        length, offset, final = self.length, 0, None
        pieces: list[Stored] = []
        async with aclosing(self.storage.list(f"{self.stem}.")) as entries:
            found = {stored.key.removeprefix(f"{self.stem}."): stored async for stored in entries}
        if "gone" in found:
            raise Gone()
        if "length" in found:
            length = int(await self.storage.read(found["length"].key) or b"0")
        names = sorted(name for name in found if name.startswith("p"))
        for name in names:
            if int(name[1:]) != offset:
                break
            offset += found[name].size
            pieces.append(found[name])
        # Pieces go when the end is decided, perhaps while they are listed: what is missing may be complete.
        if "end" in found or offset != length:
            final = await self.final()
        if final is not None:  # the chain no longer counts, only whether there are pieces
            offset = length = final.size
            pieces = [found[name] for name in names]
        return Progress(pieces=pieces, offset=offset, length=length, final=final)

    async def append(self, offset: int, content: AsyncIterator[Chunk], checksum: Checksum | None) -> int:
        """Write the piece that starts at ``offset``. Returns its size.

        Raises:
            ObjectExists: another server has written there, or completed the upload with other bytes.
            ChecksumMismatch: the content does not have this ``checksum``; nothing was stored.
            Gone: the upload was given up meanwhile.
        """
        key = f"{self.stem}.p{offset:016d}"
        piece = await self.storage.put(key, content, content_type=UNKNOWN, checksum=checksum)
        try:
            final = await self.final()
        except Gone:
            await self.storage.delete(key)
            raise
        if final is not None and not await self._has(final, piece, offset):
            await self.storage.delete(key)
            raise ObjectExists(key)
        return piece.size

    async def set_length(self, length: int) -> None:
        """Say how long it is, now that the client knows.

        Raises:
            Refused: another length was said before, 409.
        """
        said = await self._first("length", str(length).encode())
        if int(said) != length:
            raise Refused(409, f"Upload-Length is {length}, but was {said} before")

    async def final(self) -> Final | None:
        """How it ended, or ``None`` if it has not.

        Raises:
            Gone: it was given up.
        """
        content = await self.storage.read(f"{self.stem}.end")
        if content is None:
            return None
        final = Final(**json.loads(content))
        if final.key is None:
            raise Gone()
        return final

    async def claim(self, key: str) -> str:
        """Note where the file will be. Returns what was noted first, which is where it has to be."""
        return await self._first("file", key.encode())

    async def end(self, final: Final) -> Final | None:
        """Decide how it ends, unless that was decided. Returns what was: ``None`` for given up."""
        content = json.dumps(asdict(final), separators=(",", ":")).encode()
        try:
            await self.storage.put(f"{self.stem}.end", content, content_type=UNKNOWN)
        except ObjectExists:
            with suppress(Gone):
                return await self.final()
            return None
        return None if final.key is None else final

    async def give_up(self) -> Final | None:
        """Remove all that there is, unless it is complete: then returns how it ended."""
        final = await self.end(Final())
        if final is None:
            # Nobody was ever told of the file: if it is there, its server did not get so far.
            noted = await self.storage.read(f"{self.stem}.file")
            if noted is not None:
                await self.storage.delete(noted.decode())
            await self.drop(keep=("end", "gone", "file"))
        return final

    async def forget(self) -> None:
        """Give up the address of a complete upload."""
        with suppress(ObjectExists):
            await self.storage.put(f"{self.stem}.gone", b"", content_type=UNKNOWN)

    async def left(self) -> bool:
        """Whether there are pieces."""
        async with aclosing(self.storage.list(f"{self.stem}.p")) as pieces:
            return await anext(pieces, None) is not None

    async def drop(self, *, keep: Container[str] = ("end", "gone")) -> None:
        """Remove all but the notes to ``keep``, which tell what became of it. ``end`` goes last."""
        start = f"{self.stem}."
        for key in reversed([stored.key async for stored in self.storage.list(start)]):
            if key.removeprefix(start) not in keep:
                await self.storage.delete(key)

    async def _first(self, note: str, content: bytes) -> str:
        """Write a note unless there is one. Returns what there is."""
        key = f"{self.stem}.{note}"
        try:
            await self.storage.put(key, content, content_type=UNKNOWN)
        except ObjectExists:
            content = await self.storage.read(key) or content
        return content.decode()

    async def _has(self, final: Final, piece: Stored, offset: int) -> bool:
        mine = await self._digest(piece.key, 0, piece.size)
        return mine is not None and mine == await self._digest(final.key or "", offset, piece.size)

    async def _digest(self, key: str, offset: int, length: int) -> bytes | None:
        opened = await self.storage.open(key, offset=offset, length=length)
        if opened is None:
            return None
        digest = sha256()
        async with opened:
            async for chunk in opened:
                digest.update(chunk)
        return digest.digest()
