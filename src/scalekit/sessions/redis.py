"""Sessions in Redis or Valkey: standalone, behind Sentinels, or in a Cluster.

A session is one hash. Its fields are the top-level keys of the session, plus metadata under names that begin
with a NUL, which no key of a session may. Each operation is one script on that one key, so it is atomic, one
round trip, and runs on any slot of a Cluster. The clock is the server's.

A hash without a deadline is no session of ours (something else cut or wrote it): it is not loaded, not
saved to, and not changed. What ``destroy`` leaves for a while is such a hash too, with one field that holds
the id of the successor, or nothing.
"""

import itertools
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

from scalekit._redis import Commands, Redis, ResponseError, Script
from scalekit._steps import Steps, run, run_async
from scalekit.errors import BackendUnavailable
from scalekit.sessions.store import Answer, Created, Loaded
from scalekit.types import Colour

_log = logging.getLogger("scalekit.sessions")

_CREATED, _DEADLINE, _USER, _ENDED = b"\0created", b"\0deadline", b"\0user", b"\0ended"

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# pcall, because a key that is no hash is nothing of ours. The clock and the deadline are only looked at when
# the time left says that extending may gain a step.
_LOAD = Script(
    """
local flat = redis.pcall('HGETALL', KEYS[1])
if flat.err then return 0 end
if #flat == 0 then return false end
local idle, step = tonumber(ARGV[1]), tonumber(ARGV[2])
local left = redis.call('PTTL', KEYS[1])
if idle - left < step then return flat end
local deadline = tonumber(redis.call('HGET', KEYS[1], '\\0deadline'))
if not deadline then return flat end
"""
    + _NOW
    + """
local expiry = math.min(idle, deadline - now)
if expiry <= 0 then
  redis.call('DEL', KEYS[1])
  return false
end
if expiry - left >= step then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', expiry)) end
return flat
"""
)

# Lua passes at most some thousands of values at once, hence the slices.
_SAVE = Script(
    """
local deadline = redis.pcall('HGET', KEYS[1], '\\0deadline')
deadline = type(deadline) == 'string' and tonumber(deadline)
-- First: a session that another request has ended must stay ended.
if not deadline then return 0 end
"""
    + _NOW
    + """
local expiry = math.min(tonumber(ARGV[1]), deadline - now)
if expiry <= 0 then
  redis.call('DEL', KEYS[1])
  return 0
end
local first = 3 + tonumber(ARGV[2])
for i = 3, first - 1, 1000 do
  redis.call('HDEL', KEYS[1], unpack(ARGV, i, math.min(i + 999, first - 1)))
end
for i = first, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', expiry))
return 1
"""
)

_CREATE = Script(
    """
if redis.call('EXISTS', KEYS[1]) == 1 then return false end
"""
    + _NOW
    + """
local created = ARGV[3] ~= '' and tonumber(ARGV[3]) or now
local deadline = ARGV[4] ~= '' and tonumber(ARGV[4]) or now + tonumber(ARGV[2])
local expiry = math.min(tonumber(ARGV[1]), deadline - now)
if expiry <= 0 then return false end
created, deadline = string.format('%.0f', created), string.format('%.0f', deadline)
redis.call('HSET', KEYS[1], '\\0created', created, '\\0deadline', deadline)
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], '\\0user', ARGV[5]) end
for i = 6, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', expiry))
return {created, deadline, string.format('%.0f', tonumber(deadline) - now)}
"""
)

# The mark that it ended is a courtesy: a server out of memory may refuse it, the session has ended then too.
_DESTROY = Script(
    """
local flat = redis.pcall('HGETALL', KEYS[1])
if flat.err or #flat == 0 then return false end
if redis.call('HEXISTS', KEYS[1], '\\0deadline') == 0 then
  return redis.call('HEXISTS', KEYS[1], '\\0ended') == 1 and flat
end
redis.call('DEL', KEYS[1])
if tonumber(ARGV[1]) > 0 then
  redis.pcall('HSET', KEYS[1], '\\0ended', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return flat
"""
)


