"""The cache's back end in this process: for tests, for one server, and where Redis would be too far away.

Another server has another one, so an invalidation reaches this process alone. It is also the plainest
reading of the protocol: each of its methods is what a server's script does.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from scalekit._forks import renew_in_children
from scalekit._options import check_count
from scalekit.cache import versions
from scalekit.cache.backend import MAX_TAGS, Lease, Lookup, immediate
from scalekit.cache.entry import (
    TOKEN_BYTES,
    Found,
    is_under,
    pack_lease,
    pack_refresh,
    taken_for,
    token_of,
    without_refresh,
)
from scalekit.cache.entry import versions as versions_of
from scalekit.types import Colour

_GENERATION = ""  # a tag that nobody else can have: names are not empty
_TAGS = 4  # records of tags for each entry that there may be


class MemoryBackend:
    """Results in this process's memory, safe for threads and event loops, both colours alike.

    Args:
        max_entries: the least recently used ones go when there are more. Of tags four times as many are kept;
            the results of one that had to go are computed again.
        clock: seconds, for tests.

    Raises:
        ConfigurationError: ``max_entries`` is below 1.
    """

    local = True
    limit: int | None = None

    def __init__(self, *, max_entries: int = 10_000, clock: Callable[[], float] = time.time) -> None:
        self._max_entries = check_count(
            max_entries, option="max_entries=", least=1, cure="10_000 is the default"
        )
        self._clock = clock
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()  # when it ends, and what it is
        self._records: OrderedDict[str, bytes] = OrderedDict()
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()
        # Who had them in the parent never comes back here.
        for key in [key for key, (_, value) in self._values.items() if token_of(value)]:
            del self._values[key]

    def using(self, colour: Colour) -> "MemoryBackend":
        return self

    @immediate
    def read(self, lookups: Sequence[Lookup]) -> list[Found]:
        with self._lock:
            return [
                Found(self._get(key), tuple(map(self._look_up, (_GENERATION, *tags))))
                for key, tags in lookups
            ]

    @immediate
    def acquire(
        self,
        lookup: Lookup,
        found: Found,
        *,
        ttl: float,
        refresh: bool = False,
        token: bytes | None = None,
    ) -> Lease | Found | None:
        with self._lock:
            now = self._now()
            records = tuple([self._record(tag, now) for tag in (_GENERATION, *lookup.tags)])
            present = versions_of(records)
            if present is None:
                return None
            value = self._get(lookup.key)
            current = value is not None and is_under(value, present)
            kind = value[:1] if value is not None and current else b""
            if refresh and kind not in (b"E", b"R"):
                return Found(value, records)
            if not refresh and kind in (b"E", b"R", b"P"):
                return Found(value, records)
            token, mine, left = token or secrets.token_bytes(TOKEN_BYTES), True, ttl
            taken = taken_for(value, now, self._left(lookup.key)) if value is not None and current else None
            if taken is not None:
                token, mine, left = token_of(value) or b"", False, taken
            elif value is not None and refresh:
                entry = without_refresh(value) if kind == b"R" else value
                ends = now + int(ttl * 1000)
                self._put(lookup.key, pack_refresh(token, ends, entry), self._left(lookup.key))
            else:
                self._put(lookup.key, pack_lease(token, present), ttl)
            known = [versions.parse(record) for record in records]
            return Lease(
                key=lookup.key,
                token=token,
                versions=present,
                mine=mine,
                left=left,
                refresh=refresh,
                ages=tuple([(now - one.birth) / 1000 for one in known if one]),
                positions=tuple([one.position for one in known if one]),
            )

    @immediate
    def renew(self, lease: Lease, *, ttl: float) -> Lease | None:
        with self._lock:
            value = self._leased(lease)
            if value is None:
                return None
            if lease.refresh:
                again = pack_refresh(lease.token, self._now() + int(ttl * 1000), without_refresh(value))
                self._put(lease.key, again, self._left(lease.key))
            else:
                self._put(lease.key, value, ttl)
            return replace(lease, left=ttl)

    @immediate
    def fill(self, lease: Lease, value: bytes, *, ttl: float) -> bool:
        with self._lock:
            if self._leased(lease) is None:
                return False
            self._put(lease.key, value, ttl)
            return True

    @immediate
    def release(self, lease: Lease, *, mark: bytes = b"", ttl: float = 0.0) -> None:
        with self._lock:
            value = self._leased(lease)
            if value is None:
                return
            if lease.refresh:
                self._put(lease.key, without_refresh(value), self._left(lease.key))
            elif mark:
                self._put(lease.key, mark, ttl)
            else:
                del self._values[lease.key]

    @immediate
    def drop(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._values.pop(key, None)

    @immediate
    def drop_tags(self, tags: Sequence[str]) -> None:
        with self._lock:
            for tag in tags:
                self._note(tag, versions.dropped(self._records.get(tag), now=self._now()))

    @immediate
    def mark(self, tags: Sequence[str], writer: bytes, *, ttl: float) -> None:
        with self._lock:
            now = self._now()
            for tag in tags:
                record = self._records.get(tag)
                self._note(tag, versions.marked(record, writer, now=now, ends=now + int(ttl * 1000)))

    @immediate
    def bump(self, tags: Sequence[str], writer: bytes, *, position: str | None = None) -> None:
        with self._lock:
            for tag in tags:
                record = self._records.get(tag)
                self._note(tag, versions.bumped(record, writer, now=self._now(), position=position))

    @immediate
    def renew_generation(self, *, older_than: float | None = None) -> None:
        with self._lock:
            now, known = self._now(), versions.parse(self._records.get(_GENERATION))
            if known is None or older_than is None or now - known.birth > older_than * 1000:
                self._note(_GENERATION, versions.pack(versions.new_version(), now))

    @immediate
    def ping(self) -> None:
        return None

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._records.clear()

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _record(self, tag: str, now: int) -> bytes:
        """The record of a tag; one without a version, and without marks that last, gets one."""
        record = self._look_up(tag)
        if record is None or (record[:1] == b"D" and not versions.writers(record, now)):
            record = versions.pack(versions.new_version(), now)
            self._note(tag, record)
        return record

    def _look_up(self, tag: str) -> bytes | None:
        record = self._records.get(tag)
        if record is not None:
            self._records.move_to_end(tag)
        return record

    def _note(self, tag: str, record: bytes) -> None:
        self._records[tag] = record
        self._records.move_to_end(tag)
        for _ in range(len(self._records) - _TAGS * self._max_entries - MAX_TAGS):
            oldest, record = self._records.popitem(last=False)
            if versions.writers(record, self._now()):  # what is being committed must not look unchanged
                self._records[oldest] = record

    def _leased(self, lease: Lease) -> bytes | None:
        """What is under the key of a lease that is in place."""
        value = self._get(lease.key)
        return value if token_of(value) == lease.token else None

    def _get(self, key: str) -> bytes | None:
        entry = self._values.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return entry[1]

    def _left(self, key: str) -> float:
        return self._values[key][0] - self._clock()

    def _put(self, key: str, value: bytes, ttl: float) -> None:
        self._values[key] = (self._clock() + ttl, value)
        self._values.move_to_end(key)
        while len(self._values) > self._max_entries:
            self._values.popitem(last=False)
