"""The synchronous colour: threads that share a pool and wait for their turn.

With a URL, at most ``max_connections`` commands are on their way at a time. A thread beyond that waits for
``timeout`` at most; redis-py's pool would raise. A given client's pool does what it does.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from scalekit._redis import clients, errors, script
from scalekit._redis.breaker import Breaker
from scalekit._redis.cluster_sync import SyncRouter
from scalekit._redis.exchange import exchange
from scalekit._redis.wire import Argument, pack
from scalekit._steps import run


class SyncCommands:
    """See :class:`scalekit._redis.Commands`. Each method returns a value."""

    def __init__(self, source: clients.Source) -> None:
        self._source = source
        self._client: Any = None
        self._router: SyncRouter | None = None
        self._reset()

    def _reset(self) -> None:
        limits = self._source.limits
        self._lock = threading.Lock()
        self._breakers: dict[str, Breaker] = {}
        self._breaker = self._breaker_of(self._source.name)
        self._turns = (
            threading.BoundedSemaphore(limits.max_connections) if limits.max_connections is not None else None
        )

    def execute(self, *args: Argument) -> Any:
        data = pack(args)
        with self._turn():
            client = self._client or self._open()
            if self._router is not None:
                return self._router.execute(args, data)
            return exchange(
                client.connection_pool,
                data,
                backend=self._source.name,
                breaker=self._breaker,
                timeout=self._source.limits.timeout,
            )

    def script(self, lua: script.Script, keys: Sequence[str | bytes], args: Sequence[Argument] = ()) -> Any:
        return run(script.call(self, lua, keys, args))

    def close(self) -> None:
        with self._lock:
            client, self._client, self._router = self._client, None, None
        if client is None or self._source.colour is not None:
            return
        for sentinel in clients.sentinels_of(client):
            sentinel.close()
        if clients.is_cluster(client):
            client.close()
        else:
            client.connection_pool.disconnect()

    def _breaker_of(self, backend: str) -> Breaker:
        limits = self._source.limits
        breaker = Breaker(
            cooldown=limits.cooldown, patience=(limits.timeout or 5.0) + (limits.connect_timeout or 5.0)
        )
        return self._breakers.setdefault(backend, breaker)

    def forked(self) -> None:
        # redis-py's pools notice a fork by themselves and leave the parent's sockets alone.
        self._reset()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if self._turns is None:
            yield
            return
        if not self._turns.acquire(timeout=self._source.limits.timeout):
            limits = self._source.limits
            raise errors.unavailable(
                self._source.name,
                f"all {limits.max_connections} connections stayed in use for {limits.timeout:g} s; "
                "raise max_connections or use fewer threads",
            )
        try:
            yield
        finally:
            self._turns.release()

    def _open(self) -> Any:
        with self._lock:
            if self._client is None:
                if not self._breaker.allows():
                    raise errors.unavailable(self._source.name, errors.REFUSED)
                try:
                    client = self._source.open_sync()
                except errors.FAILURES as error:
                    self._breaker.failed()
                    raise errors.unavailable(self._source.name, error) from error
                if clients.is_cluster(client):
                    self._breaker.succeeded()
                    self._router = SyncRouter(client, self._breaker_of, self._source)
                self._client = client
            return self._client
