"""What the cache does to the items of Memcached; see :mod:`scalekit.cache.memcached` for what it cannot."""

import hashlib
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import ceil

from scalekit._memcached import Attempt, Commands, Delete, Full, Get, Item, Outcome, Set, settle
from scalekit._steps import Steps
from scalekit.cache import versions
from scalekit.cache.backend import Lease, Lookup
from scalekit.cache.entry import (
    TOKEN_BYTES,
    Found,
    Hit,
    is_under,
    judge,
    pack_lease,
    pack_refresh,
    taken_for,
    token_of,
    without_refresh,
)
from scalekit.cache.memcached_records import Records, UnderWay
from scalekit.cache.versions import Version

_DAYS = 30 * 24 * 3600  # seconds; beyond, Memcached takes a number for a moment since 1970
_LAST = (1 << 31) - 1  # seconds since 1970; it reads a moment as 32 bits with a sign
_GONE = -1  # what is stored for so long is gone at once
_CLOCKS = 1.0  # seconds; so much may those of two of our machines differ: ages are the least that they can be
_LEASE = 2  # seconds, at least: a single one may be over at once


class Seen(Found):
    """What was found, as the server told it: the item of the key, then that of each tag."""

    items: tuple[Item | None, ...]


@dataclass(frozen=True, slots=True)
class Taken(Lease):
    """A lease of our own."""

    number: int = 0
    """That of the item which is the lease. It may have another by now: the answer to a renewal was lost."""


