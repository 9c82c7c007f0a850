"""A Redis Cluster for threads. The rules are those of :mod:`scalekit._redis.cluster`, but for who reads the
topology, as there is no background to do it in:

* The next caller does, not the one who found that it has changed: a time-out is enough for one caller.
* They ask the node of their own command first, and last the nodes whose breakers are open. They stop at the
  first one that hangs, and their command fails: its own node does not answer either.
* Meanwhile other threads go on with what is known. If nothing is, they wait, and share the outcome.
* Reading has a circuit breaker, too: after it has failed nobody tries again for a while.
"""

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis import exceptions

from scalekit._breaker import Breaker
from scalekit._redis import errors
from scalekit._redis.clients import Source
from scalekit._redis.cluster import ASKING, HOPS, PAUSE, SLOTS
from scalekit._redis.exchange import Trip, settled
from scalekit._redis.topology import Place, Topology, name_of_node
from scalekit._redis.wire import Argument, pack
from scalekit.errors import BackendError, BackendTimeout


class SyncRouter:
    """Sends one command to the node of a Cluster that it belongs to."""

    def __init__(self, source: Source, breaker: Callable[[str], Breaker]) -> None:
        self._source = source
        self._breaker = breaker
        self._topology = Topology(source.seeds)
        self._stale = True
        self._asking = breaker("topology")
        self._pools: dict[Place, Any] = {}
        self._closing = weakref.finalize(self, _disconnect_all, self._pools)
        self._lock = threading.Lock()  # for the pools
        self._reading = threading.Lock()  # held by the thread that reads the topology

    def execute(self, args: tuple[Argument, ...], data: bytes, tail: bytes = b"") -> Any:
        """The reply to a command; with ``tail``, one that goes right behind it, the replies to both."""
        place, prelude = self._owner(args), 0
        for hop in range(1, HOPS + 1):
            try:
                return self._send(place, ASKING + data if prelude else data, prelude, tail)
            except exceptions.TryAgainError:
                time.sleep(PAUSE * hop)
                place, prelude = self._owner(args), 0
            except exceptions.AskError as error:
                moved = isinstance(error, exceptions.MovedError)
                if moved:
                    self._stale = True
                if error.host:
                    place, prelude = self._source.remap((error.host, error.port)), 0 if moved else 1
                    if moved:
                        self._topology.move(error.slot_id, place)
                else:  # a node that does not say where
                    place, prelude = self._owner(args), 0
            except BackendError as error:
                self._suspect(error)
                raise
        raise errors.unavailable(self._source.name, f"gave up after {HOPS} redirections")

    def execute_all(self, commands: Sequence[tuple[Argument, ...]], packed: Sequence[bytes]) -> list[Any]:
        """The replies to ``commands``, and errors among them: all are sent before any reply is read."""
        places: dict[Place, list[int]] = {}
        for at, args in enumerate(commands):
            places.setdefault(self._owner(args), []).append(at)
        outcomes: list[Any] = [None] * len(commands)
        trips: list[tuple[Trip, list[int]]] = []

        def failed(numbers: list[int], error: BackendError) -> None:
            self._suspect(error)
            for at in numbers:
                outcomes[at] = error

        try:
            for place, numbers in places.items():
                try:
                    trip = self._begin(place, b"".join([packed[at] for at in numbers]))
                except BackendError as error:
                    failed(numbers, error)
                else:
                    trips.append((trip, numbers))
            late = False
            while trips:
                trip, numbers = trips.pop()
                try:
                    replies = trip.replies(len(numbers), hurry=late)  # one time-out is for all
                except BackendError as error:
                    late |= isinstance(error, BackendTimeout)
                    failed(numbers, error)
                else:
                    for at, reply in zip(numbers, replies, strict=True):
                        outcomes[at] = reply
        finally:
            for trip, _ in trips:  # the thread was interrupted
                trip.give_up()
        for at, outcome in enumerate(outcomes):
            if isinstance(outcome, errors.REDIRECTS):  # it has not run
                try:
                    outcomes[at] = self.execute(commands[at], packed[at])
                except (BackendError, exceptions.ResponseError) as error:
                    outcomes[at] = error
        return outcomes

    def elsewhere(self, keys: Iterable[str]) -> set[str]:
        """The names of nodes that have none of ``keys``, as far as is known."""
        return {name_of_node(self._source.name, place) for place in self._topology.elsewhere(keys)}

    def close(self) -> None:
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        disconnect(pools)

    def forked(self) -> None:
        """Leave the connections to the parent."""
        self._closing.detach()

    def _owner(self, args: tuple[Argument, ...]) -> Place:
        if self._stale:
            self._refresh(args)
        try:
            return self._topology.owner(args)
        except exceptions.ConnectionError as error:
            self._stale = True
            raise errors.unavailable(self._source.name, error) from error

    def _suspect(self, error: BackendError) -> None:
        if error.__cause__ is not None:  # not the breaker's: something was tried
            self._stale = True

    def _send(self, place: Place, data: bytes, prelude: int = 0, tail: bytes = b"") -> Any:
        replies = self._begin(place, data + tail).replies(prelude + (2 if tail else 1))
        return settled(replies, paired=bool(tail))

    def _begin(self, place: Place, data: bytes) -> Trip:
        name = _name(place)
        with self._lock:
            pool = self._pools.get(place)
            if pool is None:
                pool = self._pools[place] = self._source.node_pool("sync", place)
        return Trip(
            pool,
            data,
            backend=name_of_node(self._source.name, place),
            breaker=self._breaker(name),
            timeout=self._source.limits.timeout,
            spare_callers=self._source.limits.spare_callers,
        )

    def _refresh(self, args: tuple[Argument, ...]) -> None:
        """Read the topology, unless another thread has done it or is at it."""
        if not self._reading.acquire(blocking=not self._topology.known):
            return
        try:
            if self._stale and self._asking.allows():
                self._read(args)
        finally:
            self._reading.release()

    def _read(self, args: tuple[Argument, ...]) -> None:
        failure: Exception | None = None
        for place in self._to_ask(args):
            try:
                self._topology.read(self._send(place, pack(SLOTS)), place, self._source)
            except (BackendError, exceptions.RedisError) as error:
                failure = error
                if error.__cause__ is not None and errors.is_timeout(error.__cause__):
                    break
            else:
                self._stale = False
                self._asking.succeeded()
                self._forget_nodes()
                return
        self._asking.failed()
        reason = failure and (failure.__cause__ or failure)
        raise errors.unavailable(self._source.name, f"no node tells the topology: {reason}") from failure

    def _to_ask(self, args: tuple[Argument, ...]) -> list[Place]:
        own: Place | None = None
        with contextlib.suppress(exceptions.ConnectionError):
            own = self._topology.owner(args)

        def rank(place: Place) -> int:
            return 2 if self._breaker(_name(place)).open else int(place != own)

        return sorted(self._topology.to_ask(), key=rank)

    def _forget_nodes(self) -> None:
        with self._lock:
            gone = [self._pools.pop(place) for place in self._pools.keys() - self._topology.places()]
        disconnect(gone)


def disconnect(pools: Iterable[Any]) -> None:
    """Close the connections of redis-py's ``pools``."""
    for pool in pools:
        pool.disconnect()


def _disconnect_all(pools: dict[Place, Any]) -> None:
    disconnect(pools.values())


def _name(place: Place) -> str:
    return f"{place[0]}:{place[1]}"