class RedisStore:
    """Sessions in Redis.

    Args:
        client: a redis-py client, ``redis.asyncio`` under ASGI, ``redis`` under WSGI; yours to close.
        prefix: what the names of the keys begin with.

    Raises:
        ConfigurationError: ``client`` is no redis-py client.
    """

    def __init__(self, client: Any, *, prefix: str = "session:") -> None:
        self._redis = client if isinstance(client, Redis) else Redis(client)
        self._prefix = prefix

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "session:", timeout: float = 1.0, **options: Any) -> Self:
        """A store for either colour; connects when it is first used.

        Args:
            url: ``redis://``, ``rediss://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``.
            prefix: what the names of the keys begin with.
            timeout: seconds that an answer may take; afterwards the session is unavailable.
            options: ``connect_timeout`` (0.5 s), ``max_connections`` (32, for threads), ``cooldown`` (1 s).

        Raises:
            ConfigurationError: the URL is wrong; it is not quoted, as it may hold a password.
        """
        return cls(Redis.from_url(url, timeout=timeout, **options), prefix=prefix)

    def using(self, colour: Colour) -> "BoundRedisStore":
        """The store in one colour.

        Raises:
            WrongColour: the client that was given has the other one.
        """
        drive = run if colour == "sync" else run_async
        return BoundRedisStore(self._redis.using(colour), self._redis.name, self._prefix, drive)


class BoundRedisStore:
    """A :class:`RedisStore` in one colour; see :class:`scalekit.sessions.store.BoundStore`."""

    def __init__(
        self, commands: Commands, name: str, prefix: str, drive: Callable[[Steps[Any]], Any]
    ) -> None:
        self._commands = commands
        self._name = name
        self._prefix = prefix
        self._drive = drive

    def load(self, id: str, *, idle: int, step: int) -> Answer[Loaded | None]:
        answer: Answer[Loaded | None] = self._drive(self._load(id, idle, step))
        return answer

    def save(
        self, id: str, *, changed: Mapping[bytes, bytes], removed: Collection[bytes], idle: int
    ) -> Answer[bool]:
        args = [idle, len(removed), *removed, *itertools.chain.from_iterable(changed.items())]
        answer: Answer[bool] = self._drive(self._save(id, args))
        return answer

    def create(
        self,
        id: str,
        *,
        fields: Mapping[bytes, bytes],
        user: bytes | None,
        idle: int,
        lifetime: int,
        inherit: tuple[int, int] | None = None,
    ) -> Answer[Created | None]:
        pairs = itertools.chain.from_iterable(fields.items())
        args = [idle, lifetime, *(inherit or ("", "")), user or b"", *pairs]
        answer: Answer[Created | None] = self._drive(self._create(id, args))
        return answer

    def destroy(self, id: str, *, grace: int, successor: str | None = None) -> Answer[Loaded | None]:
        answer: Answer[Loaded | None] = self._drive(self._destroy(id, grace, successor))
        return answer

    def _load(self, id: str, idle: int, step: int) -> Steps[Loaded | None]:
        reply = yield from self._call(_LOAD, id, (idle, step))
        return None if reply is None else _read(reply, id)

    def _save(self, id: str, args: list[Any]) -> Steps[bool]:
        return bool((yield from self._call(_SAVE, id, args)))

    def _create(self, id: str, args: list[Any]) -> Steps[Created | None]:
        reply = yield from self._call(_CREATE, id, args)
        return None if reply is None else Created(*map(int, reply))

    def _destroy(self, id: str, grace: int, successor: str | None) -> Steps[Loaded | None]:
        reply = yield from self._call(_DESTROY, id, (grace, successor or ""))
        return None if reply is None else _read(reply, id)

    def _call(self, script: Script, id: str, args: Sequence[Any]) -> Steps[Any]:
        try:
            return (yield self._commands.script(script, (self._prefix + id,), args))
        except ResponseError as error:
            # Out of memory, no permission, no scripts: it is no use as a store, like one that is away.
            raise BackendUnavailable(f"{self._name} refused: {error}", backend=self._name) from error


def _read(reply: Any, id: str) -> Loaded | None:
    """What HGETALL gave, as a session; ``None`` if it is none."""
    if isinstance(reply, list):
        pairs = iter(reply)
        fields: dict[bytes, bytes] = dict(zip(pairs, pairs, strict=True))
        deadline, created = fields.pop(_DEADLINE, b""), fields.pop(_CREATED, b"")
        if deadline.isdigit() and created.isdigit():
            return Loaded(fields, int(created), int(deadline), fields.pop(_USER, None))
        if _ENDED in fields:
            return Loaded(ended=True, successor=fields[_ENDED].decode("ascii", "replace") or None)
    # Eight digits find the key for whoever looks into it, and are of no use for anything else.
    _log.warning("what is stored under %s... is no session; the visitor is treated as a new one", id[:8])
    return None