class MemcachedEntries:
    """See :class:`scalekit.cache.backend.Entries`.

    Args:
        name: the link's, for messages.
        room: bytes that a key can have after the prefix.
        clock: seconds since 1970.
        under_way: what is being done to the records of tags.
    """

    def __init__(
        self,
        commands: Commands,
        *,
        name: str,
        prefix: str,
        room: int,
        limit: int,
        clock: Callable[[], float],
        under_way: UnderWay,
    ) -> None:
        self._commands, self._name, self._prefix, self._room = commands, name, prefix, room
        self.limit: int | None = limit
        self._limit = limit
        self._clock = clock
        self.close = commands.close
        self._records = Records(commands, name=name, under_way=under_way, now=self._now, seconds=self._keep)

    def read(self, lookups: Sequence[Lookup]) -> Steps[list[Found]]:
        return [*(yield from self._see(lookups))]

    def acquire(
        self,
        lookup: Lookup,
        found: Found,
        *,
        ttl: float,
        refresh: bool = False,
        token: bytes | None = None,
    ) -> Steps[Lease | Found | None]:
        own, last = token or secrets.token_bytes(TOKEN_BYTES), 0

        def attempt() -> Steps[Outcome[Lease | Found | None]]:
            nonlocal last
            (seen,) = yield from self._see([lookup])
            before, last = last, _number(seen.items[0])
            return (yield from self._take(lookup, seen, before, own, ttl, refresh))

        try:
            # What somebody holds is asked for again: it may be free by now.
            if isinstance(found, Seen) and self._is_free(found, refresh):
                outcome = yield from self._take(lookup, found, last, own, ttl, refresh)
                if not isinstance(outcome, Attempt):
                    return outcome
                last = _number(found.items[0])
            return (yield from settle(self._commands, self._name, attempt))
        except Full:
            return None

    def renew(self, lease: Lease, *, ttl: float) -> Steps[Lease | None]:
        if lease.refresh:
            ends = self._now() + int(ttl * 1000)
            number = yield from self._rewrite(lease, lambda entry: pack_refresh(lease.token, ends, entry))
        else:
            value = pack_lease(lease.token, lease.versions)
            number = yield from self._write(
                lease, lambda number: Set(self._prefix + lease.key, value, _lease_seconds(ttl), number)
            )
        return _taken(lease, ttl, number) if number else None

    def fill(self, lease: Lease, value: bytes, *, ttl: float) -> Steps[bool]:
        if len(value) > self._limit:
            # The server would refuse it and, in doing so, remove what is there: an entry, if there is one.
            yield from self.release(lease)
            return False
        key, seconds = self._prefix + lease.key, self._seconds(ttl)
        return bool((yield from self._write(lease, lambda number: Set(key, value, seconds, number))))

    def release(self, lease: Lease, *, mark: bytes = b"", ttl: float = 0.0) -> Steps[None]:
        key = self._prefix + lease.key
        if lease.refresh:
            yield from self._rewrite(lease, lambda entry: entry)
        elif mark:
            seconds = self._seconds(ttl)
            yield from self._write(lease, lambda number: Set(key, mark, seconds, number))
        else:
            yield from self._write(lease, lambda number: Delete(key, number))

    def drop(self, keys: Sequence[str]) -> Steps[None]:
        yield self._commands.together([Delete(self._prefix + key) for key in keys])

    def drop_tags(self, tags: Sequence[str]) -> Steps[None]:
        return self._records.change(
            map(self._tag, tags), lambda record, now: versions.dropped(record, now=now)
        )

    def mark(self, tags: Sequence[str], writer: bytes, *, ttl: float) -> Steps[None]:
        def marked(record: bytes | None, now: int) -> bytes:
            return versions.marked(record, writer, now=now, ends=now + int(ttl * 1000))

        return self._records.change(map(self._tag, tags), marked)

    def bump(self, tags: Sequence[str], writer: bytes, *, position: str | None = None) -> Steps[None]:
        def bumped(record: bytes | None, now: int) -> bytes:
            return versions.bumped(record, writer, now=now, position=position)

        return self._records.change(map(self._tag, tags), bumped)

    def renew_generation(self, *, older_than: float | None = None) -> Steps[None]:
        def renewed(record: bytes | None, now: int) -> bytes | None:
            known = versions.parse(record)
            if known is not None and older_than is not None and now - known.birth <= older_than * 1000:
                return record
            return versions.pack(versions.new_version(), now)

        return self._records.change([self._generation], renewed)

    def elsewhere(self, lookup: Lookup) -> Collection[str]:
        return self._commands.elsewhere(self._places(lookup))

    def ping(self) -> Steps[None]:
        yield self._commands.ping()

    def _see(self, lookups: Sequence[Lookup]) -> Steps[list[Seen]]:
        """What there is for each, in one trip: what several of them carry is asked for once."""
        places = [self._places(lookup) for lookup in lookups]
        # Keys first: what is under one is then judged by versions that are at least as new as its own.
        wanted = list(dict.fromkeys(chain((key for key, *_ in places), *places)))
        answers: list[Item | None] = yield self._commands.together([Get(place) for place in wanted])
        items = dict(zip(wanted, answers, strict=True))
        return [_seen([items[place] for place in group]) for group in places]

    def _places(self, lookup: Lookup) -> tuple[str, ...]:
        return (self._prefix + lookup.key, self._generation, *map(self._tag, lookup.tags))

    def _is_apart(self, lookup: Lookup) -> bool:
        """Whether the key and the records are on several servers."""
        key, *records = self._places(lookup)
        elsewhere = self._commands.elsewhere
        return elsewhere([key]) != elsewhere([key, *records])

    def _is_free(self, seen: Seen, refresh: bool) -> bool:
        """Whether nobody had the right that is wanted, and there was nothing of use."""
        judged = judge(seen, self._now())
        if isinstance(judged, Hit):
            return refresh and not judged.refreshing
        return not refresh and judged.token is None and not judged.passes

    def _take(
        self, lookup: Lookup, seen: Seen, before: int, own: bytes, ttl: float, refresh: bool
    ) -> Steps[Outcome[Lease | Found | None]]:
        """A lease, if nothing of what was seen has changed. ``before`` is the number of the item at the look
        before that; 0: there was none."""
        now, known = self._now(), []
        commands: list[Set] = []
        item, *records = seen.items
        for place, record in zip((self._generation, *map(self._tag, lookup.tags)), records, strict=True):
            version = versions.parse(_value(record))
            if version is None:
                if versions.writers(_value(record), now):
                    return None
                version = Version(versions.new_version(), now, None)
                commands.append(Set(place, versions.pack(version.version, now), _DAYS, _number(record)))
            known.append(version)
        joined = b"".join([version.version for version in known])

        def lease(token: bytes, left: float, number: int = 0) -> Taken:
            ages = tuple([(now - version.birth) / 1000 - _CLOCKS for version in known])
            positions = tuple([version.position for version in known])
            mine = number > 0
            return Taken(lookup.key, token, joined, mine, left, refresh, ages, positions, number)

        value = _value(item) or b""
        kind = value[:1] if is_under(value, joined) else b""
        if kind not in (b"E", b"R") if refresh else kind in (b"E", b"R", b"P"):
            return seen
        left = None if item is None else item.left
        held = taken_for(value, now, left) if kind else None
        if held is not None:
            return lease(token_of(value) or b"", held)
        taken, seconds = pack_lease(own, joined), _lease_seconds(ttl)
        if refresh:
            entry, seconds = without_refresh(value) if kind == b"R" else value, self._as_long(left)
            taken = pack_refresh(own, now + int(ttl * 1000), entry)
        if self._is_apart(lookup):
            # Several servers answer in any order: a lease may be under newer versions than were seen with it.
            held_by = None if kind else token_of(value)
            if held_by not in (None, own) and _number(item) != before:
                return Attempt.FAILED
            if commands and not all((yield self._commands.together(commands))):
                return Attempt.FAILED
            commands = []
        # The lease last: whoever sees it sees the versions that it is under, too, and does not replace it.
        commands.append(Set(self._prefix + lookup.key, taken, seconds, _number(item)))
        numbers = yield self._commands.together(commands)
        return lease(own, ttl, numbers[-1]) if all(numbers) else Attempt.FAILED

    def _write(self, lease: Lease, command: Callable[[int], Set | Delete]) -> Steps[int]:
        """Do something to the item that is a lease of ours; 0 if it is none any more."""
        number = lease.number if isinstance(lease, Taken) else 0
        done: int
        (done,) = yield self._commands.together([command(number)])
        if not done:
            item = yield from self._leased(lease)
            if item is not None:
                (done,) = yield self._commands.together([command(item.version)])
        return done

    def _rewrite(self, lease: Lease, change: Callable[[bytes], bytes]) -> Steps[int]:
        """Replace an entry that we may, by itself: nobody's command holds all of it. 0 if we may no more."""
        item = yield from self._leased(lease)
        if item is None:
            return 0
        value = change(without_refresh(item.value))
        number: int
        (number,) = yield self._commands.together(
            [Set(self._prefix + lease.key, value, self._as_long(item.left), item.version)]
        )
        return number

    def _leased(self, lease: Lease) -> Steps[Item | None]:
        """What is under the key of a lease that is in place: nobody else writes its token."""
        item: Item | None
        (item,) = yield self._commands.together([Get(self._prefix + lease.key)])
        return item if token_of(_value(item)) == lease.token else None

    def _keep(self, record: bytes, now: int) -> int:
        """How long to keep a record, for Memcached."""
        ends = versions.writers(record, now).values()
        # One second more: its clock may tick at once.
        return self._seconds((max(ends) - now) / 1000 + 1) if ends else _DAYS

    def _as_long(self, left: int | None) -> int:
        """What keeps an item as long as it would have been kept."""
        return 0 if left is None else self._seconds(max(1, left))

    def _seconds(self, ttl: float) -> int:
        """How long to keep something, for Memcached: rounded up, as 0 is for ever."""
        if ttl <= 0:
            return _GONE
        return ceil(ttl) if ttl <= _DAYS else min(ceil(self._clock() + ttl), _LAST)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _tag(self, tag: str) -> str:
        return self._prefix + _tag_name(tag, self._room)

    @property
    def _generation(self) -> str:
        return self._prefix + "g"


@lru_cache(maxsize=4096)
def _tag_name(tag: str, room: int) -> str:
    """A tag as a part of a key; a digest of one that Memcached cannot take as it is."""
    name = f"t:{tag}"
    if len(name) <= room and tag[:1] != "#" and all("!" <= character <= "~" for character in tag):
        return name
    return f"t:#{hashlib.blake2b(tag.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def _seen(items: Sequence[Item | None]) -> Seen:
    value, *records = [_value(item) for item in items]
    seen = Seen(value, tuple(records))
    seen.items = tuple(items)
    return seen


def _value(item: Item | None) -> bytes | None:
    return None if item is None else item.value


def _number(item: Item | None) -> int:
    return 0 if item is None else item.version


def _taken(lease: Lease, left: float, number: int) -> Taken:
    return Taken(
        lease.key,
        lease.token,
        lease.versions,
        mine=True,
        left=left,
        refresh=lease.refresh,
        ages=lease.ages,
        positions=lease.positions,
        number=number,
    )


def _lease_seconds(ttl: float) -> int:
    return max(_LEASE, ceil(ttl))
