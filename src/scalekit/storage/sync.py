"""A storage for synchronous code: the same calls, answered by one event loop in a thread of its own."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, Unpack, cast

from scalekit.metrics import Metric
from scalekit.storage._contract import Storage
from scalekit.storage._loop_thread import Caller, LoopThread
from scalekit.storage._values import Chunk, Opened, SignedURL, Source, Stored
from scalekit.storage._wsgi_request import WSGIRequest, as_asgi, environ_of
from scalekit.storage.checksums import Checksum

if TYPE_CHECKING:
    from scalekit.storage.forms import Form, FormOptions

T = TypeVar("T")

SyncSource: TypeAlias = Chunk | Iterable[Chunk]
"""Bytes at hand, a file that is open for reading them, or an iterable of them."""

_CHUNK = 64 * 1024
_END: Any = object()


class SyncStorage:
    """Synchronous twin of a :class:`~scalekit.storage.Storage`; ``storage.sync()`` makes it.

    Any number of threads may use it at once, also within an iterable that another call reads. The event loop
    starts with the first call, anew in a forked process, and ends with :meth:`close` or with the program.
    Once the main thread has ended Python starts no worker any more: let it wait for threads that still store.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._threads: dict[int, LoopThread] = {}

    def put(
        self,
        key: str,
        source: SyncSource,
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        size: int | None = None,
        checksum: Checksum | None = None,
        filename: str | None = None,
    ) -> Stored:
        """See :meth:`scalekit.storage.Storage.put`. A file or an iterable is read in the calling thread."""

        async def put(caller: Caller) -> Stored:
            given: Source
            if isinstance(source, bytes | bytearray | memoryview):
                given = cast(Source, source)
            else:
                given = _chunks_of(source, caller)
            return await self.storage.put(
                key,
                given,
                content_type=content_type,
                overwrite=overwrite,
                size=size,
                checksum=checksum,
                filename=filename,
            )

        return self.call(put)

    def open(self, key: str, *, offset: int = 0, length: int | None = None) -> "SyncOpened | None":
        """See :meth:`scalekit.storage.Storage.open`."""
        opened = self._run(lambda: self.storage.open(key, offset=offset, length=length))
        return None if opened is None else SyncOpened(self, opened)

    def read(self, key: str) -> bytes | None:
        """The whole object in memory, or ``None`` if there is none."""
        return self._run(lambda: self.storage.read(key))

    def stat(self, key: str) -> Stored | None:
        """See :meth:`scalekit.storage.Storage.stat`."""
        return self._run(lambda: self.storage.stat(key))

    def delete(self, key: str) -> None:
        """See :meth:`scalekit.storage.Storage.delete`."""
        self._run(lambda: self.storage.delete(key))

    def list(self, prefix: str = "") -> Generator[Stored, None, None]:
        """See :meth:`scalekit.storage.Storage.list`."""
        # Left in the middle, it is closed by the loop. A `finally` that waits for that would run wherever the
        # garbage collector does, and in the loop's own thread wait for ever.
        entries = self.storage.list(prefix)
        while (entry := self._run(lambda: anext(entries, None))) is not None:
            yield entry

    def compose(
        self,
        key: str,
        sources: Sequence[str],
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        filename: str | None = None,
    ) -> Stored:
        """See :meth:`scalekit.storage.Storage.compose`."""
        return self._run(
            lambda: self.storage.compose(
                key, sources, content_type=content_type, overwrite=overwrite, filename=filename
            )
        )

    def copy(self, source: str, key: str, *, overwrite: bool = False, etag: str | None = None) -> Stored:
        """See :meth:`scalekit.storage.Storage.copy`."""
        return self._run(lambda: self.storage.copy(source, key, overwrite=overwrite, etag=etag))

    def scoped(self, prefix: str) -> "SyncStorage":
        """See :meth:`scalekit.storage.Storage.scoped`."""
        return SyncStorage(self.storage.scoped(prefix))

    def public_url(self, key: str) -> str:
        """See :meth:`scalekit.storage.Storage.public_url`."""
        return self.storage.public_url(key)

    def url(self, key: str) -> str:
        """See :meth:`scalekit.storage.Storage.url`."""
        return self._run(lambda: self.storage.url(key))

    def signed_url(self, key: str, *, filename: str | None = None) -> SignedURL | None:
        """See :meth:`scalekit.storage.Storage.signed_url`."""
        return self._run(lambda: self.storage.signed_url(key, filename=filename))

    @contextmanager
    def form(self, request: WSGIRequest, **options: Unpack["FormOptions"]) -> Generator["Form", None, None]:
        """The form of a WSGI request, its files stored: see :func:`scalekit.storage.forms.stream_form`.

        Args:
            request: Flask's or Django's request, or any WSGI environment; its body was not read yet.
        """
        from scalekit.storage.forms import stream_form

        environ = environ_of(request)

        async def enter(caller: Caller) -> tuple[AbstractAsyncContextManager["Form"], "Form"]:
            manager = stream_form(as_asgi(environ, caller), self.storage, **options)
            return manager, await manager.__aenter__()

        manager, form = self.call(enter)
        try:
            yield form
        except BaseException as error:
            self._run(partial(manager.__aexit__, type(error), error, error.__traceback__))
            raise
        self._run(partial(manager.__aexit__, None, None, None))

    def metrics(self) -> Iterable[Metric]:
        """See :meth:`scalekit.storage.Storage.metrics`."""
        return self.storage.metrics()

    def close(self) -> None:
        """Close the storage's connections and end the thread. The next call would start another."""
        thread = self._thread()
        if thread.running:
            self._run(self.storage.aclose)
            thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def call(self, function: Callable[[Caller], Awaitable[T]]) -> T:
        """What ``function`` answers in the event loop. By what it is given, it can have work done here."""
        return self._thread().run(function)

    def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        return self.call(lambda _: call())

    def _thread(self) -> LoopThread:
        # By process, and never dropped: a fork copies the loop but not its thread, and perhaps a lock that
        # nobody will let go of; and closing the copy would unregister sockets of the original.
        pid = os.getpid()
        return self._threads.get(pid) or self._threads.setdefault(pid, LoopThread("scalekit-storage"))


class SyncOpened(Iterator[bytes]):
    """An object being read: ``with opened: for chunk in opened: ...``. It can be returned from a WSGI app."""

    def __init__(self, storage: SyncStorage, opened: Opened) -> None:
        self.stored = opened.stored
        self._storage, self._opened = storage, opened

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self._storage._run(lambda: anext(aiter(self._opened), None))
        if chunk is None:
            raise StopIteration
        return chunk

    def read(self) -> bytes:
        """All that is left, in memory."""
        return self._storage._run(self._opened.read)

    def close(self) -> None:
        """Let go of the file or connection. WSGI servers call it on what they iterate over."""
        self._storage._run(self._opened.aclose)


async def _chunks_of(source: Iterable[Chunk], caller: Caller) -> AsyncGenerator[Chunk, None]:
    file: Any = source
    if hasattr(file, "readline"):
        # A file is iterated over by lines, and what has no line feeds would be in memory at once.
        source = iter(partial(file.read, _CHUNK), b"")
    chunks = await caller.do(iter, source)
    chunk: Any
    while (chunk := await caller.do(next, chunks, _END)) is not _END:
        yield chunk
