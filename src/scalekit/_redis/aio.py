"""The asynchronous colour: every event loop has a home of its own, with its own connections.

A home is closed by :meth:`AsyncCommands.close`, and at the latest when its loop shuts down: asyncio closes
the asynchronous generators of a loop then, and each home has one that waits for it.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Any, Protocol

from redis.exceptions import RedisError

from scalekit._breaker import Breaker
from scalekit._redis import clients
from scalekit._redis.cluster import Router
from scalekit._redis.coalesce import Coalescer, PoolConnections
from scalekit._redis.follow import MasterConnections
from scalekit._redis.lane import Call
from scalekit._redis.script import Confirm, Request, Script
from scalekit._redis.wire import Argument, pack
from scalekit.errors import BackendError

_LANES = 2

# What a process inherited by fork is kept, never closed: closing it would disturb the parent's event loop.
_inherited: list[object] = []


class _Dispatcher(Protocol):
    """A Coalescer, or a Cluster's Router."""

    def submit(self, call: Call) -> None: ...

    async def close(self) -> None: ...


class _Home:
    """What one event loop has: what gathers its commands, and the pools (a Router has its own)."""

    def __init__(self, dispatcher: _Dispatcher, pools: Sequence[Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.submit = dispatcher.submit
        self._dispatcher = dispatcher
        self._pools = pools
        self._router = dispatcher if isinstance(dispatcher, Router) else None
        self._guard: AsyncGenerator[None, None] | None = None

    def elsewhere(self, keys: Sequence[str]) -> Collection[str]:
        return self._router.elsewhere(keys) if self._router is not None else ()

    def watch(self, owner: "AsyncCommands") -> None:
        """Have the loop close this home when it shuts down."""
        self._guard = _until_shutdown(self, owner)
        with contextlib.suppress(StopIteration):
            self._guard.__anext__().send(None)  # runs to its yield, which registers it with the loop

    async def close(self) -> None:
        await self._dispatcher.close()
        for pool in self._pools:
            await pool.disconnect()

    async def leave(self) -> None:
        """Close by choice."""
        await self.close()
        if self._guard is not None:
            await self._guard.aclose()


async def _until_shutdown(home: _Home, owner: "AsyncCommands") -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        # After leave() there is nothing left to do.
        if owner.forget(home):
            await home.close()


class AsyncCommands:
    """See :class:`scalekit._redis.Commands`. Each method returns an awaitable."""

    def __init__(self, source: clients.Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._homes: dict[asyncio.AbstractEventLoop, _Home] = {}
        self._last: _Home | None = None  # the home of the loop that asked last: mostly there is one
        self._breakers: dict[str, Breaker] = {}

    def execute(self, *args: Argument) -> "asyncio.Future[Any]":
        return self._submit(args)

    def script(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument] = ()
    ) -> "asyncio.Future[Any]":
        return self._submit(("EVALSHA", script.sha, len(keys), *keys, *args), script.source)

    def confirmed(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument], confirm: Confirm
    ) -> "asyncio.Future[Any]":
        return self._submit(("EVALSHA", script.sha, len(keys), *keys, *args), script.source, confirm.packed)

    def _submit(
        self, args: tuple[Argument, ...], source: str | None = None, tail: bytes = b""
    ) -> "asyncio.Future[Any]":
        data = pack(args)
        loop = asyncio.get_running_loop()
        home = self._last
        if home is None or home.loop is not loop:
            home = self._home(loop)
        future = loop.create_future()
        home.submit(Call(args, data, future, source=source, tail=tail))
        return future

    async def pipeline(self, requests: Sequence[Request]) -> list[Any]:
        futures = [self._submit(*request) for request in requests]
        failure: Exception | None = None
        replies = []
        try:
            for future in futures:
                try:
                    replies.append(await future)
                except (BackendError, RedisError) as error:
                    replies.append(None)
                    failure = failure or error
        finally:
            for future in futures[len(replies) :]:
                # Nobody awaits it: asyncio would log an error in it as never retrieved.
                if not future.cancel() and not future.cancelled():
                    future.exception()
        if failure is not None:
            raise failure
        return replies

    def elsewhere(self, keys: Sequence[str]) -> Collection[str]:
        home = self._homes.get(asyncio.get_running_loop())
        return home.elsewhere(keys) if home is not None else ()

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

    def forget(self, home: _Home) -> bool:
        """Drop ``home``; false if that has been done."""
        with self._lock:
            if self._last is home:
                self._last = None
            return self._homes.pop(home.loop, None) is home

    def forked(self) -> None:
        _inherited.append(self._homes)
        self._lock = threading.Lock()
        self._homes, self._last, self._breakers = {}, None, {}

    def _home(self, loop: asyncio.AbstractEventLoop) -> _Home:
        with self._lock:
            home = self._homes.get(loop)
            if home is None:
                for other in [other for other in self._homes if other.is_closed()]:
                    del self._homes[other]
                home = self._homes[loop] = self._make()
                home.watch(self)
            self._last = home
        return home

    def _make(self) -> _Home:
        limits = self._source.limits
        lanes = min(_LANES, limits.max_connections or _LANES)
        if self._source.cluster:
            return _Home(Router(self._source, self._breaker, lanes=lanes), ())
        pool = self._source.pool("async")
        sentinels = clients.sentinels_of(pool)
        # A Sentinel that hangs costs as much before the next one is asked.
        patience = limits.connect_timeout * (1 + 2 * len(sentinels))
        coalescer = Coalescer(
            MasterConnections(pool) if sentinels else PoolConnections(pool),
            backend=self._source.name,
            breaker=self._breaker(self._source.name),
            lanes=lanes,
            connect_timeout=patience if not limits.spare_callers else limits.connect_timeout,
            connecting=limits.connecting * (1 + 2 * len(sentinels)) if limits.spare_callers else None,
            timeout=limits.timeout,
        )
        return _Home(coalescer, (pool, *sentinels))

    def _breaker(self, backend: str) -> Breaker:
        """The breaker of one server: what one event loop finds out serves the others."""
        return self._breakers.setdefault(backend, self._source.limits.breaker())
