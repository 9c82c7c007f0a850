"""A Redis Cluster on an event loop: which node gets a command, and what happens when it is the wrong one.

Rules:

* ``MOVED`` and ``ASK`` are followed to the node they name, ``TRYAGAIN`` is tried again a little later, five
  times at most: the command had not run. ``MOVED`` also has the topology read again.
* A node that cannot be reached fails its own commands only; the topology is read again, in the
  background and once for all, so that the next command goes to the node that took over.
* Every node has its own connections and its own circuit breaker.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from redis import exceptions

from scalekit._breaker import Breaker
from scalekit._redis import errors
from scalekit._redis.clients import Source
from scalekit._redis.coalesce import Coalescer, PoolConnections
from scalekit._redis.lane import Call
from scalekit._redis.topology import Place, Topology, name_of_node
from scalekit._redis.wire import pack
from scalekit.errors import BackendError

HOPS = 5
PAUSE = 0.02  # seconds, times the number of the attempt
ASKING = pack(("ASKING",))
SLOTS = ("CLUSTER", "SLOTS")


class Router:
    """Gathers the commands of one event loop for each node of a Cluster."""

    def __init__(self, source: Source, breaker: Callable[[str], Breaker], *, lanes: int) -> None:
        self._source = source
        self._breaker = breaker
        self._lanes = lanes
        self._topology = Topology(source.seeds)
        self._nodes: dict[Place, tuple[Coalescer, Any]] = {}
        self._waiting: list[Call] = []  # for the topology
        self._reading: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def submit(self, call: Call) -> None:
        if self._topology.known:
            self._route(call)
        else:
            self._waiting.append(call)
            self._read_topology()

    def elsewhere(self, keys: Iterable[str]) -> set[str]:
        """The names of nodes that have none of ``keys``, as far as is known."""
        return {name_of_node(self._source.name, place) for place in self._topology.elsewhere(keys)}

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        nodes, self._nodes = self._nodes, {}
        await asyncio.gather(*(_close(*node) for node in nodes.values()), *self._closing)
        self._fail_waiting("the client was closed")

    def _route(self, call: Call) -> None:
        try:
            place = self._topology.owner(call.args)
        except exceptions.ConnectionError as error:
            self._read_topology()
            call.fail(errors.unavailable(self._source.name, error))
        else:
            self._node(place).submit(call)

    def _node(self, place: Place) -> Coalescer:
        found = self._nodes.get(place)
        if found is None:
            limits = self._source.limits
            name = f"{place[0]}:{place[1]}"
            pool = self._source.node_pool("async", place)
            coalescer = Coalescer(
                PoolConnections(pool),
                backend=name_of_node(self._source.name, place),
                breaker=self._breaker(name),
                lanes=self._lanes,
                connect_timeout=limits.connect_timeout,
                connecting=limits.connecting if limits.spare_callers else None,
                timeout=limits.timeout,
                redirect=self._redirect,
                unreachable=self._read_topology,
            )
            found = self._nodes[place] = (coalescer, pool)
        return found[0]

    def _redirect(self, call: Call, error: exceptions.ResponseError) -> None:
        again = call.again()
        if again.hops > HOPS:
            call.fail(errors.unavailable(self._source.name, f"gave up after {HOPS} redirections: {error}"))
        elif isinstance(error, exceptions.AskError) and error.host:
            place = self._source.remap((error.host, error.port))
            if isinstance(error, exceptions.MovedError):
                self._topology.move(error.slot_id, place)
                self._read_topology()
            else:
                again.data, again.prelude = ASKING + again.data, 1
            self._node(place).submit(again)
        else:
            # TRYAGAIN: its keys are on two nodes for the moment. Or a node that does not say where.
            if isinstance(error, exceptions.MovedError):
                self._read_topology()
            call.future.get_loop().call_later(PAUSE * again.hops, self._route, again)

    def _read_topology(self) -> None:
        """Read the topology again, unless that is being done."""
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        failure: object = "no node answers"
        try:
            for place in self._topology.to_ask():
                future = asyncio.get_running_loop().create_future()
                self._node(place).submit(Call(SLOTS, pack(SLOTS), future))
                try:
                    self._topology.read(await future, place, self._source)
                except (BackendError, exceptions.RedisError) as error:
                    failure = error
                else:
                    self._forget_nodes()
                    break
        finally:
            self._reading = None
        if self._topology.known:
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                self._route(call)
        else:
            self._fail_waiting(failure)

    def _forget_nodes(self) -> None:
        """Close what leads to nodes that have left."""
        for place in self._nodes.keys() - self._topology.places():
            task = asyncio.get_running_loop().create_task(_close(*self._nodes.pop(place)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _fail_waiting(self, reason: object) -> None:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call.fail(errors.unavailable(self._source.name, reason))


async def _close(coalescer: Coalescer, pool: Any) -> None:
    await coalescer.close()
    await pool.disconnect()
