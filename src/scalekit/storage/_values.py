"""What storages are given, and what they say of objects."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Self, TypeAlias

from scalekit.storage.checksums import Checksum

Chunk: TypeAlias = bytes | bytearray | memoryview
Source: TypeAlias = AsyncIterable[Chunk] | Chunk
"""What can be stored: bytes at hand, or anything that yields them, such as ``request.stream()``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """What a storage knows about an object.

    Args:
        key: as it was given, without the storage's own prefix.
        size: in bytes.
        content_type: such as ``"image/png"``; ``"application/octet-stream"`` where nobody knows.
        etag: changes whenever the content does; without quotes; the same on every server.
        modified: when it was stored, with time zone.
        filename: what people call it, if that was given and the storage keeps it.
        checksum: of the whole content, if the storage keeps one. :meth:`Storage.list` does not tell it.
    """

    key: str
    size: int
    content_type: str
    etag: str
    modified: datetime
    filename: str | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedURL:
    """An address that carries its own permission.

    Args:
        url: whoever has it can read the object.
        expires: and cannot after this time.
    """

    url: str = field(repr=False)
    expires: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadedFile:
    """A file that a client sent, stored.

    Args:
        key: where it is in the storage; keep this.
        url: an address at which it can be read now; it may expire.
        size: in bytes.
        content_type: what its content is, which need not be what the client said.
        filename: what the client calls it, without directories and invisible characters. For people only.
    """

    key: str
    url: str
    size: int
    content_type: str
    filename: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """What is left of an upload that came to no end, because its server was killed.

    Args:
        kind: such as ``"multipart upload"``.
        name: what it would have become or how it is named, for people.
        modified: when it last grew.
        size: in bytes, as far as it got.
        remove: removes it; doing it twice is doing it once.
    """

    kind: str
    name: str
    modified: datetime
    size: int
    remove: Callable[[], Awaitable[None]]


class Opened:
    """An object being read: ``async with opened: async for chunk in opened: ...``.

    It holds a file or a connection until ``async with`` is left, or :meth:`aclose` called.
    """

    def __init__(
        self,
        stored: Stored,
        chunks: AsyncGenerator[bytes, None],
        *,
        close: Callable[[], Awaitable[None]] | None = None,
        fd: int | None = None,
        path: str | None = None,
    ) -> None:
        self.stored = stored
        """What is being read. ``stored.size`` is that of the whole object, also when a range is read."""
        self.fd, self.path = fd, path
        """Of an object that is a file of its own: open at its beginning until this is closed; its path."""
        self._chunks = chunks
        self._close = close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def read(self) -> bytes:
        """All that is left, in memory."""
        return b"".join([chunk async for chunk in self._chunks])

    async def aclose(self) -> None:
        """Let go of the file or connection. Doing it twice is doing it once."""
        close, self._close = self._close, None
        try:
            await self._chunks.aclose()
        finally:
            # A generator that never started has no `finally` to run, so the release is not left to it.
            if close is not None:
                await close()
