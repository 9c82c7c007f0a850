"""Which servers there are, which of them has a key, and how long to wait for it."""

import copy
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from pymemcache.client.rendezvous import RendezvousHash

from scalekit._limits import Limits
from scalekit._memcached.url import Place, Target
from scalekit.errors import ConfigurationError

TIMEOUT, CONNECT_TIMEOUT, CONNECTIONS, COOLDOWN = 1.0, 0.5, 32, 1.0
_UNBOUNDED = 2**31  # what pymemcache calls no limit


@dataclass(frozen=True)
class Server:
    """One server. ``node`` is its name among those that share the keys, the same on every machine."""

    node: str
    place: Place

    @property
    def name(self) -> str:
        """For messages."""
        return f"unix://{self.place}" if isinstance(self.place, str) else f"memcached://{self.node}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """The servers and what is common to them.

    Attributes:
        given: made from a client, which is synchronous.
        hasher: chooses a node by its ``get_node(key)``; of use if there are several servers.
        key_prefix: put before every key, after a server was chosen.
    """

    servers: Sequence[Server]
    limits: Limits
    hasher: Any
    given: bool = False
    key_prefix: bytes = b""
    tls: ssl.SSLContext | None = None
    _by_node: dict[str, Server] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_node", {server.node: server for server in self.servers})

    @property
    def name(self) -> str:
        if len(self.servers) == 1:
            return self.servers[0].name
        return f"memcached://{','.join(server.node for server in self.servers)}"

    def pick(self, key: str) -> Server:
        """The server that has ``key``."""
        if len(self.servers) == 1:
            return self.servers[0]
        return self._by_node[self.hasher.get_node(key)]


def of_target(target: Target, limits: Limits) -> Source:
    servers = [Server(_node(place), place) for place in target.places]
    return Source(
        servers=servers,
        limits=limits,
        hasher=RendezvousHash([server.node for server in servers]),
        tls=ssl.create_default_context() if target.tls else None,
    )


def of_client(client: Any, *, spare_callers: bool = False) -> Source:
    """What ``client`` is set up with; it is not used itself.

    Raises:
        ConfigurationError: it is no client of pymemcache.
    """
    if isinstance(client, HashClient):
        servers = [Server(node, one.server) for node, one in client.clients.items()]
        if not servers:
            raise ConfigurationError("the given HashClient has no servers")
        # A copy: the client would take a server out of its own when it fails, and our keys would move.
        hasher = copy.deepcopy(client.hasher)
        return _of_settings(servers, client.default_kwargs, hasher, spare_callers=spare_callers)
    if isinstance(client, Client | PooledClient):
        settings = dict(vars(client))
        if isinstance(client, PooledClient):
            settings["max_pool_size"] = client.client_pool.max_size
        servers = [Server(_node(client.server), client.server)]
        return _of_settings(servers, settings, RendezvousHash(), spare_callers=spare_callers)
    kind = f"{type(client).__module__}.{type(client).__qualname__}"
    if kind.startswith("emcache."):
        raise ConfigurationError(
            "clients of emcache are not taken: it puts keys on other servers than pymemcache; "
            "use from_url(url), which serves asynchronous and synchronous code"
        )
    raise ConfigurationError(
        f"{kind} is no Client, PooledClient or HashClient of pymemcache; pass one, or use from_url(url)"
    )


def _of_settings(
    servers: Sequence[Server], settings: dict[str, Any], hasher: Any, *, spare_callers: bool
) -> Source:
    pool = settings.get("max_pool_size") or _UNBOUNDED
    prefix = settings["key_prefix"]
    # pymemcache has no time limits unless it is told some; ours always have.
    return Source(
        servers=servers,
        limits=Limits(
            timeout=settings["timeout"] or TIMEOUT,
            connect_timeout=settings["connect_timeout"] or CONNECT_TIMEOUT,
            max_connections=CONNECTIONS if pool >= _UNBOUNDED else pool,
            spare_callers=spare_callers,
        ).checked(),
        hasher=hasher,
        given=True,
        key_prefix=prefix.encode("ascii") if isinstance(prefix, str) else prefix,
        tls=settings["tls_context"],
    )


def _node(place: Place) -> str:
    # As HashClient calls them, so that both find the same server for a key.
    return place if isinstance(place, str) else f"{place[0]}:{place[1]}"
