"""A Redis Cluster for threads; the rules are those of :mod:`scalekit._redis.cluster`."""

import threading
import time
from collections.abc import Callable
from typing import Any

from redis import exceptions

from scalekit._redis import errors
from scalekit._redis.breaker import Breaker
from scalekit._redis.clients import Source
from scalekit._redis.cluster import ASKING, HOPS, PAUSE, SLOTS
from scalekit._redis.exchange import exchange
from scalekit._redis.topology import Place, Topology
from scalekit._redis.wire import Argument, pack
from scalekit.errors import BackendError


class SyncRouter:
    """Sends one command to the node of a Cluster that it belongs to."""

    def __init__(self, source: Source, breaker: Callable[[str], Breaker]) -> None:
        self._source = source
        self._breaker = breaker
        self._topology = Topology(source.seeds)
        self._pools: dict[Place, Any] = {}
        self._lock = threading.Lock()  # for the pools
        self._reading = threading.Lock()

    def execute(self, args: tuple[Argument, ...], data: bytes) -> Any:
        if not self._topology.known:
            self._read_topology(wait=True)
        place, prelude = self._owner(args), 0
        for hop in range(1, HOPS + 1):
            try:
                return self._send(place, ASKING + data if prelude else data, prelude)
            except exceptions.TryAgainError:
                time.sleep(PAUSE * hop)
                place, prelude = self._owner(args), 0
            except exceptions.AskError as error:
                moved = isinstance(error, exceptions.MovedError)
                prelude = 0 if moved else 1
                if error.host:
                    place = self._source.remap((error.host, error.port))
                if moved:
                    if error.host:
                        self._topology.move(error.slot_id, place)
                    self._read_topology()
                    place = self._owner(args)
            except BackendError as error:
                if error.__cause__ is not None:  # not the breaker's: something was tried
                    self._read_topology()
                raise
        raise errors.unavailable(self._source.name, f"gave up after {HOPS} redirections")

    def close(self) -> None:
        with self._lock:
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.disconnect()

    def _owner(self, args: tuple[Argument, ...]) -> Place:
        try:
            return self._topology.owner(args)
        except exceptions.ConnectionError as error:
            self._read_topology()
            raise errors.unavailable(self._source.name, error) from error

    def _send(self, place: Place, data: bytes, prelude: int = 0) -> Any:
        name = f"{place[0]}:{place[1]}"
        with self._lock:
            pool = self._pools.get(place)
            if pool is None:
                pool = self._pools[place] = self._source.node_pool("sync", place)
        return exchange(
            pool,
            data,
            backend=f"{self._source.name} node {name}",
            breaker=self._breaker(name),
            timeout=self._source.limits.timeout,
            prelude=prelude,
        )

    def _read_topology(self, *, wait: bool = False) -> None:
        """Read it again. One thread does; the others go on with what is known, or ``wait``."""
        if not self._reading.acquire(blocking=wait):
            return
        try:
            if wait and self._topology.known:
                return  # read by the one we waited for
            for place in self._topology.to_ask():
                try:
                    self._topology.read(self._send(place, pack(SLOTS)), place, self._source)
                except (BackendError, exceptions.RedisError):
                    continue  # the next one may know
                self._forget_nodes()
                return
        finally:
            self._reading.release()

    def _forget_nodes(self) -> None:
        with self._lock:
            gone = [self._pools.pop(place) for place in self._pools.keys() - self._topology.places()]
        for pool in gone:
            pool.disconnect()
