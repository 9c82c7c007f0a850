"""The first tier: results in this process's memory, served without a round trip.

Rules:

* A look is a read of a dict and takes no lock. Who looks serves an entry while ``now < entry.ends`` and
  ``now < horizon``, and sets ``entry.seen``.
* The *horizon* is how far the invalidations of other servers are known. Without a channel that brings them it
  is infinite, and an entry ends ``ttl`` seconds after the back end was asked for it: so long may this process
  serve what another server has invalidated. With a channel it moves on by :meth:`Local.trust`.
* What was read from the back end before an invalidation is not kept after it: who wants to put something in
  takes a mark first, and since then neither its key nor one of its tags may have been dropped.
* Dropping a tag costs by the entries that carry it here, and nothing by the others.
* What stays is decided by S3-FIFO (Yang and others, SOSP 2023): what is new passes a short queue, a tenth of
  the room, and reaches the long one if it was asked for meanwhile, or returns soon after. So a crawler that
  asks for everything once drives nothing out. One bit an entry is enough.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple

from scalekit._forks import renew_in_children
from scalekit.cache.postings import Postings

OVERHEAD = 600
"""Bytes that an entry takes beside its value: 400 to 590 as measured, with what is remembered of others."""


DECODED = 5
"""How many times as much memory as its payload a result takes that is kept as an object."""


class Mark(NamedTuple):
    """Where invalidation stood at a moment."""

    taken: float
    drops: int


_NO_MARK = Mark(0.0, 0)


class Entry:
    """A result, or without ``decode`` the value that everybody is handed."""

    __slots__ = ("decode", "ends", "key", "local_key", "main", "seen", "size", "tags", "value")

    def __init__(
        self,
        local_key: Hashable,
        key: int,
        value: Any,
        decode: Callable[[Any], Any] | None,
        ends: float,
        size: int,
        tags: tuple[str, ...],
    ) -> None:
        self.local_key, self.key, self.value, self.decode = local_key, key, value, decode
        self.ends, self.size, self.tags = ends, size, tags
        self.seen = self.main = False


class Local:
    """See the module.

    Args:
        max_entries: how many results at most; 0 keeps none.
        max_bytes: how many bytes they may take together, :data:`OVERHEAD` for each included.
        ttl: seconds that an entry is served at most where nobody reports the invalidations of other servers.
        reported: whether somebody does: then nothing is served before the first :meth:`trust`.
        clock: monotonic seconds, for tests.
    """

    def __init__(
        self,
        *,
        max_entries: int,
        max_bytes: int = 64 * 1024 * 1024,
        ttl: float = 1.0,
        reported: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.enabled = max_entries > 0 and max_bytes > 0 and ttl > 0
        self.ttl = ttl
        self.reported = reported
        self.clock = clock
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._drops = 0
        self._entries: dict[Hashable, Entry] = {}
        self.find: Callable[[Hashable], Entry | None] = self._entries.get
        """The entry under a key of this tier, whether it may be served or not."""
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        # Another thread of the parent may have been in the middle of a change.
        self._lock = threading.Lock()
        # When each key and tag was dropped last, the latest at the end; what fell out at the front was by
        # `_forgotten` at the latest.
        self._dropped: dict[str, int] = {}
        self._forgotten = 0
        self.flush()

    def get(self, local_key: Hashable) -> Entry | None:
        """The entry, if it may be served now."""
        entry = self.find(local_key)
        if entry is None:
            return None
        now = self.clock()
        if now >= entry.ends or now >= self.horizon:
            return None
        entry.seen = True
        return entry

    def mark(self, tags: tuple[str, ...] = ()) -> Mark:
        """Where invalidation stands. Taken before the back end is asked."""
        if not self.enabled:
            return _NO_MARK
        return Mark(self.clock(), self._drops)

    def put(
        self,
        local_key: Hashable,
        key: str,
        mark: Mark,
        value: Any,
        *,
        ends: float,
        size: int,
        tags: tuple[str, ...],
        decode: Callable[[Any], Any] | None = None,
    ) -> None:
        """Keep a result, unless it was invalidated since ``mark``.

        Args:
            key: the whole key, by which it may be dropped.
            value: the payload that ``decode`` reads, or without it the result itself.
            ends: monotonic seconds.
            size: bytes of the payload.
        """
        if not self.enabled:
            return
        if not self.reported:
            ends = min(ends, mark.taken + self.ttl)
        size = OVERHEAD + (size if decode is not None else DECODED * size)
        # One that fills the short queue by itself would drive out everything new.
        if size > self._max_bytes // _SHORT or ends <= self.clock():
            return
        hashed = hash(key)
        with self._lock:
            if not self._is_current(mark, key, tags):
                return
            old = self._entries.get(local_key)
            if old is not None:
                self._remove(old)
            entry = Entry(local_key, hashed, value, decode, ends, size, tags)
            if old is not None:
                entry.seen, entry.main = old.seen, old.main
            elif hashed in self._ghosts:
                del self._ghosts[hashed]
                entry.main = True
            self._entries[local_key] = entry
            self._by_key.add(hashed, entry)
            for tag in tags:
                self._by_tag.add(tag, entry)
            self._enter(entry)
            while len(self._entries) > self._max_entries or sum(self._bytes) > self._max_bytes:
                self._evict()
            self._tidy()

    def drop(self, keys: Iterable[str] = (), tags: Iterable[str] = ()) -> None:
        """Forget these keys, and everything that carries one of these tags."""
        keys, tags = set(keys), set(tags)
        with self._lock:
            self._drops += 1
            for name in keys | tags:
                self._dropped.pop(name, None)
                self._dropped[name] = self._drops
            for key in keys:
                for entry in self._by_key.take(hash(key)):
                    self._remove(entry)
            for tag in tags:
                for entry in self._by_tag.take(tag):
                    self._remove(entry)
            if len(self._dropped) > 2 * _REMEMBERED:  # by halves: the front of a dict is slow to pop
                for name in list(self._dropped)[:_REMEMBERED]:
                    self._forgotten = self._dropped.pop(name)

    def flush(self) -> None:
        """Forget everything, also what is on its way in."""
        with self._lock:
            self._drops += 1
            self._forgotten = self._drops
            self._dropped.clear()
            self._entries.clear()  # the same dict: `find` is its method
            self._by_key: Postings[int, Entry] = Postings()
            self._by_tag: Postings[str, Entry] = Postings()
            # The short queue and the long one. What was removed stays in until its turn comes.
            self._queues: tuple[deque[Entry], deque[Entry]] = deque(), deque()
            self._counts, self._bytes = [0, 0], [0, 0]
            self._ghosts: dict[int, None] = {}  # a set would take three times as much
            self._ghost_queue: deque[int] = deque()
            if self.reported:
                self.horizon = -math.inf
            else:
                self.horizon = math.inf

    def trust(self, until: float) -> None:
        """The invalidations of other servers are known up to ``until``, in monotonic seconds."""
        if self.reported:
            self.horizon = until

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """What the entries take, by their payloads."""
        return sum(self._bytes)

    def _is_current(self, mark: Mark, key: str, tags: tuple[str, ...]) -> bool:
        """Whether nothing was dropped since ``mark`` that the result under ``key`` is a part of."""
        if mark.drops == self._drops:
            return True
        if mark.drops < self._forgotten:  # so long ago that we do not know
            return False
        last = self._dropped.get
        return last(key, 0) <= mark.drops and all([last(tag, 0) <= mark.drops for tag in tags])

    def _enter(self, entry: Entry) -> None:
        self._queues[entry.main].append(entry)
        self._counts[entry.main] += 1
        self._bytes[entry.main] += entry.size

    def _leave(self, entry: Entry) -> None:
        self._counts[entry.main] -= 1
        self._bytes[entry.main] -= entry.size

    def _remove(self, entry: Entry) -> None:
        """Take ``entry`` out of all but its queue."""
        del self._entries[entry.local_key]
        self._leave(entry)
        self._by_key.discard(entry.key, entry)
        for tag in entry.tags:
            self._by_tag.discard(tag, entry)

    def _is_in(self, entry: Entry) -> bool:
        return self._entries.get(entry.local_key) is entry

    def _evict(self) -> None:
        short = self._counts[0] * _SHORT >= self._max_entries or self._bytes[0] * _SHORT >= self._max_bytes
        if self._counts[0] and (short or not self._counts[1]):
            self._evict_short()
        else:
            self._evict_long()

    def _evict_short(self) -> None:
        queue = self._queues[0]
        while self._counts[0]:
            entry = queue.popleft()
            if not self._is_in(entry):
                continue
            if not entry.seen:
                self._remove(entry)
                self._remember(entry.key)
                return
            self._leave(entry)
            entry.seen, entry.main = False, True
            self._enter(entry)

    def _evict_long(self) -> None:
        queue = self._queues[1]
        while self._counts[1]:
            entry = queue.popleft()
            if not self._is_in(entry):
                continue
            if not entry.seen:
                self._remove(entry)
                return
            entry.seen = False
            queue.append(entry)

    def _remember(self, key: int) -> None:
        """Keep the hash of a key that was driven out of the short queue: it has a second chance."""
        self._ghosts[key] = None
        self._ghost_queue.append(key)
        while len(self._ghost_queue) > self._max_entries:
            self._ghosts.pop(self._ghost_queue.popleft(), None)

    def _tidy(self) -> None:
        """Take what was removed out of the queues, when it is more than what is in."""
        for place, queue in enumerate(self._queues):
            if len(queue) > 2 * self._counts[place] + 64:
                live = [entry for entry in queue if self._is_in(entry)]
                queue.clear()
                queue.extend(live)


_SHORT = 10  # the short queue has a tenth of the room
_REMEMBERED = 4096  # keys and tags whose last drop we remember at least
