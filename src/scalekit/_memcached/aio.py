"""The asynchronous colour: every event loop has a home of its own, with its own connections.

A home is closed by :meth:`AsyncCommands.close`, and at the latest when its loop shuts down: asyncio closes
the asynchronous generators of a loop then, and each home has one that waits for it.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TypeVar

from scalekit._breaker import Breaker
from scalekit._memcached import errors, meta
from scalekit._memcached.commands import CommandSet, Replies
from scalekit._memcached.source import Server, Source
from scalekit._memcached.stream import Stream
from scalekit._memcached.wire import Reply
from scalekit._patience import Patience
from scalekit.errors import BackendError

T = TypeVar("T")

# What a process inherited by fork is kept, never closed: closing it would disturb the parent's event loop.
_inherited: list[object] = []


class AsyncCommands(CommandSet):
    """See :class:`scalekit._memcached.Commands`. Each method returns an awaitable."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._begin()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the connections of this event loop, and have the other running loops close theirs."""
        here = asyncio.get_running_loop()
        for home in list(self._homes.values()):
            if not self.forget(home):
                continue
            if home.loop is here:
                await home.leave()
            elif home.loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(home.leave(), home.loop))

    def forget(self, home: "Home") -> bool:
        """Drop ``home``; false if that has been done."""
        with self._lock:
            return self._homes.pop(home.loop, None) is home

    def forked(self) -> None:
        _inherited.append(self._homes)
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._homes: dict[asyncio.AbstractEventLoop, Home] = {}
        # What one event loop finds out about a server serves the others.
        limits = self._source.limits
        self._breakers = {server: limits.breaker() for server in self._source.servers}

    async def _ask(self, key: str, data: bytes, read: Callable[[str, Reply], T]) -> T:
        server = self._source.pick(key)
        return read(server.name, await self._home().peers[server].ask(data))

    async def _ask_all(self, parcels: Mapping[Server, Sequence[bytes]], read: Callable[[Replies], T]) -> T:
        peers = self._home().peers
        streams = [await peers[server].ready() for server in parcels]
        for server, stream in zip(parcels, streams, strict=True):
            if stream.closed:  # while we waited for the connection to another server
                raise errors.unavailable(server.name, errors.CLOSED)
        futures = [stream.send_all(parcel) for stream, parcel in zip(streams, parcels.values(), strict=True)]
        try:
            replies = [await future for future in futures]
        finally:
            for future in futures:
                # Of no use to anybody now. asyncio would log an error in it as never retrieved.
                if not future.cancel() and not future.cancelled():
                    future.exception()
        return read(dict(zip(parcels, replies, strict=True)))

    def _home(self) -> "Home":
        loop = asyncio.get_running_loop()
        home = self._homes.get(loop)
        if home is None:
            with self._lock:
                for other in [other for other in self._homes if other.is_closed()]:
                    del self._homes[other]
                home = self._homes[loop] = Home(self._breakers, self._source)
            home.watch(self)
        return home


class Home:
    """What one event loop has: a peer for each server."""

    def __init__(self, breakers: dict[Server, Breaker], source: Source) -> None:
        self.loop = asyncio.get_running_loop()
        self.peers = {server: Peer(server, breaker, source) for server, breaker in breakers.items()}
        self._guard: AsyncGenerator[None, None] | None = None

    def watch(self, owner: AsyncCommands) -> None:
        """Have the loop close this home when it shuts down."""
        self._guard = _until_shutdown(self, owner)
        with contextlib.suppress(StopIteration):
            self._guard.__anext__().send(None)  # runs to its yield, which registers it with the loop

    async def close(self) -> None:
        for peer in self.peers.values():
            await peer.close()

    async def leave(self) -> None:
        """Close by choice."""
        await self.close()
        if self._guard is not None:
            await self._guard.aclose()


async def _until_shutdown(home: Home, owner: AsyncCommands) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if owner.forget(home):  # after leave() there is nothing left to do
            await home.close()


class Peer:
    """One server, as one event loop sees it."""

    def __init__(self, server: Server, breaker: Breaker, source: Source) -> None:
        self._server, self._breaker, self._limits, self._tls = server, breaker, source.limits, source.tls
        self._stream: Stream | None = None
        self._opening: asyncio.Task[Stream] | None = None
        self._probing: asyncio.Task[None] | None = None

    async def ask(self, data: bytes) -> Reply:
        """Send a command and return its reply."""
        stream = self._usable()
        if stream is None:
            stream = await self._connect()
        return await stream.send(data)

    async def ready(self) -> Stream:
        """The connection, for what is sent at once."""
        return self._usable() or await self._connect()

    async def close(self) -> None:
        for task in (self._probing, self._opening):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        if self._stream is not None:
            self._stream.close()
            await asyncio.sleep(0)  # the transport closes its socket in the next turn

    def _usable(self) -> Stream | None:
        """The connection, if there is a sound one; refuses while the server is taken to be down."""
        if not self._breaker.allows() or (self._limits.spare_callers and self._probe()):
            raise errors.unavailable(self._server.name, errors.DOWN)
        stream = self._stream
        return stream if stream is not None and stream.sound() else None

    def _probe(self) -> bool:
        """Ask a question of our own, if we were let through to probe the server."""
        if not self._breaker.open:
            return False
        if self._probing is None:
            self._probing = asyncio.get_running_loop().create_task(self._knock())
        return True

    async def _knock(self) -> None:
        try:
            stream = self._stream if self._stream is not None and self._stream.sound() else None
            await (stream or await self._opened()).send(meta.NOOP)
        except BackendError:
            # Also if it hung up, which is no failure otherwise: or no other probe would be due for long.
            self._breaker.failed()
        finally:
            self._probing = None

    async def _connect(self) -> Stream:
        """The connection, for a caller, who waits no longer than a caller is to."""
        if not self._limits.spare_callers:
            return await self._opened()
        try:
            async with Patience(self._limits.connect_timeout):
                return await self._opened()
        except BackendError:
            raise
        except TimeoutError as error:
            self._breaker.failed()
            reason = f"no connection within {self._limits.connect_timeout:g} s"
            raise errors.unavailable(self._server.name, reason) from error

    async def _opened(self) -> Stream:
        """The connection that all wait for. Its task is nobody's own: who is cancelled harms no other."""
        opening = self._opening
        if opening is None:
            opening = self._opening = asyncio.get_running_loop().create_task(self._open())
        await asyncio.wait([opening])
        if opening.cancelled():
            raise errors.unavailable(self._server.name, errors.CLOSED)
        error = opening.exception()
        if error is None:
            return opening.result()
        if not isinstance(error, OSError):
            raise error
        limit = self._limits.connecting
        late = isinstance(error, TimeoutError)
        reason = f"no connection within {limit:g} s" if late else error
        raise errors.unavailable(self._server.name, reason) from error

    async def _open(self) -> Stream:
        try:
            async with Patience(self._limits.connecting):
                self._stream = await self._make()
            return self._stream
        except OSError:
            self._breaker.failed()
            raise
        finally:
            self._opening = None

    async def _make(self) -> Stream:
        def stream() -> Stream:
            return Stream(name=self._server.name, breaker=self._breaker, timeout=self._limits.timeout)

        loop, place = asyncio.get_running_loop(), self._server.place
        if isinstance(place, str):
            return (await loop.create_unix_connection(stream, place))[1]
        return (await loop.create_connection(stream, *place, ssl=self._tls))[1]
