"""redis-py clients: which colour a given one has, and how ours are built.

Ours never retry by themselves (redis-py's default is ten times), speak RESP2 (one shape of replies,
one round trip less to connect) and hand out bytes. What limits their time:

* a connection of an event loop has no time-out of its own: the coalescer limits connecting and each
  exchange as a whole, which costs one timer instead of one a reply;
* threads have redis-py's socket time-outs; under Sentinel connecting has them too, as finding the master
  is several attempts and each has its limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.retry
import redis.sentinel
from redis.backoff import NoBackoff

from scalekit._redis.topology import Place
from scalekit._redis.url import Target
from scalekit.errors import ConfigurationError
from scalekit.types import Colour


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Seconds and connections; ``None`` leaves a limit to the client that was given."""

    timeout: float | None = None
    connect_timeout: float | None = None
    max_connections: int | None = None
    cooldown: float = 1.0


class Source(Protocol):
    """Where connections come from: a URL, or the one client that was given."""

    name: str
    colour: Colour | None  # of the given client; None if both can be had
    cluster: bool
    limits: Limits

    @property
    def seeds(self) -> Sequence[Place]:
        """Nodes of a Cluster to ask for the others."""
        ...

    def pool(self, colour: Colour) -> Any:
        """redis-py's pool of connections to the one server, or to the Sentinels' master."""

    def node_pool(self, colour: Colour, place: Place) -> Any:
        """A new pool for one node of a Cluster."""

    def remap(self, place: Place) -> Place:
        """Where a node that the Cluster calls ``place`` is reached from here."""
        ...


class Given:
    """The user's own client, with the user's own limits.

    Of a Cluster's client the settings and the known nodes are used; connections to its nodes are ours.
    """

    def __init__(self, client: Any) -> None:
        self.colour: Colour | None = colour_of(client)
        self.cluster = isinstance(client, redis.asyncio.RedisCluster | redis.RedisCluster)
        self.name = name_of(client)
        self.limits = Limits()
        self._client = client

    @property
    def seeds(self) -> Sequence[Place]:
        nodes = self._client.nodes_manager.startup_nodes.values()
        return [(node.host, int(node.port)) for node in nodes]

    def pool(self, colour: Colour) -> Any:
        return self._client.connection_pool

    def node_pool(self, colour: Colour, place: Place) -> Any:
        options = dict(self._client.get_connection_kwargs())
        host, port = place
        if colour == "sync":
            return self._client.nodes_manager.create_redis_node(host, port, **options).connection_pool
        options.pop("response_callbacks", None)
        options["retry"] = redis.asyncio.retry.Retry(NoBackoff(), 0)
        return redis.asyncio.ConnectionPool(host=host, port=port, **options)

    def remap(self, place: Place) -> Place:
        mapped: Place = self._client.nodes_manager.remap_host_port(*place)
        return mapped


class FromURL:
    """A new pool for every event loop, and one for all threads."""

    def __init__(self, target: Target, limits: Limits) -> None:
        self.colour: Colour | None = None
        self.cluster = target.kind == "cluster"
        self.name = target.name
        self.limits = limits
        self.seeds: Sequence[Place] = target.nodes
        self._target = target

    def pool(self, colour: Colour) -> Any:
        return _build(self._target, self.limits, colour)

    def node_pool(self, colour: Colour, place: Place) -> Any:
        return _build(replace(self._target, kind="standalone", nodes=(place,)), self.limits, colour)

    def remap(self, place: Place) -> Place:
        return place


def colour_of(client: Any) -> Colour:
    """The colour of a redis-py client.

    Raises:
        ConfigurationError: it is no redis-py client.
    """
    if isinstance(client, redis.asyncio.Redis | redis.asyncio.RedisCluster):
        return "async"
    if isinstance(client, redis.Redis | redis.RedisCluster):
        return "sync"
    raise ConfigurationError(
        f"a {type(client).__name__} is no redis-py client; "
        "pass a redis.Redis, redis.asyncio.Redis or RedisCluster, or use from_url"
    )


def name_of(client: Any) -> str:
    """Where ``client`` talks to, for messages; no credentials."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return "redis cluster"
    options = pool.connection_kwargs
    if getattr(pool, "service_name", None):
        return f"redis+sentinel {pool.service_name}"
    if "path" in options:
        return f"unix://{options['path']}"
    return f"redis://{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"


def _build(target: Target, limits: Limits, colour: Colour) -> Any:
    """A pool of one colour for ``target``; it connects when a connection is asked for."""
    module: Any = redis.asyncio if colour == "async" else redis  # the same names in both
    never = module.retry.Retry(NoBackoff(), 0)
    connecting = limits.connect_timeout
    options: dict[str, Any] = {
        **target.options,
        "socket_timeout": limits.timeout if colour == "sync" else None,
        "socket_connect_timeout": connecting if colour == "sync" or target.kind == "sentinel" else None,
        "max_connections": limits.max_connections,
        "protocol": 2,
        "retry": never,
    }
    if target.kind == "sentinel":
        # Asked one after the other: one that is dead must cost little, or the next is never reached.
        asking = {"socket_timeout": connecting, "socket_connect_timeout": connecting, "ssl": target.tls}
        asking |= {**target.sentinel_options, "protocol": 2, "retry": never}
        sentinel = module.sentinel.Sentinel(list(target.nodes), sentinel_kwargs=asking)
        return sentinel.master_for(target.service, ssl=target.tls, **options).connection_pool
    if target.kind == "unix":
        options |= {"connection_class": module.UnixDomainSocketConnection, "path": target.path}
    else:
        host, port = target.nodes[0]
        options |= {"connection_class": module.SSLConnection if target.tls else module.Connection}
        options |= {"host": host, "port": port}
    return module.ConnectionPool(**options)


def sentinels_of(pool: Any) -> list[Any]:
    """The pools of the Sentinels that ``pool`` asks for its master; empty without Sentinel."""
    manager = getattr(pool, "sentinel_manager", None)
    return [sentinel.connection_pool for sentinel in manager.sentinels] if manager is not None else []
