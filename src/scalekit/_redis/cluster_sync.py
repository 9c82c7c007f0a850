"""The synchronous side of a Redis Cluster; the rules are those of :mod:`scalekit._redis.cluster`."""

import threading
import time
from collections.abc import Callable
from typing import Any

from redis import exceptions

from scalekit._redis import errors
from scalekit._redis.breaker import Breaker
from scalekit._redis.clients import Source
from scalekit._redis.cluster import ASKING, HOPS, PAUSE, node_for
from scalekit._redis.exchange import exchange
from scalekit._redis.wire import Argument
from scalekit.errors import BackendError


class SyncRouter:
    """Sends one command to the node of a Cluster that it belongs to."""

    def __init__(self, client: Any, breaker: Callable[[str], Breaker], source: Source) -> None:
        self._client = client
        self._breaker = breaker
        self._source = source
        self._reading = threading.Lock()

    def execute(self, args: tuple[Argument, ...], data: bytes) -> Any:
        node, prelude = self._node_for(args), 0
        for hop in range(1, HOPS + 1):
            try:
                return self._exchange(node, ASKING + data if prelude else data, prelude)
            except exceptions.TryAgainError:
                time.sleep(PAUSE * hop)
                node, prelude = self._node_for(args), 0
            except exceptions.AskError as error:
                moved = isinstance(error, exceptions.MovedError)
                named = self._client.get_node(host=error.host, port=error.port) if error.host else None
                if moved or named is None:
                    self._read_topology()
                    named = named or self._node_for(args)
                node, prelude = named, 0 if moved else 1
        raise errors.unavailable(self._source.name, f"gave up after {HOPS} redirections")

    def _node_for(self, args: tuple[Argument, ...]) -> Any:
        try:
            return node_for(self._client, args)
        except errors.FAILURES as error:
            self._read_topology()
            raise errors.unavailable(self._source.name, error) from error

    def _exchange(self, node: Any, data: bytes, prelude: int) -> Any:
        try:
            return exchange(
                self._client.get_redis_connection(node).connection_pool,
                data,
                backend=f"{self._source.name} node {node.name}",
                breaker=self._breaker(node.name),
                timeout=self._source.limits.timeout,
                prelude=prelude,
            )
        except BackendError as error:
            if error.__cause__ is not None:  # not the breaker's: something was tried
                self._read_topology()
            raise

    def _read_topology(self) -> None:
        # One thread reads; the others go on with what is known.
        if self._reading.acquire(blocking=False):
            try:
                self._client.nodes_manager.initialize()
            except errors.FAILURES:
                return  # the nodes' own breakers decide who is asked
            finally:
                self._reading.release()
