"""The synchronous colour: threads that share a pool and wait for their turn.

At most ``max_connections`` commands are on their way at a time. A thread beyond that waits for ``timeout`` at
most; redis-py's pool would raise.
"""

import contextlib
import queue
import threading
import weakref
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from redis.exceptions import NoScriptError

from scalekit._breaker import Breaker
from scalekit._redis import clients, errors
from scalekit._redis.cluster_sync import SyncRouter, disconnect
from scalekit._redis.exchange import Trip, exchange
from scalekit._redis.follow import MasterPool
from scalekit._redis.kept import KeptConnections
from scalekit._redis.script import Confirm, Request, Script
from scalekit._redis.wire import Argument, pack


class SyncCommands:
    """See :class:`scalekit._redis.Commands`. Each method returns a value."""

    def __init__(self, source: clients.Source) -> None:
        self._source = source
        self._reset()

    def _reset(self) -> None:
        limits = self._source.limits
        self._lock = threading.Lock()
        self._pool: Any = None
        self._closing: weakref.finalize[..., Any] | None = None
        self._router: SyncRouter | None = None
        self._breakers: dict[str, Breaker] = {}
        self._breaker = self._breaker_of(self._source.name)
        self._turns = _turns(limits.max_connections) if limits.max_connections is not None else None

    def execute(self, *args: Argument) -> Any:
        return self._execute(args)

    def confirmed(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument], confirm: Confirm
    ) -> Any:
        try:
            return self._execute(("EVALSHA", script.sha, len(keys), *keys, *args), confirm.packed)
        except NoScriptError:  # see script()
            return self._execute(("EVAL", script.source, len(keys), *keys, *args), confirm.packed)

    def _execute(self, args: tuple[Argument, ...], tail: bytes = b"") -> Any:
        """The reply to a command; with ``tail``, one that goes right behind it, the replies to both."""
        data = pack(args)
        with self._turn():
            router, pool = self._open()
            if router is not None:
                return router.execute(args, data, tail)
            return exchange(
                pool,
                data,
                tail,
                backend=self._source.name,
                breaker=self._breaker,
                timeout=self._source.limits.timeout,
                spare_callers=self._source.limits.spare_callers,
            )

    def script(self, script: Script, keys: Sequence[str | bytes], args: Sequence[Argument] = ()) -> Any:
        try:
            return self.execute("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:  # after a restart, a failover or SCRIPT FLUSH; nothing has run
            return self.execute("EVAL", script.source, len(keys), *keys, *args)

    def pipeline(self, requests: Sequence[Request]) -> list[Any]:
        outcomes = self._send([request.args for request in requests])
        unknown = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, NoScriptError)]
        if unknown:  # after a restart, a failover or SCRIPT FLUSH; they have not run
            again = self._send([requests[at].in_full() for at in unknown])
            for at, outcome in zip(unknown, again, strict=True):
                outcomes[at] = outcome
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return outcomes

    def _send(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        """The replies to ``commands`` in their order, and errors among them."""
        packed = [pack(args) for args in commands]
        with self._turn():
            router, pool = self._open()
            if router is not None:
                return router.execute_all(commands, packed)
            return Trip(
                pool,
                b"".join(packed),
                backend=self._source.name,
                breaker=self._breaker,
                timeout=self._source.limits.timeout,
                spare_callers=self._source.limits.spare_callers,
            ).replies(len(packed))

    def elsewhere(self, keys: Sequence[str]) -> Collection[str]:
        router = self._router
        return router.elsewhere(keys) if router is not None else ()

    def close(self) -> None:
        with self._lock:
            self._pool = None
            closing, self._closing = self._closing, None
            router, self._router = self._router, None
        if router is not None:
            router.close()
        if closing is not None:
            closing()

    def _breaker_of(self, backend: str) -> Breaker:
        return self._breakers.setdefault(backend, self._source.limits.breaker())

    def forked(self) -> None:
        # Dropped and not closed: their locks may be another thread's of the parent. The parent's sockets stay
        # open, as a redis-py connection that was made by another process closes no more than its own file.
        if self._closing is not None:
            self._closing.detach()
        if self._router is not None:
            self._router.forked()
        self._reset()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if self._turns is None:
            yield
            return
        try:
            self._turns.get(timeout=self._source.limits.timeout)
        except queue.Empty:
            limits = self._source.limits
            raise errors.unavailable(
                self._source.name,
                f"all {limits.max_connections} connections stayed in use for {limits.timeout:g} s; "
                "raise max_connections or use fewer threads",
            ) from None
        try:
            yield
        finally:
            self._turns.put(None)

    def _open(self) -> tuple[SyncRouter | None, Any]:
        router, pool = self._router, self._pool
        if router is None and pool is None:
            with self._lock:
                if self._pool is None and self._router is None:
                    if self._source.cluster:
                        self._router = SyncRouter(self._source, self._breaker_of)
                    else:
                        pool = self._source.pool("sync")
                        sentinels = clients.sentinels_of(pool)
                        self._pool = MasterPool(pool) if sentinels else KeptConnections(pool)
                        # Also for those who drop a link without closing it.
                        self._closing = weakref.finalize(self, disconnect, [pool, *sentinels])
                router, pool = self._router, self._pool
        return router, pool


def _turns(count: int) -> "queue.SimpleQueue[None]":
    """So many turns, one an item. No semaphore: that is written in Python, and an exception of the
    application's, say, from a signal handler that limits a task's time, can leave its lock taken for ever.
    """
    turns: queue.SimpleQueue[None] = queue.SimpleQueue()
    for _ in range(count):
        turns.put(None)
    return turns
