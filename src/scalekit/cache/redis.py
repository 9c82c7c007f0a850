"""The cache's back end in Redis: one server, Sentinels or a Cluster.

Keys: ``<prefix><function>:<digest>`` for an entry, ``<prefix>t:<tag>`` for a tag's version. A hit is one
command, ``MGET`` of the entry and its tags (on a Cluster one ``GET`` each, sent together); a miss that is
stored is two scripts more. Dropping a key or a tag is one ``DEL``.
"""

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar, Unpack

from scalekit._options import LinkOptions, check_names
from scalekit._redis import Commands, Redis, ResponseError, Script
from scalekit._steps import Steps
from scalekit.cache.backend import LEASE_TTL, Lease, Miss, header, judge, new_lease, new_version
from scalekit.errors import BackendUnavailable, ConfigurationError
from scalekit.types import Colour

# Versions that nobody has used for so long may go; a result would have to be older to miss them.
_VERSION_TTL = 30 * 24 * 3600

# The lease in place or the result, if it was made under our versions; or else nothing, and ours is in place.
# What has other versions is stale, or newer than what we have read: then this costs one query, and is right.
_LEASE = Script("""
local found = redis.call('GET', KEYS[1])
if found then
    local from = 1
    if string.sub(found, 1, 1) == 'L' then
        from = tonumber(ARGV[4])
    end
    if string.sub(found, from, from + #ARGV[3] - 1) == ARGV[3] then
        return found
    end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
""")

