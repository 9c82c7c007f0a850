"""What the cache does to the keys of Redis; see :mod:`scalekit.cache.redis` for which there are."""

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import wraps
from types import NoneType
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from scalekit._redis import Commands, Request, ResponseError, Script
from scalekit._steps import Steps
from scalekit.cache import redis_scripts as scripts
from scalekit.cache import versions
from scalekit.cache.backend import Lease, Lookup
from scalekit.cache.entry import TOKEN_BYTES, Found
from scalekit.cache.entry import versions as versions_of
from scalekit.cache.redis_foreign import Own, Told
from scalekit.cache.redis_trips import in_one_trip
from scalekit.errors import BackendUnavailable

# One script names no more keys, so that its lists fit Lua's stack and other clients are not kept waiting.
_AT_ONCE = 1000

_ATTEMPTS = 8  # at a lease on a Cluster: each fails because others have written under its key
# Of what is under a key; no server that runs our commands gives anything else.
_VALUES = frozenset([bytes, NoneType])

P = ParamSpec("P")
T = TypeVar("T")

_Arguments: TypeAlias = Callable[[int], Sequence[bytes | int | str]]
"""A script's arguments, for so many keys."""


def _new_versions(count: int) -> bytes:
    return secrets.token_bytes(count * versions.VERSION_BYTES)


def _or_unavailable(
    method: Callable[Concatenate["RedisEntries", P], Steps[T]],
) -> Callable[Concatenate["RedisEntries", P], Steps[T]]:
    """A server that refuses a command (memory is full, no permission) counts as one that is away."""

    @wraps(method)
    def steps(entries: "RedisEntries", /, *args: P.args, **kwargs: P.kwargs) -> Steps[T]:
        try:
            return (yield from method(entries, *args, **kwargs))
        except ResponseError as error:
            raise BackendUnavailable(
                f"{entries.name} refused a command of the cache: {error}", backend=entries.name
            ) from error

    return steps


