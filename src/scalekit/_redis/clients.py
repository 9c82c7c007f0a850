"""redis-py's connections: how ours are built, from a URL or after the example of a client that was given.

They never retry by themselves (redis-py's default is ten times, of five seconds each), speak RESP2 (one shape
of replies, one round trip less to connect) and hand out bytes. What limits their time:

* a connection of an event loop has no time-out of its own: the coalescer limits connecting and each
  exchange as a whole, which costs one timer instead of one a reply;
* threads have redis-py's socket time-outs; under Sentinel connecting has them too, as finding the master
  is several attempts and each has its limit.

Of a client that was given we use the settings, its time-outs too, and none of its connections: theirs retry,
and how often and how long a thread is kept waiting is decided inside of redis-py, where nobody can end it.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.retry
import redis.sentinel
from redis.backoff import NoBackoff

from scalekit._limits import Limits
from scalekit._redis.greeting import Greeting
from scalekit._redis.sentinels import name_promoted
from scalekit._redis.topology import Place
from scalekit._redis.url import Target
from scalekit.errors import ConfigurationError
from scalekit.types import Colour

PATIENCE = 5.0
"""Seconds for a client that was given without a time-out; what redis-py 8 has as its default."""

# Ours are without retries, RESP3, and what goes with it: client-side caching and maintenance notifications.
_POOLS_OWN = re.compile("retry|cache|maint_|oss_cluster_|orig_|himport_|connection_pool|response_callbacks")


class Source(Protocol):
    """Where connections come from: a URL, or the one client that was given."""

    name: str
    colour: Colour | None  # of the given client; None if both can be had
    cluster: bool
    limits: Limits
    greeting: Greeting | None  # nodes of a Cluster are not asked

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

    def limited(self, limits: Limits) -> "Source":
        """The same place with other limits, and without a greeting."""
        ...


class Given:
    """The settings of the user's own client; the connections are ours, see the module."""

    def __init__(self, client: Any, *, spare_callers: bool = False) -> None:
        self.colour: Colour | None = colour_of(client)
        self.cluster = isinstance(client, redis.asyncio.RedisCluster | redis.RedisCluster)
        self.name = name_of(client)
        self.greeting: Greeting | None = None
        self._client = client
        settings = (
            client.get_connection_kwargs() if self.cluster else client.connection_pool.connection_kwargs
        )
        timeout = settings.get("socket_timeout") or PATIENCE
        self.limits = Limits(
            timeout=timeout,
            connect_timeout=settings.get("socket_connect_timeout") or timeout,
            max_connections=None if self.cluster else client.connection_pool.max_connections,
            spare_callers=spare_callers,
        )

    @property
    def seeds(self) -> Sequence[Place]:
        nodes = self._client.nodes_manager.startup_nodes.values()
        return [(node.host, int(node.port)) for node in nodes]

    def pool(self, colour: Colour) -> Any:
        return _greeted(_like(self._client.connection_pool, self.limits, colour), self.greeting, colour)

    def node_pool(self, colour: Colour, place: Place) -> Any:
        host, port = place
        if colour == "async":
            options = _settings(self._client.get_connection_kwargs()) | {"host": host, "port": port}
            return redis.asyncio.ConnectionPool(**options | _ours(self.limits, colour))
        # The kind of its connections is known to redis-py alone.
        node = self._client.nodes_manager.create_redis_node(
            host, port, **self._client.get_connection_kwargs()
        )
        return _like(node.connection_pool, self.limits, colour)

    def remap(self, place: Place) -> Place:
        mapped: Place = self._client.nodes_manager.remap_host_port(*place)
        return mapped

    def limited(self, limits: Limits) -> "Given":
        return _limited(self, limits)


class FromURL:
    """A new pool for every event loop, and one for all threads."""

    def __init__(self, target: Target, limits: Limits) -> None:
        self.colour: Colour | None = None
        self.cluster = target.kind == "cluster"
        self.name = target.name
        self.limits = limits
        self.greeting: Greeting | None = None
        self.seeds: Sequence[Place] = target.nodes
        self._target = target

    def pool(self, colour: Colour) -> Any:
        return _greeted(_build(self._target, self.limits, colour), self.greeting, colour)

    def node_pool(self, colour: Colour, place: Place) -> Any:
        return _build(replace(self._target, kind="standalone", nodes=(place,)), self.limits, colour)

    def remap(self, place: Place) -> Place:
        return place

    def limited(self, limits: Limits) -> "FromURL":
        return _limited(self, limits)


