"""A Redis Cluster: which node gets a command, and what happens when it is the wrong one.

redis-py reads and keeps the topology; here commands are gathered for each node. Rules:

* ``MOVED`` and ``ASK`` are followed to the node they name, ``TRYAGAIN`` is tried again a little later, five
  times at most: the command had not run. ``MOVED`` also has the topology read again.
* A node that cannot be reached fails its own commands only; the topology is read again, in the
  background and once for all, so that the next command goes to the node that took over.
* Every node has its own circuit breaker.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from redis import exceptions

from scalekit._redis import errors
from scalekit._redis.breaker import Breaker
from scalekit._redis.clients import Source
from scalekit._redis.coalesce import Call, Coalescer
from scalekit._redis.wire import Argument, key_of, pack

HOPS = 5
PAUSE = 0.02  # seconds, times the number of the attempt
ASKING = pack(("ASKING",))


def node_for(client: Any, args: tuple[Argument, ...]) -> Any:
    """The node that has the command's slot; any primary for a command without a key."""
    key = key_of(args)
    if key is not None:
        return client.get_node_from_key(key)
    primaries = client.get_primaries()
    if not primaries:
        raise exceptions.ConnectionError("no primary is known")
    return random.choice(primaries)  # noqa: S311  spreads load


class _NodeConnections:
    """Connections of the node called ``name``, whichever object stands for it after a change of topology."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name
        self._nodes: dict[Any, Any] = {}

    async def acquire(self) -> Any:
        node = self._client.get_node(node_name=self._name)
        if node is None:
            raise exceptions.ConnectionError("the node has left the cluster")
        connection = node.acquire_connection()
        self._nodes[connection] = node
        try:
            if connection.is_connected and await _is_stale(connection):
                await connection.disconnect(nowait=True)
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            await self.release(connection)
            raise
        return connection

    async def release(self, connection: Any) -> None:
        self._nodes.pop(connection).release(connection)


async def _is_stale(connection: Any) -> bool:
    """Whether the server has hung up, or redis-py wants it made anew after a change of topology."""
    marked = getattr(connection, "should_reconnect", None)  # since redis-py 7
    if marked is not None and marked():
        return True
    readable = getattr(connection, "can_read", None) or connection.can_read_destructive  # before redis-py 8
    try:
        return bool(await readable())
    except errors.FAILURES:
        return True


class Router:
    """Gathers the commands of one event loop for each node of a Cluster."""

    def __init__(self, client: Any, breaker: Callable[[str], Breaker], source: Source, *, lanes: int) -> None:
        self._client = client
        self._breaker = breaker
        self._source = source
        self._lanes = lanes
        self._ready = False
        self._waiting: list[Call] = []  # for the topology, at the start
        self._nodes: dict[str, Coalescer] = {}
        self._refresh: asyncio.Task[None] | None = None

    def submit(self, call: Call) -> None:
        if self._ready:
            self._route(call)
        elif self._breaker(self._source.name).allows() or self._refresh is not None:
            self._waiting.append(call)
            self._read_topology()
        else:
            call.fail(errors.unavailable(self._source.name, errors.REFUSED))

    async def close(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.gather(self._refresh, return_exceptions=True)
        for node in self._nodes.values():
            await node.close()
        self._fail_waiting("the client was closed")

    def _route(self, call: Call) -> None:
        try:
            node = node_for(self._client, call.args)
        except errors.FAILURES as error:
            self._read_topology()
            call.fail(errors.unavailable(self._source.name, error))
        else:
            self._node(node.name).submit(call)

    def _node(self, name: str) -> Coalescer:
        node = self._nodes.get(name)
        if node is None:
            limits = self._source.limits
            node = self._nodes[name] = Coalescer(
                _NodeConnections(self._client, name),
                backend=f"{self._source.name} node {name}",
                breaker=self._breaker(name),
                lanes=self._lanes,
                connect_timeout=limits.connect_timeout,
                timeout=limits.timeout,
                redirect=self._redirect,
                unreachable=self._read_topology,
            )
        return node

    def _redirect(self, call: Call, error: exceptions.ResponseError) -> None:
        loop = call.future.get_loop()
        again = Call(call.args, pack(call.args), call.future, hops=call.hops + 1)
        if again.hops > HOPS:
            call.fail(errors.unavailable(self._source.name, f"gave up after {HOPS} redirections: {error}"))
        elif isinstance(error, exceptions.TryAgainError):
            loop.call_later(PAUSE * again.hops, self._route, again)
        else:
            assert isinstance(error, exceptions.AskError)
            if not isinstance(error, exceptions.MovedError):
                again.data, again.prelude = ASKING + again.data, 1
            node = self._client.get_node(host=error.host, port=error.port) if error.host else None
            if node is None or isinstance(error, exceptions.MovedError):
                self._read_topology()
            if node is not None:
                self._node(node.name).submit(again)
            else:  # one that is new to us: the topology will tell
                self._waiting.append(Call(call.args, pack(call.args), call.future, hops=again.hops))

    def _read_topology(self) -> None:
        """Read the topology again, unless that is being done."""
        if self._refresh is None:
            self._refresh = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        breaker = self._breaker(self._source.name)
        try:
            if not self._ready:
                await self._client.initialize()
                self._ready = True
            else:
                await self._client.nodes_manager.initialize()
            breaker.succeeded()
        except errors.FAILURES as error:
            # Once there is a topology, the nodes' own breakers decide who is asked.
            if not self._ready:
                breaker.failed()
            self._fail_waiting(error)
        finally:
            self._refresh = None
            if self._ready:
                waiting, self._waiting = self._waiting, []
                for call in waiting:
                    self._route(call)

    def _fail_waiting(self, reason: object) -> None:
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call.fail(errors.unavailable(self._source.name, reason))
