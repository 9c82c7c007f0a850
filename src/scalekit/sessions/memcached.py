"""Sessions in Memcached: one server, or several that share the keys.

A session is one item. A change reads it, merges, and writes it back on the condition that nobody has written
meanwhile (``gets`` and ``cas``), so that concurrent changes merge here too. A destroyed session leaves a mark
in its place. The sessions of a user are one item more.

What Memcached cannot do, and what becomes of it:

* It may drop any item, and a restart drops all. A session that was dropped has ended. Without its *mark* an
  ended session is as ended, for only ``create`` makes one; but who comes too late is taken for a new visitor.
  Without their *list* sessions live on unlisted; each lists itself again when its idle time is extended.
* Its clock counts seconds and cannot be asked, so moments are by the clock of the machine that we run on.
  What we store says when it ends; Memcached keeps it a little longer.
* It does not change two items at once. A session is stored first and listed then, and ended first and struck
  off then: what lives is listed, and what is listed may have ended.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Self, Unpack

from scalekit._memcached import Attempt, Commands, Found, Memcached, Outcome, Refused, settle
from scalekit._options import LinkOptions, check_kind, check_names
from scalekit._steps import Steps, run, run_async
from scalekit.dependencies import Dependency
from scalekit.errors import BackendError, ConfigurationError, SessionTooLarge
from scalekit.metrics import Metric
from scalekit.sessions._counts import Counts, size
from scalekit.sessions._sparing import SparingLog
from scalekit.sessions.memcached_items import NEVER, Item, Mark, Rotated, Stored, decode_item, encode, seconds
from scalekit.sessions.memcached_lists import Lists
from scalekit.sessions.store import Answer, Created, Inherited, Loaded, Swapped
from scalekit.types import Colour

_log = logging.getLogger("scalekit.sessions")

_KEY = 250  # bytes
_OWN = len("user:") + 64  # bytes of a key after the prefix
_OVERHEAD = 512  # bytes; more than what memcached adds to a value, its key included
_ITEM = 1 << 20  # bytes


class MemcachedStore:
    """Sessions in Memcached. Read on the page "Keep visitors logged in" what is weaker than in Redis.

    Args:
        client: a client of pymemcache, for WSGI: its servers, time-outs, key prefix and TLS are used.
        prefix: what the names of the keys begin with; ASCII without spaces.
        max_item_size: bytes that the server takes, its option ``-I``.
        clock: seconds since 1970; tests put their own here.

    Raises:
        ConfigurationError: ``client`` is no client of pymemcache, or ``prefix`` can begin no key.
    """

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = "session:",
        max_item_size: int = _ITEM,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._memcached = client if isinstance(client, Memcached) else Memcached(client)
        if not all("!" <= character <= "~" for character in prefix):
            raise ConfigurationError(
                f"prefix={prefix!r} must be ASCII without spaces, as Memcached's keys are"
            )
        if len(self._memcached.key_prefix) + len(prefix) + _OWN > _KEY:
            raise ConfigurationError(
                f"prefix={prefix!r} is too long: a key of Memcached has {_KEY} bytes at most"
            )
        wanted = "a whole number of bytes, such as 1024 * 1024"
        check_kind(max_item_size, int, option="max_item_size=", wanted=wanted)
        if max_item_size <= _OVERHEAD:
            raise ConfigurationError(f"max_item_size={max_item_size!r} must be above {_OVERHEAD} bytes")
        self._prefix = prefix
        self._limit = max_item_size - _OVERHEAD
        self._counts = Counts()
        self._clock = clock

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "session:",
        max_item_size: int = _ITEM,
        clock: Callable[[], float] = time.time,
        **options: Unpack[LinkOptions],
    ) -> Self:
        """A store for either colour; connects when it is first used.

        Args:
            url: ``memcached://host:11211``, several servers as ``memcached://one,two:11212``; or ``unix://``.
            prefix: what the names of the keys begin with.
            max_item_size: bytes that the server takes, its option ``-I``.
            clock: seconds since 1970; tests put their own here.
            options: ``timeout`` (1 s) is how long an answer may take; afterwards the session is unavailable.
                ``connect_timeout`` (0.5 s), ``max_connections`` (32, for threads), ``cooldown`` (1 s).

        Raises:
            ConfigurationError: the URL or an option is wrong.
        """
        own = ("prefix", "max_item_size", "clock")
        check_names(options, LinkOptions, taker=f"{cls.__name__}.from_url", named=own)
        link = Memcached.from_url(url, **options)
        return cls(link, prefix=prefix, max_item_size=max_item_size, clock=clock)

    def dependencies(self) -> Iterator[Dependency]:
        """A health check for :mod:`scalekit.ops`: whether Memcached answers. Optional: it is away for all
        servers at the same time, and visitors without a login are served."""
        yield Dependency("sessions", lambda colour: self._memcached.using(colour).ping())

    def using(self, colour: Colour) -> "BoundMemcachedStore":
        """The store in one colour.

        Raises:
            WrongColour: it was given a client, which is synchronous, and is to be asynchronous.
        """
        return BoundMemcachedStore(
            self._memcached.using(colour),
            name=self._memcached.name,
            prefix=self._prefix,
            limit=self._limit,
            clock=self._clock,
            drive=run if colour == "sync" else run_async,
            counts=self._counts,
        )

    def metrics(self) -> Iterator[Metric]:
        """What was asked of this store in this process, see :class:`scalekit.metrics.Measured`."""
        return self._counts.metrics()


class BoundMemcachedStore:
    """A :class:`MemcachedStore` in one colour; see :class:`scalekit.sessions.store.BoundStore`."""

    def __init__(
        self,
        commands: Commands,
        *,
        name: str,
        prefix: str,
        limit: int,
        clock: Callable[[], float],
        drive: Callable[[Steps[Any]], Any],
        counts: Counts,
    ) -> None:
        self._commands = commands
        self._name = name
        self._prefix = prefix
        self._limit = limit
        self._clock = clock
        self._drive = drive
        self._counts = counts
        self._lists = Lists(commands, name=name, prefix=prefix, limit=limit, now=self._now, trip=counts.trip)
        self._log = SparingLog()

    def load(self, id: str, *, idle: int, step: int, own: bool = False) -> Answer[Loaded | None]:
        answer: Answer[Loaded | None] = self._drive(
            self._counts.watched("load", self._load(id, idle, step, own))
        )
        return answer

    def save(
        self, id: str, *, changed: Mapping[bytes, bytes], removed: Collection[bytes], idle: int
    ) -> Answer[bool]:
        steps = self._settle(lambda: self._save(id, changed, removed, idle))
        answer: Answer[bool] = self._drive(self._counts.watched("save", steps, written=size(changed)))
        return answer

    def swap(
        self, id: str, name: bytes, *, expected: bytes | None, value: bytes | None, idle: int
    ) -> Answer[Swapped | None]:
        steps = self._settle(lambda: self._swap(id, name, expected, value, idle))
        written = size({} if value is None else {name: value})
        answer: Answer[Swapped | None] = self._drive(self._counts.watched("swap", steps, written=written))
        return answer

    def create(
        self,
        id: str,
        *,
        fields: Mapping[bytes, bytes],
        user: bytes | None,
        idle: int,
        lifetime: int,
        inherit: Inherited | None = None,
        device: bytes | None = None,
    ) -> Answer[Created | None]:
        now = self._now()
        created, deadline, origin, token = inherit or (now, now + lifetime, id, b"")
        item = Stored(created, deadline, now, min(now + idle, deadline), user, device, dict(fields), origin)
        if inherit is not None:
            item.rotated = Rotated(False, now, token)
        answer: Answer[Created | None] = self._drive(
            self._counts.watched("create", self._create(id, item, now), written=size(fields))
        )
        return answer

    def destroy(
        self,
        id: str,
        *,
        grace: int,
        successor: str | None = None,
        alias: bool = False,
        user: bytes | None = None,
        version: int | None = None,
    ) -> Answer[Loaded | None]:
        end = self._settle(lambda: self._end(id, grace, successor, alias, version))
        answer: Answer[Loaded | None] = self._drive(
            self._counts.watched("destroy", self._destroy(id, user, version, end))
        )
        return answer

    def listed(self, user: bytes) -> Answer[list[str]]:
        answer: Answer[list[str]] = self._drive(self._counts.watched("listed", self._lists.of(user)))
        return answer

    def _load(self, id: str, idle: int, step: int, own: bool) -> Steps[Loaded | None]:
        item, version = yield from self._read(id)
        now = self._now()
        if not isinstance(item, Stored):
            return None if item is None else item.loaded(now)
        due = now - item.seen >= step
        unheard = own and item.rotated is not None and not item.rotated.heard
        if due:
            item.extend(now, idle)
        if unheard:
            item.rotated = Rotated(True, now)
        # If somebody else has written meanwhile, they have extended it, or ended it after it was read; and it
        # hears of the next request.
        written = (due or unheard) and (yield from self._write(id, item, version, now))
        if written and due and item.user is not None:
            yield from self._list_again(id, item.user, item.deadline)
        return item.loaded(now)

    def _save(
        self, id: str, changed: Mapping[bytes, bytes], removed: Collection[bytes], idle: int
    ) -> Steps[Outcome[bool]]:
        item, version = yield from self._read(id)
        # First: a session that another request has ended must stay ended.
        if not isinstance(item, Stored):
            return False
        for name in removed:
            item.fields.pop(name, None)
        item.fields.update(changed)
        return (yield from self._saved(id, item, version, idle)) or Attempt.FAILED

    def _swap(
        self, id: str, name: bytes, expected: bytes | None, value: bytes | None, idle: int
    ) -> Steps[Outcome[Swapped | None]]:
        item, version = yield from self._read(id)
        if not isinstance(item, Stored):
            return None
        found = item.fields.get(name)
        if found != expected:
            return Swapped(False, found)
        if value is None:
            item.fields.pop(name, None)
        else:
            item.fields[name] = value
        done = yield from self._saved(id, item, version, idle)
        return Swapped(True) if done else Attempt.FAILED

    def _create(self, id: str, item: Stored, now: int) -> Steps[Created | None]:
        if item.deadline <= now:
            return None
        data = self._encode(item)
        self._counts.trip()
        if not (yield self._commands.add(self._prefix + id, data, seconds=seconds(item.expires, now))):
            return None
        if item.user is not None:
            # After it is there, and before anybody is told of it: who revokes at the same time has not seen
            # it in the list, and then it is listed; or has seen it, and then it is there to be destroyed.
            try:
                yield from self._lists.add(item.user, id, item.deadline)
            except BackendError:
                yield from self._take_back(id)
                raise
        return Created(item.created, item.deadline, item.deadline - now)

    def _destroy(
        self, id: str, user: bytes | None, version: int | None, end: Steps[Loaded | None]
    ) -> Steps[Loaded | None]:
        last = yield from end
        if last is not None and not last.ended and version not in (None, last.version):
            return last  # it lives on
        for owner in {user, last.user if last is not None else None}:
            if owner is None:
                continue
            try:
                yield from self._lists.strike(owner, id)
            except BackendError as error:
                # It has ended, which is what was asked for. The list forgets it at its deadline.
                _log.warning("a session that has ended stays listed: %s", error)
        return last

    def _end(
        self, id: str, grace: int, successor: str | None, alias: bool, version: int | None
    ) -> Steps[Outcome[Loaded | None]]:
        item, read = yield from self._read(id)
        now = self._now()
        if not isinstance(item, Stored):
            return None if item is None else item.loaded(now)
        if version not in (None, item.version):
            return item.loaded(now)
        mark = Mark(now + grace, successor, alias, item.rotated if alias else None)
        try:
            done = yield from self._write(id, mark, read, now)
        except Refused:
            # A server out of memory: the mark is a courtesy, the end is not.
            self._counts.trip()
            done = yield self._commands.delete(self._prefix + id)
        return item.loaded(now) if done else Attempt.FAILED

    def _list_again(self, id: str, user: bytes, deadline: int) -> Steps[None]:
        try:
            yield from self._lists.add(user, id, deadline)
        except BackendError as error:
            # It could be loaded, and it is listed unless Memcached has dropped the list.
            self._log.log(
                logging.WARNING, "whether a session is still listed could not be seen to: %s", error
            )

    def _take_back(self, id: str) -> Steps[None]:
        self._counts.trip()
        try:
            yield self._commands.delete(self._prefix + id)
        except BackendError as error:
            # Nobody has been told its token. It expires unused.
            _log.warning("a session that nobody can use stays until it expires: %s", error)

    def _settle(self, attempt: Callable[[], Steps[Outcome[Any]]]) -> Steps[Any]:
        return settle(self._commands, self._name, attempt)

    def _read(self, id: str) -> Steps[tuple[Item | None, int]]:
        """What lies under ``id`` and has not expired, and its version."""
        self._counts.trip()
        found: Found | None = yield self._commands.gets(self._prefix + id)
        if found is None:
            return None, 0
        item = decode_item(found.value)
        if item is None:
            # Eight digits find the key for whoever looks into it, and are of no use for anything else.
            self._log.log(
                logging.WARNING,
                "what is stored under %s... is no session; the visitor is treated as a new one",
                id[:8],
            )
        elif item.expires <= self._now():
            return None, 0
        return item, found.version

    def _saved(self, id: str, item: Stored, version: int, idle: int) -> Steps[bool]:
        """Count the change of ``item``, extend it and write it."""
        now = self._now()
        item.version += 1
        item.extend(now, idle)
        return (yield from self._write(id, item, version, now))

    def _write(self, id: str, item: Item, version: int, now: int) -> Steps[bool]:
        """Store ``item`` in place of that version; ``False`` if another one or nothing is there by now."""
        data = self._encode(item)
        left = seconds(item.expires, now) if item.expires > now else NEVER
        self._counts.trip()
        return bool((yield self._commands.cas(self._prefix + id, data, version, seconds=left)))

    def _encode(self, item: Item) -> bytes:
        data = encode(item)
        if len(data) > self._limit and isinstance(item, Stored):
            raise _too_large(item, len(data), self._limit)
        return data

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _too_large(item: Stored, size: int, limit: int) -> SessionTooLarge:
    # The largest part of it, which need be none of its values.
    parts = [(b"user_id", item.user or b""), (b"device", item.device or b""), *item.fields.items()]
    name, _ = max(parts, key=lambda part: len(part[0]) + len(part[1]))
    cure = "raise max_item_size= (and memcached's option -I)"
    return SessionTooLarge(key=name.decode(errors="replace"), size=size, limit=limit, cure=cure)