_FILL = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    return 1
end
return 0
""")


class RedisBackend:
    """Results in Redis.

    Args:
        client: a redis-py client of either colour: ``redis.Redis``, ``redis.asyncio.Redis``, a
            ``RedisCluster``, or a Sentinel's ``master_for``. Its settings and time-outs are used.
        prefix: what every key begins with; at most 100 printable ASCII characters: keys stay below 250.

    Raises:
        ConfigurationError: ``client`` is no redis-py client, or the prefix is too long.
    """

    local = False

    def __init__(self, client: Any, *, prefix: str = "c:") -> None:
        if len(prefix) > _MAX_PREFIX or not (prefix.isascii() and prefix.isprintable()):
            raise ConfigurationError(
                f"prefix={prefix!r:.120}: at most {_MAX_PREFIX} printable ASCII characters"
            )
        self._link = client if isinstance(client, Redis) else Redis(client)
        self._prefix = prefix

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "c:", **options: Unpack[LinkOptions]) -> "RedisBackend":
        """A back end at a URL: ``redis``, ``rediss``, ``unix``, ``redis+sentinel`` or ``redis+cluster``.

        Args:
            url: for instance ``redis://localhost:6379/1``.
            prefix: what every key begins with.
            options: ``timeout`` (1 s) is how long an answer may take; then the query runs without the cache.
                ``connect_timeout`` (0.5 s), ``max_connections`` (32, for threads), ``cooldown`` (1 s).

        Raises:
            ConfigurationError: the URL or an option is wrong. The message does not quote the URL.
        """
        check_names(options, LinkOptions, taker=f"{cls.__name__}.from_url", named=["prefix"])
        return cls(Redis.from_url(url, **options), prefix=prefix)

    def using(self, colour: Colour) -> "_Entries":
        return _Entries(self._link.using(colour), prefix=self._prefix, cluster=self._link.cluster)


_MAX_PREFIX = 100

P = ParamSpec("P")
T = TypeVar("T")


def _or_unavailable(method: Callable[P, Steps[T]]) -> Callable[P, Steps[T]]:
    """A server that refuses a command (memory is full, no permission) counts as one that is away."""

    @wraps(method)
    def steps(*args: P.args, **kwargs: P.kwargs) -> Steps[T]:
        try:
            return (yield from method(*args, **kwargs))
        except ResponseError as error:
            raise BackendUnavailable(
                f"Redis refused a command of the cache: {error}", backend="redis"
            ) from error

    return steps


class _Entries:
    """See :class:`scalekit.cache.backend.Entries`."""

    def __init__(self, commands: Commands, *, prefix: str, cluster: bool) -> None:
        self._commands = commands
        self._prefix = prefix
        self._cluster = cluster
        self.close = commands.close

    @_or_unavailable
    def read(self, key: str, tags: Sequence[str]) -> Steps[bytes | Miss]:
        value, *versions = yield from self._get([self._prefix + key, *map(self._tag, tags)])
        return judge(value, versions)

    @_or_unavailable
    def lease(self, key: str, tags: Sequence[str], miss: Miss) -> Steps[bytes | Lease | None]:
        versions = yield from self._versions(tags, miss.versions)
        if versions is None:
            return None
        start = header(versions)
        lease = new_lease(start)
        reply = yield self._commands.script(
            _LEASE,
            [self._prefix + key],
            [lease.token, int(LEASE_TTL * 1000), start, len(lease.token) - len(start) + 1],
        )
        found = _value(reply)
        if found is None:
            return lease
        if found.startswith(b"L"):
            return Lease(found, start)
        if not found.startswith(start):
            raise _malformed()
        return found[len(start) :]

    @_or_unavailable
    def fill(self, key: str, lease: Lease, payload: bytes, ttl: float) -> Steps[bool]:
        milliseconds = max(1, int(ttl * 1000))
        stored = yield self._commands.script(
            _FILL, [self._prefix + key], [lease.token, lease.header + payload, milliseconds]
        )
        if not isinstance(stored, int):
            raise _malformed()
        return bool(stored)

    @_or_unavailable
    def drop(self, keys: Sequence[str]) -> Steps[None]:
        yield from self._delete([self._prefix + key for key in keys])

    @_or_unavailable
    def drop_tags(self, tags: Sequence[str]) -> Steps[None]:
        yield from self._delete([self._tag(tag) for tag in tags])

    def _tag(self, tag: str) -> str:
        return f"{self._prefix}t:{tag}"

    def _versions(self, tags: Sequence[str], seen: Sequence[bytes | None]) -> Steps[list[bytes] | None]:
        """The tags' versions, made where they are missing; ``None`` if one does not stay (memory is full)."""
        missing = [tag for tag, version in zip(tags, seen, strict=True) if version is None]
        if missing:
            # Others may be making the same ones now: the first wins, and all read what it wrote.
            yield from _together(
                self._commands.execute("SET", self._tag(tag), new_version(), "NX", "EX", _VERSION_TTL)
                for tag in missing
            )
            seen = yield from self._get([self._tag(tag) for tag in tags])
        versions = [version for version in seen if version is not None]
        return versions if len(versions) == len(tags) else None

    def _get(self, names: Sequence[str]) -> Steps[list[bytes | None]]:
        if len(names) == 1 or self._cluster:  # a Cluster has no MGET over several slots
            values = yield from _together(self._commands.execute("GET", name) for name in names)
        else:
            values = yield self._commands.execute("MGET", *names)
        if not isinstance(values, list) or len(values) != len(names):
            raise _malformed()
        return [_value(value) for value in values]

    def _delete(self, names: Sequence[str]) -> Steps[None]:
        if not names:
            return
        if self._cluster:
            yield from _together(self._commands.execute("DEL", name) for name in names)
        else:
            yield self._commands.execute("DEL", *names)


def _value(reply: Any) -> bytes | None:
    """What is under a key; no server that runs our commands gives anything else."""
    if not isinstance(reply, bytes | None):
        raise _malformed()
    return reply


def _malformed() -> BackendUnavailable:
    return BackendUnavailable("Redis gave the cache a reply of another shape", backend="redis")


def _together(replies: Iterable[Any]) -> Generator[Any, Any, list[Any]]:
    """Send all, then wait for each: on an event loop they travel as one pipeline."""
    waiting = list(replies)
    results: list[Any] = []
    try:
        for reply in waiting:
            results.append((yield reply))  # noqa: PERF401  a comprehension cannot yield
    finally:
        for reply in waiting[len(results) + 1 :]:
            _forsake(reply)
    return results


def _forsake(reply: Any) -> None:
    """Give up a reply that nobody will await: asyncio would log an error in it as never retrieved."""
    if isinstance(reply, asyncio.Future) and not reply.cancel() and not reply.cancelled():
        reply.exception()