class RedisEntries:
    """See :class:`scalekit.cache.backend.Entries`."""

    def __init__(
        self, commands: Commands, *, prefix: str, cluster: bool, told: Told, limit: int | None
    ) -> None:
        self.name = told.name
        self.limit = limit
        self._commands, self._own, self._told = commands, Own(commands, told), told
        self._prefix = prefix
        self._generation = prefix + "g"
        self._stream = told.stream
        self._cluster = cluster
        self.close = commands.close

    @_or_unavailable
    def read(self, lookups: Sequence[Lookup]) -> Steps[list[Found]]:
        if len(lookups) == 1:
            key, tags = lookups[0]
            value, *records = yield from self._get([self._prefix + key, *self._tags(tags)])
            return [Found(value, tuple(records))]
        keys = [self._prefix + key for key, _ in lookups]
        named = {tags: self._tags(tags) for tags in {tags for _, tags in lookups}}
        names = list(dict.fromkeys([*keys, *[name for names in named.values() for name in names]]))
        values = dict(zip(names, (yield from self._get(names)), strict=True)) if names else {}
        records_of = {tags: tuple([values[name] for name in names]) for tags, names in named.items()}
        return [Found(values[key], records_of[tags]) for key, (_, tags) in zip(keys, lookups, strict=True)]

    @_or_unavailable
    def acquire(
        self,
        lookup: Lookup,
        found: Found,
        *,
        ttl: float,
        refresh: bool = False,
        token: bytes | None = None,
    ) -> Steps[Lease | Found | None]:
        key, tags = self._prefix + lookup.key, self._tags(lookup.tags)
        token = token or secrets.token_bytes(TOKEN_BYTES)
        wanted = (token, _milliseconds(ttl), int(refresh))
        if self._cluster:
            reply = yield from self._acquire_apart(key, tags, found, wanted)
        else:
            reply = yield from self._own.script(
                scripts.ACQUIRE, [key, *tags], [_new_versions(len(tags)), *wanted]
            )
        match reply:
            case [[b"dirty"], *_]:
                return None
            case [[b"found", bytes() | None as value], _, [*records]]:
                return Found(value, tuple([_value(record) for record in records]))
            case [[b"mine", int(left)], now, [*records]]:
                mine = True
            case [[b"held", int(left), bytes(holder)], now, [*records]]:
                mine = holder == token  # it was asked for twice: something in the same trip had failed
                token = holder
            case _:
                raise _malformed()
        known = [versions.parse(_value(record)) for record in records]
        clocks = now if isinstance(now, list) else [now] * len(known)
        if len(known) != len(tags) or None in known or not all(isinstance(clock, int) for clock in clocks):
            raise _malformed()
        return Lease(
            key=lookup.key,
            token=token,
            versions=b"".join([one.version for one in known if one]),
            mine=mine,
            left=max(0, left) / 1000,
            refresh=refresh,
            ages=tuple([(clock - one.birth) / 1000 for one, clock in zip(known, clocks, strict=True) if one]),
            # The generation has no commit's, but its history, see redis_history.
            positions=(None, *[one.position for one in known[1:] if one]),
        )

    def _acquire_apart(
        self, key: str, tags: Sequence[str], found: Found, wanted: tuple[bytes, int, int]
    ) -> Steps[Any]:
        """What the script replies, from nodes of a Cluster; the time is a list, of each tag's node."""
        seen, value = versions_of(found.tags), found.value
        for _ in range(_ATTEMPTS):
            asked = [scripts.RECORD.request([tag], [_new_versions(1)]) for tag in tags]
            if seen is not None:  # most likely they still are the tags' versions
                asked.append(scripts.TAKE.request([key], [seen, *wanted, scripts.head_of(value, seen), 0]))
            replies = yield from self._own.pipeline(asked, [key, *tags])
            try:
                records, clocks = (list(column) for column in zip(*replies[: len(tags)], strict=True))
            except (TypeError, ValueError):
                raise _malformed() from None
            present = versions_of([_value(record) for record in records])
            if present is None:
                break
            outcome: Any = replies[-1] if present == seen else [b"other"]
            if isinstance(outcome, list) and outcome[:1] == [b"other"]:
                # Read after `value`, they are at least as new as what that is under.
                args = [present, *wanted, scripts.head_of(value, present), 1]
                outcome = yield from self._own.script(scripts.TAKE, [key], args)
            match outcome:
                case [b"other", bytes() as value]:
                    seen = None  # others were faster, by versions that may be newer
                case _:
                    return [outcome, clocks, records]
        return [[b"dirty"], None, None]

    @_or_unavailable
    def renew(self, lease: Lease, *, ttl: float) -> Steps[Lease | None]:
        renewed = yield from self._if_in_place(scripts.RENEW, lease, _milliseconds(ttl))
        return replace(lease, left=ttl) if renewed else None

    @_or_unavailable
    def fill(self, lease: Lease, value: bytes, *, ttl: float) -> Steps[bool]:
        return (yield from self._if_in_place(scripts.FILL, lease, value, _milliseconds(ttl)))

    @_or_unavailable
    def release(self, lease: Lease, *, mark: bytes = b"", ttl: float = 0.0) -> Steps[None]:
        yield from self._if_in_place(scripts.RELEASE, lease, mark, _milliseconds(ttl))

    @_or_unavailable
    def drop(self, keys: Sequence[str]) -> Steps[None]:
        names = [self._prefix + key for key in keys]
        yield from self._change(scripts.DROP, names, lambda count: [], said="k", called=keys)

    @_or_unavailable
    def drop_tags(self, tags: Sequence[str]) -> Steps[None]:
        yield from self._change_tags(scripts.DROP_TAGS, tags, lambda count: [_new_versions(count)])

    @_or_unavailable
    def mark(self, tags: Sequence[str], writer: bytes, *, ttl: float) -> Steps[None]:
        yield from self._change_tags(scripts.MARK, tags, lambda count: [writer, _milliseconds(ttl)])

    @_or_unavailable
    def bump(self, tags: Sequence[str], writer: bytes, *, position: str | None = None) -> Steps[None]:
        where = (position or "").encode()
        if len(where) > versions.MAX_POSITION:
            where = b""
        yield from self._change_tags(scripts.BUMP, tags, lambda count: [writer, _new_versions(count), where])

    @_or_unavailable
    def renew_generation(self, *, older_than: float | None = None) -> Steps[None]:
        age = "" if older_than is None else int(older_than * 1000)
        yield from self._change(
            scripts.RENEW_GENERATION,
            [self._generation],
            lambda count: [_new_versions(count), age],
            said="g",
            called=["1"],
            anyway=True,
        )

    @_or_unavailable
    def ping(self) -> Steps[None]:
        yield self._commands.execute("PING")

    def elsewhere(self, lookup: Lookup) -> Collection[str]:
        return self._commands.elsewhere([self._prefix + lookup.key, *self._tags(lookup.tags)])

    def together(self, asks: Sequence[Callable[["RedisEntries"], Steps[Any]]]) -> Steps[list[Any]]:
        """The answers to several questions in one trip, or two where one is. In place of one its error.

        Each is given entries whose commands are collected.
        """
        return in_one_trip(asks, self._commands, self._over)

    def _over(self, commands: Commands) -> "RedisEntries":
        return RedisEntries(
            commands, prefix=self._prefix, cluster=self._cluster, told=self._told, limit=self.limit
        )

    def _tags(self, tags: Sequence[str]) -> list[str]:
        """Their keys, the generation's first."""
        return [self._generation, *[f"{self._prefix}t:{tag}" for tag in tags]]

    def _get(self, names: Sequence[str]) -> Steps[list[bytes | None]]:
        if self._cluster:  # it has no MGET over several slots
            values = yield from self._own.pipeline([Request(("GET", name)) for name in names], names)
        else:
            values = yield self._commands.execute("MGET", *names)
        if (
            not isinstance(values, list)
            or len(values) != len(names)
            or not _VALUES.issuperset(map(type, values))
        ):
            raise _malformed()
        return values

    def _if_in_place(self, script: Script, lease: Lease, *args: bytes | int) -> Steps[bool]:
        """Run a script that does something if ``lease`` is in place; whether it was."""
        reply = yield from self._own.script(script, [self._prefix + lease.key], [lease.token, *args])
        return bool(_number(reply))

    def _change_tags(self, script: Script, tags: Sequence[str], args: "_Arguments") -> Steps[None]:
        yield from self._change(script, self._tags(tags)[1:], args, said="t", called=tags)

    def _change(
        self,
        script: Script,
        names: Sequence[str],
        args: "_Arguments",
        *,
        said: str,
        called: Sequence[str],
        anyway: bool = False,
    ) -> Steps[None]:
        """Run a script for ``names``; what it reports is said in the stream, as it is ``called``.

        ``anyway``: on a cluster, where that takes two trips, also what was no news: whoever made it may not
        have come to say so.
        """
        if not names:
            return
        if self._cluster:
            replies = yield from self._own.pipeline(
                [script.request([name], args(1)) for name in names], names
            )
            news = [call for call, reply in zip(called, replies, strict=True) if _number(reply) or anyway]
            for some in _portions(news):
                words = [word for call in some for word in (said, call)]
                _number((yield from self._own.script(scripts.TELL, [self._stream], words)))
            return
        for some, calls in zip(_portions(names), _portions(called), strict=True):
            keys = [*some, self._stream]
            reply = yield from self._own.script(script, keys, [*args(len(some)), *calls])
            _number(reply)


def _portions(items: Sequence[str]) -> list[Sequence[str]]:
    return [items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE)]


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _number(reply: Any) -> int:
    if not isinstance(reply, int):
        raise _malformed()
    return reply


def _value(reply: Any) -> bytes | None:
    if not isinstance(reply, bytes | None):
        raise _malformed()
    return reply


def _malformed() -> BackendUnavailable:
    return BackendUnavailable("Redis gave the cache a reply of another shape", backend="redis")
