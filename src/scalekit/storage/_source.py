"""From a source to the pieces that a storage writes, in bounded memory whatever arrives.

Rules:

* Nothing is read ahead: the next chunk is asked for only when a piece has room, or to learn whether a full
  piece was the last.
* Chunks are kept as they came, not copied, except small ones: a million one-byte chunks would weigh 40 times
  their content.
* A source that fails, or has another length than promised, ends in an exception, never in a short last piece.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

from scalekit.errors import ChecksumMismatch, FileTooLarge, MalformedUpload
from scalekit.storage._shield import in_thread
from scalekit.storage._values import Chunk, Source
from scalekit.storage.checksums import Checksum, Hasher, hasher

_SMALL = 16 * 1024
_BLOCK = 64 * 1024


class Body:
    """A piece of an object: its chunks, readable as a file and as an asynchronous iterable.

    S3 clients read it twice: as a file when they sign it, chunk by chunk when they send it, and both again
    when they retry; every iteration starts at the beginning.
    """

    def __init__(self, on_progress: Callable[[], None] | None = None) -> None:
        self.size = 0
        self.on_progress = on_progress
        self.exhausted = False
        """The last byte has been handed out for sending, so the receiver may have all of it."""
        self.sha256: str | None = None
        """In hexadecimal digits, once it was computed: see :mod:`scalekit.storage._s3_digests`."""
        self._chunks: list[Chunk] = []
        self._tail: bytearray | None = None
        self._next = 0
        self._stopped = False

    def append(self, chunk: Chunk) -> None:
        """Add a chunk, which must not change afterwards."""
        self.size += len(chunk)
        if len(chunk) >= _SMALL:
            self._tail = None
            self._chunks.append(chunk)
        elif self._tail is not None and len(self._tail) < _BLOCK:
            self._tail += chunk
        else:
            self._tail = bytearray(chunk)
            self._chunks.append(self._tail)

    @property
    def chunks(self) -> list[Chunk]:
        return self._chunks

    def join(self) -> bytes:
        """The content in one piece."""
        return bytes(self._chunks[0]) if len(self._chunks) == 1 else b"".join(self._chunks)

    def stop(self) -> bool:
        """Hand out nothing more, so that the receiver never has all of it. False if that is too late."""
        self._stopped = not self.exhausted
        return self._stopped

    def clear(self) -> None:
        """Let go of the content."""
        self._chunks, self._tail = [], None

    def __len__(self) -> int:
        return self.size

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self._send()

    async def _send(self) -> AsyncGenerator[Chunk, None]:
        last = len(self._chunks) - 1
        for position, chunk in enumerate(self._chunks):
            if self._stopped:
                raise ConnectionAbortedError("the upload was cancelled")
            if position == last:
                self.exhausted = True
            if self.on_progress is not None:
                self.on_progress()
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """The next bytes: all that are left, or with a ``size`` the next chunk, which is fine for hashing."""
        if size < 0:
            rest = b"".join(self._chunks[self._next :])
            self._next = len(self._chunks)
            return rest
        if self._next == len(self._chunks):
            return b""
        chunk = self._chunks[self._next]
        self._next += 1
        return bytes(chunk)

    def tell(self) -> int:
        return sum(len(chunk) for chunk in self._chunks[: self._next])

    def seek(self, offset: int, whence: int = 0) -> int:
        """To the beginning or to the end, which is all that signing and retrying ask for."""
        if (offset, whence) == (0, 0):
            self._next = 0
        elif (offset, whence) == (0, 2):
            self._next = len(self._chunks)
        else:
            raise ValueError("this body seeks to its beginning and to its end only")
        return self.tell()


async def _chunks(source: Source) -> AsyncGenerator[Chunk, None]:
    if isinstance(source, AsyncIterable):
        async for chunk in source:
            if not isinstance(chunk, (bytes, bytearray, memoryview)):  # a caller without a type checker
                raise TypeError(f"a source yields bytes, not {type(chunk).__name__}")
            if len(chunk):
                yield _frozen(chunk)
    elif not isinstance(source, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"a source is bytes or an asynchronous iterable of them, not {type(source).__name__}; text is "
            "encoded first, and an open file goes through storage.sync().put(...), in a thread"
        )
    elif len(source):
        yield _frozen(source)


def _frozen(chunk: Chunk) -> Chunk:
    # A buffer that its owner may fill again while we still hold it is copied; bytes are not.
    if isinstance(chunk, bytes):
        return chunk
    view = memoryview(chunk)
    return view.cast("B") if view.readonly and view.contiguous else bytes(view)


async def cut(
    source: Source,
    piece_size: int,
    *,
    size: int | None = None,
    checksum: Checksum | None = None,
    taken: Callable[[int], Awaitable[None]] | None = None,
) -> AsyncGenerator[tuple[Body, bool], None]:
    """``source`` in pieces of exactly ``piece_size`` bytes, the last one shorter; each with "more follow".

    At least one piece comes, empty if the source is. ``taken`` is awaited with the size of every chunk before
    the next one is asked for.

    Raises:
        MalformedUpload: the source is longer or shorter than ``size``; the last piece is not yielded then.
        ChecksumMismatch: it does not have this ``checksum``; nor then.
    """
    if checksum is None:
        async with aclosing(_cut(source, piece_size, size, taken)) as pieces:
            async for piece in pieces:
                yield piece
        return
    running = hasher(checksum.algorithm)
    async with aclosing(_cut(source, piece_size, size, taken)) as pieces:
        async for body, more in pieces:
            if body.size <= _BLOCK:
                _hash(running, body)
            else:  # it takes milliseconds, which are other requests' as well
                (await in_thread(_hash, running, body)).unwrap()
            if not more and (found := Checksum(checksum.algorithm, running.digest())) != checksum:
                raise ChecksumMismatch(expected=str(checksum), found=str(found))
            yield body, more


def _hash(running: Hasher, body: Body) -> None:
    for chunk in body.chunks:
        running.update(chunk)


async def _cut(
    source: Source, piece_size: int, size: int | None, taken: Callable[[int], Awaitable[None]] | None
) -> AsyncGenerator[tuple[Body, bool], None]:
    body, total = Body(), 0
    async with aclosing(_chunks(source)) as chunks:
        async for chunk in chunks:
            total += len(chunk)
            if taken is not None:
                await taken(len(chunk))
            if size is not None and total > size:
                raise MalformedUpload(f"the body is longer than the {size} bytes that were declared")
            view = chunk
            while len(view):
                if body.size == piece_size:
                    yield body, True
                    body = Body()
                room = piece_size - body.size
                if len(view) <= room:
                    body.append(view)
                    break
                view = memoryview(view)
                body.append(view[:room])
                view = view[room:]
    if size is not None and total != size:
        raise MalformedUpload(f"the body ended after {total} of the {size} bytes that were declared")
    yield body, False


async def limited(
    data: AsyncIterator[Chunk], limit: int, what: str, *, received: int = 0
) -> AsyncGenerator[Chunk, None]:
    """``data``, as long as it has no more than ``limit`` bytes together with those ``received`` before.

    Raises:
        FileTooLarge: it has more.
    """
    async for chunk in data:
        received += len(chunk)
        if received > limit:
            raise FileTooLarge(limit=limit, received=received, what=what)
        yield chunk


async def first_chunks(content: AsyncIterator[Chunk], size: int) -> list[Chunk]:
    """The chunks up to and with the one in which ``size`` bytes are reached, or all."""
    chunks: list[Chunk] = []
    while sum(len(chunk) for chunk in chunks) < size:
        chunk = await anext(content, None)
        if chunk is None:
            break
        chunks.append(chunk)
    return chunks


async def chained(first: list[Chunk], rest: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk, None]:
    """``first``, which is emptied on the way, and then ``rest``."""
    while first:
        yield first.pop(0)
    async for chunk in rest:
        yield chunk
