"""A storage for synchronous code: the same calls, answered by one event loop in a thread of its own."""

import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar, Unpack, cast

import anyio.to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from scalekit._http import request_headers
from scalekit.errors import MalformedUpload
from scalekit.storage._contract import Chunk, Opened, Source, Storage, Stored
from scalekit.types import Environ, Message, Receive, Scope

if TYPE_CHECKING:
    from scalekit.storage.forms import Form, FormOptions

T = TypeVar("T")

SyncSource: TypeAlias = Chunk | Iterable[Chunk]
"""Bytes at hand, or an iterable of them, such as ``iter(partial(file.read, 65536), b"")``."""

_CHUNK = 64 * 1024
_INHERITED: list[ExitStack] = []


class SyncStorage:
    """Synchronous twin of a :class:`~scalekit.storage.Storage`; ``storage.sync()`` makes it.

    Any number of threads may use it at once. The event loop starts with the first call, anew in a forked
    process, and ends with :meth:`close` or with the program.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._pid = 0

    def put(
        self,
        key: str,
        source: SyncSource,
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        size: int | None = None,
    ) -> Stored:
        """See :meth:`scalekit.storage.Storage.put`. An iterable is read in another thread."""
        given: Source
        if isinstance(source, bytes | bytearray | memoryview):
            given = cast(Source, source)
        else:
            given = _in_threads(source)
        return self._run(
            lambda: self.storage.put(key, given, content_type=content_type, overwrite=overwrite, size=size)
        )

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
        entries = self.storage.list(prefix)
        try:
            while (entry := self._run(lambda: anext(entries, None))) is not None:
                yield entry
        finally:
            self._run(entries.aclose)

    def public_url(self, key: str) -> str:
        """See :meth:`scalekit.storage.Storage.public_url`."""
        return self.storage.public_url(key)

    def url(self, key: str) -> str:
        """See :meth:`scalekit.storage.Storage.url`."""
        return self._run(lambda: self.storage.url(key))

    def form(self, environ: Environ, **options: Unpack["FormOptions"]) -> AbstractContextManager["Form"]:
        """The form of a WSGI request, its files stored: see :func:`scalekit.storage.forms.stream_form`."""
        from scalekit.storage.forms import stream_form

        request = _as_asgi(environ)
        return self._started().wrap_async_context_manager(stream_form(request, self.storage, **options))

    def close(self) -> None:
        """Close the storage's connections and end the thread. The next call would start another."""
        if self._portal is not None and self._pid == os.getpid():
            self._run(self.storage.aclose)
            self._portal = None
            self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Callable[[], Awaitable[T]]) -> T:
        async def answer() -> T:
            return await call()

        return self._started().call(answer)

    def _started(self) -> BlockingPortal:
        if self._portal is None or self._pid != os.getpid():
            with self._lock:
                if self._portal is None or self._pid != os.getpid():
                    if self._portal is not None:
                        # A fork copies the portal but not its thread. Closing it would wait for that thread,
                        # and so would the garbage collector: it is kept.
                        _INHERITED.append(self._stack)
                    self._stack = ExitStack()
                    self._portal = self._stack.enter_context(start_blocking_portal(name="scalekit-storage"))
                    self._pid = os.getpid()
        return self._portal


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


async def _in_threads(chunks: Iterable[Chunk]) -> AsyncGenerator[Chunk, None]:
    iterator = iter(chunks)
    while (chunk := await anyio.to_thread.run_sync(next, iterator, None)) is not None:
        yield chunk


def _as_asgi(environ: Environ) -> tuple[Scope, Receive]:
    body = environ["wsgi.input"]
    length = environ.get("CONTENT_LENGTH") or ""
    if length and not length.isdecimal():
        raise MalformedUpload(f"Content-Length {length!r:.40} is no number")
    # Without a length only a server that says so can be read to the end; another one would wait for ever.
    remaining: float = (
        int(length) if length else (float("inf") if environ.get("wsgi.input_terminated") else 0)
    )

    async def receive() -> Message:
        nonlocal remaining
        chunk = b""
        if remaining:
            chunk = await anyio.to_thread.run_sync(body.read, int(min(_CHUNK, remaining)))
            remaining = remaining - len(chunk) if chunk else 0
        return {"type": "http.request", "body": chunk, "more_body": remaining > 0}

    scope: Scope = {"type": "http", "method": environ["REQUEST_METHOD"], "headers": request_headers(environ)}
    return scope, receive
