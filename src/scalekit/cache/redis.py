"""The cache's back end in Redis: one server, Sentinels or a Cluster.

Keys: ``<prefix><function>:<digest>`` for an entry, ``<prefix>t:<tag>`` for a tag's record, ``<prefix>g`` for
the generation's, ``<prefix>m`` for the stream of messages. A hit is one command, ``MGET`` of the entry and
its tags, for however many lookups; everything else is one script. A new connection begins with one, see
:mod:`scalekit.cache.redis_history`.

On a Cluster, where keys live on several nodes, commands are sent to all of them at once: a ``GET`` each, a
script each. What is said in the stream is said when they have been answered, in a second trip. Who takes a
lease there may have versions that are outdated by now: it replaces nothing but what it has found.
"""

from typing import Any, Unpack

from scalekit._options import LinkOptions, check_count, check_names
from scalekit._redis import Redis
from scalekit.cache.redis_channel import RedisChannel
from scalekit.cache.redis_entries import RedisEntries
from scalekit.cache.redis_foreign import Told
from scalekit.cache.redis_history import History
from scalekit.errors import ConfigurationError
from scalekit.types import Colour

_MAX_PREFIX = 100

# What a server that hangs may cost is little: the query is there for that. A round trip takes a hundredth.
TIMEOUT = 0.035  # seconds

MAX_VALUE_SIZE = 2 << 20
"""Bytes. A gigabit a second carries them in half of :data:`TIMEOUT`; what takes longer looks as if the server
hung, and would have the circuit breaker switch the cache off for everything."""

_LARGEST = (512 << 20) - 1024  # bytes; Redis takes no value of more than 512 MiB, with what we put before it


class RedisBackend:
    """Results in Redis 5 or later, or Valkey.

    Args:
        client: a redis-py client of either colour: ``redis.Redis``, ``redis.asyncio.Redis``, a
            ``RedisCluster``, or a Sentinel's ``master_for``. Its settings and time-outs are used, and are
            what a server that hangs costs those who ask it first.
        prefix: what every key begins with; at most 100 printable ASCII characters: keys stay below 250.
        max_value_size: bytes of the largest result that is stored, 2 MiB by default. A larger one would take
            longer than the time-out: with a longer one this may be more, 512 MiB at most.

    Raises:
        ConfigurationError: ``client`` is no redis-py client, the prefix is too long, or a number is out of
            range.
    """

    local = False

    def __init__(self, client: Any, *, prefix: str = "c:", max_value_size: int = MAX_VALUE_SIZE) -> None:
        if not isinstance(prefix, str):
            raise ConfigurationError(f"prefix= must be text, such as 'c:', not {type(prefix).__name__}")
        if len(prefix) > _MAX_PREFIX or not (prefix.isascii() and prefix.isprintable()):
            raise ConfigurationError(
                f"prefix={prefix!r:.120}: at most {_MAX_PREFIX} printable ASCII characters"
            )
        cure = "2 * 1024 * 1024 is the default"
        self._limit = check_count(max_value_size, option="max_value_size=", least=1024, cure=cure)
        if max_value_size > _LARGEST:
            raise ConfigurationError(
                f"max_value_size={max_value_size} must be at most {_LARGEST}: Redis takes 512 MiB; {cure}"
            )
        self._link = client if isinstance(client, Redis) else Redis(client, spare_callers=True)
        self._prefix = prefix
        self._told = Told(self._link.name, stream=prefix + "m")
        if not self._link.cluster:
            history = History(self._link.name, generation=prefix + "g", stream=self._told.stream)
            self._link.greet(history.greeting)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "c:",
        max_value_size: int = MAX_VALUE_SIZE,
        **options: Unpack[LinkOptions],
    ) -> "RedisBackend":
        """A back end at a URL: ``redis``, ``rediss``, ``unix``, ``redis+sentinel`` or ``redis+cluster``.

        Args:
            url: for instance ``redis://localhost:6379/1``.
            prefix: what every key begins with.
            max_value_size: bytes of the largest result that is stored, 2 MiB by default; with a longer
                ``timeout`` it may be more.
            options: ``timeout`` (0.035 s) is how long an answer may take, and ``connect_timeout`` (the same,
                0.5 s at most) how long a call waits for a connection; both may take a quarter more on an
                event loop. Then the query runs without the cache. ``max_connections`` (32, for threads),
                ``cooldown`` (1 s).

        Raises:
            ConfigurationError: the URL or an option is wrong. The message does not quote the URL.
        """
        check_names(
            options, LinkOptions, taker=f"{cls.__name__}.from_url", named=["prefix", "max_value_size"]
        )
        timeout = options.setdefault("timeout", TIMEOUT)
        if isinstance(timeout, int | float):  # else the link says what is wrong with it
            options.setdefault("connect_timeout", min(timeout, 0.5))
        link = Redis.from_url(url, **options, spare_callers=True)
        return cls(link, prefix=prefix, max_value_size=max_value_size)

    def using(self, colour: Colour) -> "RedisEntries":
        return RedisEntries(
            self._link.using(colour),
            prefix=self._prefix,
            cluster=self._link.cluster,
            told=self._told,
            limit=self._limit,
        )

    def channel(self, *, block: float) -> RedisChannel:
        """See :class:`scalekit.cache.channel.HasChannel`."""
        return RedisChannel(self._link, told=self._told, block=block)
