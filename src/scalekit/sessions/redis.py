"""Sessions in Redis or Valkey: standalone, behind Sentinels, or in a Cluster.

A session is one hash. Its fields are the top-level keys of the session, plus metadata under names that begin
with a NUL, which no key of a session may. The sessions of a user are a sorted set of ids by deadline. Each
operation is one script, so it is atomic, one round trip, and by the server's clock; in a Cluster, where a
session and its user's set live on different nodes, ending or beginning one that has a user takes a second.

A hash without a deadline is no session of ours (something else cut or wrote it): it is not loaded, not
saved to, and not changed. What ``destroy`` leaves for a while is such a hash too: with the id of the
successor, or nothing, and if it was rotated what it knew of its own rotation, or nothing.
"""

from collections.abc import Iterator
from typing import Any, Self, Unpack

from scalekit._durations import Duration, seconds
from scalekit._options import LinkOptions, check_count, check_names
from scalekit._redis import Confirm, Redis
from scalekit._steps import run, run_async
from scalekit.dependencies import Dependency
from scalekit.errors import ConfigurationError
from scalekit.metrics import Metric
from scalekit.sessions._counts import Counts
from scalekit.sessions.redis_bound import BoundRedisStore
from scalekit.types import Colour


class RedisStore:
    """Sessions in Redis.

    Args:
        client: a redis-py client, ``redis.asyncio`` under ASGI, ``redis`` under WSGI. Its settings and
            time-outs are used (five seconds where it has none), and neither its connections nor its retries.
        prefix: what the names of the keys begin with.
        wait_replicas: how many replicas must have a change before it counts, by Redis's ``WAIT``; none (0) by
            default. Redis replicates behind its answers: when a primary dies, what it has confirmed last may
            be lost with it, a login or a cart among it. With 1 a replica has it. Where too few say so in time
            the change fails with :class:`~scalekit.errors.NotReplicated`, and visitors get what they get when
            Redis is away. It stays one round trip, which the replica's makes longer.
        wait_timeout: seconds, or a ``timedelta``, within which they must have it; default 0.25.

    Raises:
        ConfigurationError: ``client`` is no redis-py client, or a number is out of range.
    """

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = "session:",
        wait_replicas: int = 0,
        wait_timeout: Duration = 0.25,
    ) -> None:
        self._redis = client if isinstance(client, Redis) else Redis(client)
        self._prefix = prefix
        self._confirm = _confirm(wait_replicas, wait_timeout, self._redis.timeout)
        self._counts = Counts()

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "session:",
        wait_replicas: int = 0,
        wait_timeout: Duration = 0.25,
        **options: Unpack[LinkOptions],
    ) -> Self:
        """A store for either colour; connects when it is first used.

        Args:
            url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``.
            prefix: what the names of the keys begin with.
            wait_replicas: as for the class.
            wait_timeout: as for the class.
            options: ``timeout`` (1 s) is how long an answer may take; afterwards the session is unavailable.
                ``connect_timeout`` (0.5 s), ``max_connections`` (32, for threads), ``cooldown`` (1 s).

        Raises:
            ConfigurationError: the URL or an option is wrong. The message does not quote the URL.
        """
        named = ["prefix", "wait_replicas", "wait_timeout"]
        check_names(options, LinkOptions, taker=f"{cls.__name__}.from_url", named=named)
        link = Redis.from_url(url, **options)
        return cls(link, prefix=prefix, wait_replicas=wait_replicas, wait_timeout=wait_timeout)

    def dependencies(self) -> Iterator[Dependency]:
        """A health check for :mod:`scalekit.ops`: whether Redis answers. Optional: it is away for all servers
        at the same time, and visitors without a login are served."""
        yield Dependency("sessions", lambda colour: self._redis.using(colour).execute("PING"))

    def using(self, colour: Colour) -> "BoundRedisStore":
        """The store in one colour.

        Raises:
            WrongColour: the client that was given has the other one.
        """
        drive = run if colour == "sync" else run_async
        commands, name = self._redis.using(colour), self._redis.name
        return BoundRedisStore(
            commands,
            name,
            self._prefix,
            cluster=self._redis.cluster,
            confirm=self._confirm,
            drive=drive,
            counts=self._counts,
        )

    def metrics(self) -> Iterator[Metric]:
        """What was asked of this store in this process, see :class:`scalekit.metrics.Measured`."""
        return self._counts.metrics()


def _confirm(replicas: int, within: Duration, timeout: float) -> Confirm | None:
    check_count(replicas, option="wait_replicas=", least=0, cure="0 waits for none")
    limit = seconds(within, name="wait_timeout", minimum=0.001)
    if not replicas:
        return None
    if limit >= timeout:
        raise ConfigurationError(
            f"wait_timeout={limit:g} must be below the timeout of {timeout:g} seconds, which is for the "
            "whole answer; raise that, or lower this"
        )
    return Confirm(replicas, limit)
