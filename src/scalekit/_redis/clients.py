"""redis-py clients: which colour a given one has, and how ours are built.

Ours never retry by themselves (redis-py's default is ten times), speak RESP2 (one shape of replies,
one round trip less to connect) and hand out bytes. What limits their time:

* a standalone or Sentinel connection of an event loop has no time-out of its own: the coalescer
  limits connecting and each exchange as a whole, which costs one timer instead of one a reply;
* everything else (threads, Sentinels, Cluster nodes) has redis-py's socket time-outs.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.cluster
import redis.retry
import redis.sentinel
from redis.backoff import NoBackoff

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
    """Where clients come from: a URL, or the one client that was given."""

    name: str
    colour: Colour | None  # of the given client; None if both can be had
    cluster: bool
    limits: Limits

    def open_async(self) -> Any: ...

    def open_sync(self) -> Any: ...


class Given:
    """The user's own client, with the user's own limits."""

    def __init__(self, client: Any) -> None:
        self.colour: Colour | None = colour_of(client)
        self.cluster = is_cluster(client)
        self.name = name_of(client)
        self.limits = Limits()
        self._client = client

    def open_async(self) -> Any:
        return self._client

    def open_sync(self) -> Any:
        return self._client


class FromURL:
    """A new client for every event loop, and one for all threads."""

    def __init__(self, target: Target, limits: Limits) -> None:
        self.colour: Colour | None = None
        self.cluster = target.kind == "cluster"
        self.name = target.name
        self.limits = limits
        self._target = target

    def open_async(self) -> Any:
        return build(self._target, self.limits, "async")

    def open_sync(self) -> Any:
        return build(self._target, self.limits, "sync")


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


def is_cluster(client: Any) -> bool:
    return isinstance(client, redis.asyncio.RedisCluster | redis.RedisCluster)


def build(target: Target, limits: Limits, colour: Colour) -> Any:
    """A client of one colour for ``target``. A synchronous Cluster client connects at once and may raise."""
    module: Any = redis.asyncio if colour == "async" else redis  # the same names in both
    never = module.retry.Retry(NoBackoff(), 0)
    seconds = {"socket_timeout": limits.timeout, "socket_connect_timeout": limits.connect_timeout}
    options: dict[str, Any] = {
        **target.options,
        **seconds,
        "max_connections": limits.max_connections,
        "protocol": 2,
        "retry": never,
    }
    if target.kind == "cluster":
        nodes = [module.cluster.ClusterNode(host, port) for host, port in target.nodes]
        return module.RedisCluster(startup_nodes=nodes, ssl=target.tls, **options)
    if colour == "async":
        options["socket_timeout"] = None
    if target.kind == "sentinel":
        # Asked one after the other: one that is dead must cost little, or the next is never reached.
        seconds["socket_timeout"] = limits.connect_timeout
        asking = {**target.sentinel_options, **seconds, "protocol": 2, "retry": never, "ssl": target.tls}
        sentinel = module.sentinel.Sentinel(list(target.nodes), sentinel_kwargs=asking)
        return sentinel.master_for(target.service, ssl=target.tls, **options)
    if target.kind == "unix":
        options |= {"connection_class": module.UnixDomainSocketConnection, "path": target.path}
    else:
        host, port = target.nodes[0]
        options |= {"connection_class": module.SSLConnection if target.tls else module.Connection}
        options |= {"host": host, "port": port}
    return module.Redis.from_pool(module.ConnectionPool(**options))


def sentinels_of(client: Any) -> list[Any]:
    """The clients of the Sentinels that ``client`` asks for its master; empty without Sentinel."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return list(manager.sentinels) if manager is not None else []