_Source = TypeVar("_Source", Given, FromURL)


def _limited(source: _Source, limits: Limits) -> _Source:
    other = copy.copy(source)
    other.limits, other.greeting = limits, None
    return other


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


def _ours(limits: Limits, colour: Colour, *, sentinel: bool = False) -> dict[str, Any]:
    """What connections have instead of a client's own settings; with ``sentinel`` those to their master."""
    threads = colour == "sync"
    return {
        "socket_timeout": limits.timeout if threads else None,
        "socket_connect_timeout": _connecting(limits, colour) if threads or sentinel else None,
        "max_connections": limits.max_connections,
        "protocol": 2,
        "retry": _module(colour).retry.Retry(NoBackoff(), 0),
    }


def _asking(limits: Limits, colour: Colour) -> dict[str, Any]:
    """The same for connections to Sentinels."""
    # Asked one after the other: one that is dead must cost little, or the next is never reached.
    connecting = _connecting(limits, colour)
    never = _module(colour).retry.Retry(NoBackoff(), 0)
    return {
        "socket_timeout": connecting,
        "socket_connect_timeout": connecting,
        "protocol": 2,
        "retry": never,
    }


def _connecting(limits: Limits, colour: Colour) -> float:
    return limits.connect_timeout if colour == "sync" else limits.connecting


def _module(colour: Colour) -> Any:
    return redis.asyncio if colour == "async" else redis  # the same names in both


def _build(target: Target, limits: Limits, colour: Colour) -> Any:
    """A pool of one colour for ``target``; it connects when a connection is asked for."""
    module = _module(colour)
    options = target.options | _ours(limits, colour, sentinel=target.kind == "sentinel")
    if target.kind == "sentinel":
        asking = {"ssl": target.tls} | target.sentinel_options | _asking(limits, colour)
        sentinel = module.sentinel.Sentinel(list(target.nodes), sentinel_kwargs=asking)
        name_promoted(sentinel, module.sentinel, colour)
        return sentinel.master_for(target.service, ssl=target.tls, **options).connection_pool
    if target.kind == "unix":
        options |= {"connection_class": module.UnixDomainSocketConnection, "path": target.path}
    else:
        host, port = target.nodes[0]
        options |= {"connection_class": module.SSLConnection if target.tls else module.Connection}
        options |= {"host": host, "port": port}
    return module.ConnectionPool(**options)


def _greeted(pool: Any, greeting: Greeting | None, colour: Colour) -> Any:
    """``pool``, whose connections will ask ``greeting``."""
    if greeting is not None:
        begin = pool.connection_kwargs.get("redis_connect_func")
        pool.connection_kwargs["redis_connect_func"] = greeting.on_connect(colour, begin)
    return pool


def _like(pool: Any, limits: Limits, colour: Colour) -> Any:
    """A pool of ours whose connections lead where those of ``pool`` do."""
    module = _module(colour)
    options = _settings(pool.connection_kwargs) | {"connection_class": pool.connection_class}
    if not sentinels_of(pool):
        return module.ConnectionPool(**options | _ours(limits, colour))
    manager = copy.copy(pool.sentinel_manager)
    manager.sentinels = [
        module.Redis(
            connection_pool=module.ConnectionPool(
                connection_class=asked.connection_class,
                **_settings(asked.connection_kwargs) | _asking(limits, colour),
            )
        )
        for asked in sentinels_of(pool)
    ]
    name_promoted(manager, module.sentinel, colour)
    return module.sentinel.SentinelConnectionPool(
        pool.service_name,
        manager,
        is_master=pool.is_master,
        check_connection=pool.check_connection,
        **options | _ours(limits, colour, sentinel=True),
    )


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of connections without what redis-py has put among them for the pool that it made."""
    return {name: value for name, value in options.items() if not _POOLS_OWN.match(name)}


def sentinels_of(pool: Any) -> list[Any]:
    """The pools of the Sentinels that ``pool`` asks for its master; empty without Sentinel."""
    manager = getattr(pool, "sentinel_manager", None)
    return [sentinel.connection_pool for sentinel in manager.sentinels] if manager is not None else []
