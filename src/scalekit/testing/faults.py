"""``FaultyStorage``: a storage that fails when you say so, for tests of code that stores and reads.

::

    storage = FaultyStorage(MemoryStorage())
    storage.fail("put")                          # the next write fails, and nothing is stored
    storage.fail("put", after=True)              # it is stored, but the answer is lost
    storage.cut("open", after=1000, key="a.txt") # reading a.txt breaks off after 1,000 bytes
    held = storage.hold("stat")                  # the next look-up waits
    await held.reached()                         # ... until it has come
    held.release()                               # ... and is let go
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import aclosing
from datetime import datetime
from typing import Any, TypeVar

from scalekit._options import check_count
from scalekit.errors import BackendUnavailable, ConfigurationError
from scalekit.storage import Checksum, Leftover, Opened, SignedURL, Source, Storage, Stored

T = TypeVar("T")

_METHODS = ("put", "open", "stat", "delete", "list", "compose", "copy", "url", "signed_url")


class Fault:
    """A planned fault, or a hold. Usable from any thread and event loop."""

    def __init__(
        self,
        method: str,
        *,
        key: str | None,
        times: int | None,
        error: BaseException | None = None,
        after: bool = False,
        cut: int | None = None,
    ) -> None:
        if method not in _METHODS:
            raise ConfigurationError(
                f"{method!r:.40} is no method of a storage; give one of {', '.join(_METHODS)}"
            )
        self.method, self.key, self.left = method, key, times
        self.error, self.after, self.cut = error, after, cut
        self.hits = 0
        """How many calls it has met."""
        self._reached: Future[None] = Future()
        self._released: Future[None] = Future()

    async def reached(self) -> None:
        """Wait until a call has met this."""
        await asyncio.shield(asyncio.wrap_future(self._reached))

    def wait_reached(self, timeout: float = 30.0) -> None:
        """The same for synchronous code; ``timeout`` in seconds.

        Raises:
            TimeoutError: no call came.
        """
        self._reached.result(timeout)

    def release(self) -> None:
        """Let those who are held go on, and hold nobody any more."""
        if not self._released.done():
            self._released.set_result(None)

    def stop(self) -> None:
        """Meet no further call."""
        self.left = 0

    def _meets(self, method: str, key: str) -> bool:
        if method != self.method or self.key not in (None, key) or self.left == 0:
            return False
        self.left = None if self.left is None else self.left - 1
        self.hits += 1
        if not self._reached.done():
            self._reached.set_result(None)
        return True

    async def _hold(self) -> None:
        await asyncio.shield(asyncio.wrap_future(self._released))


class FaultyStorage(Storage):
    """Any storage, with faults at the calls that a test chooses; what is not chosen works as ever.

    ``method`` is ``"put"``, ``"open"``, ``"stat"``, ``"delete"``, ``"list"`` (its key is the prefix),
    ``"compose"``, ``"copy"``, ``"url"`` or ``"signed_url"``. ``key`` is the one key to meet, any by default.
    ``times`` is how many calls are met, one by default, ``None`` for all. ``error`` is raised as it is given,
    a :class:`~scalekit.errors.BackendUnavailable` by default.

    Args:
        storage: the one that works.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.base_url = storage.base_url
        self.calls: list[tuple[str, str]] = []
        """Every call, as method and key, in order."""
        self._faults: list[Fault] = []

    def fail(
        self,
        method: str,
        *,
        key: str | None = None,
        error: BaseException | None = None,
        after: bool = False,
        times: int | None = 1,
    ) -> Fault:
        """Let a call fail, before it does anything.

        Args:
            after: let it fail once it is done, as if its answer was lost.
        """
        return self._add(Fault(method, key=key, times=times, error=error or _default(), after=after))

    def cut(
        self,
        method: str,
        *,
        after: int,
        key: str | None = None,
        error: BaseException | None = None,
        times: int | None = 1,
    ) -> Fault:
        """Let reading (``"open"``), writing (``"put"``) or listing (``"list"``) fail half-way.

        Args:
            after: how many bytes come through first; of a listing, how many objects. What is no longer than
                that comes whole.
        """
        if method not in ("open", "put", "list"):
            raise ConfigurationError(
                f"{method!r:.40} cannot be cut; only 'open', 'put' and 'list' take their time"
            )
        check_count(after, option="after=", least=0, cure="it counts bytes, of a listing objects")
        return self._add(Fault(method, key=key, times=times, error=error or _default(), cut=after))

    def hold(self, method: str, *, key: str | None = None, times: int | None = 1) -> Fault:
        """Let a call wait, before it does anything, until :meth:`Fault.release`."""
        return self._add(Fault(method, key=key, times=times))

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    async def _begin(self, method: str, key: str) -> list[Fault]:
        """The faults that the call meets; those that come before it are done."""
        self.calls.append((method, key))
        met = [fault for fault in self._faults if fault._meets(method, key)]
        for fault in met:
            if fault.error is None:
                await fault._hold()
            elif not fault.after and fault.cut is None:
                raise fault.error
        return met

    async def _call(self, method: str, key: str, call: Callable[[], Awaitable[T]]) -> T:
        return _end(await self._begin(method, key), await call())

    async def put(
        self,
        key: str,
        source: Source,
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        size: int | None = None,
        checksum: Checksum | None = None,
        filename: str | None = None,
    ) -> Stored:
        met = await self._begin("put", key)
        for fault in met:
            if fault.cut is not None:
                source = _cut_bytes(_stream(source), fault)
        stored = await self.storage.put(
            key,
            source,
            content_type=content_type,
            overwrite=overwrite,
            size=size,
            checksum=checksum,
            filename=filename,
        )
        return _end(met, stored)

    async def open(self, key: str, *, offset: int = 0, length: int | None = None) -> Opened | None:
        met = await self._begin("open", key)
        opened = await self.storage.open(key, offset=offset, length=length)
        if opened is not None and any(fault.after for fault in met):
            await opened.aclose()
        _end(met, opened)
        if opened is None:
            return None
        chunks = _stream(opened)
        for fault in met:
            if fault.cut is not None:
                chunks = _cut_bytes(chunks, fault)
        return Opened(opened.stored, chunks, close=opened.aclose)

    async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        met = await self._begin("list", prefix)
        limits = [(fault.cut, fault) for fault in met if fault.cut is not None]
        count = 0
        async with aclosing(self.storage.list(prefix)) as entries:
            async for stored in entries:
                for limit, fault in limits:
                    if count >= limit:
                        assert fault.error is not None
                        raise fault.error
                count += 1
                yield stored
        _end(met, None)

    async def stat(self, key: str) -> Stored | None:
        return await self._call("stat", key, lambda: self.storage.stat(key))

    async def delete(self, key: str) -> None:
        await self._call("delete", key, lambda: self.storage.delete(key))

    async def compose(
        self,
        key: str,
        sources: Sequence[str],
        *,
        content_type: str | None = None,
        overwrite: bool = False,
        filename: str | None = None,
    ) -> Stored:
        return await self._call(
            "compose",
            key,
            lambda: self.storage.compose(
                key, sources, content_type=content_type, overwrite=overwrite, filename=filename
            ),
        )

    async def copy(
        self, source: str, key: str, *, overwrite: bool = False, etag: str | None = None
    ) -> Stored:
        return await self._call(
            "copy", key, lambda: self.storage.copy(source, key, overwrite=overwrite, etag=etag)
        )

    async def url(self, key: str) -> str:
        return await self._call("url", key, lambda: self.storage.url(key))

    async def signed_url(self, key: str, *, filename: str | None = None) -> SignedURL | None:
        return await self._call("signed_url", key, lambda: self.storage.signed_url(key, filename=filename))

    @property
    def location(self) -> str | None:
        return self.storage.location

    def strays(self, prefix: str = "") -> AsyncGenerator[tuple[str, str], None]:
        return self.storage.strays(prefix)

    def leftovers(self, before: datetime, prefix: str = "") -> AsyncGenerator[Leftover, None]:
        return self.storage.leftovers(before, prefix)

    async def aclose(self) -> None:
        await self.storage.aclose()


def _default() -> BackendUnavailable:
    return BackendUnavailable("FaultyStorage was told to fail", backend="faulty")


def _end(met: list[Fault], result: T) -> T:
    for fault in met:
        if fault.after and fault.error is not None:
            raise fault.error
    return result


async def _stream(source: Source) -> AsyncGenerator[Any, None]:
    if isinstance(source, AsyncIterable):
        async for chunk in source:
            yield chunk
    else:
        yield source


async def _cut_bytes(chunks: AsyncGenerator[Any, None], fault: Fault) -> AsyncGenerator[Any, None]:
    assert fault.cut is not None
    assert fault.error is not None
    left = fault.cut
    async with aclosing(chunks):
        async for chunk in chunks:
            if len(chunk) > left:
                if left:
                    yield chunk[:left]
                raise fault.error
            left -= len(chunk)
            yield chunk
