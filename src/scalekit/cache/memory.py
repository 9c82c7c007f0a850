"""The cache's back end in this process: for tests, for one server, and where Redis would be too far away.

Another server has another one, so an invalidation reaches this process alone.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from scalekit._forks import renew_in_children
from scalekit.cache.backend import (
    LEASE_TTL,
    Lease,
    Miss,
    header,
    immediate,
    judge,
    new_lease,
    new_version,
    shared_lease,
)
from scalekit.errors import ConfigurationError
from scalekit.types import Colour


class MemoryBackend:
    """Results in this process's memory, safe for threads and event loops, both colours alike.

    Args:
        max_entries: the least recently used ones go when there are more.
        clock: seconds, for tests.

    Raises:
        ConfigurationError: ``max_entries`` is below 1.
    """

    local = True

    def __init__(self, *, max_entries: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        if max_entries < 1:
            raise ConfigurationError(f"max_entries={max_entries!r}: at least 1 is needed")
        self._max_entries = max_entries
        self._clock = clock
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()  # when it ends, and what it is
        self._versions: dict[str, bytes] = {}
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()

    def using(self, colour: Colour) -> "MemoryBackend":
        return self

    @immediate
    def read(self, key: str, tags: Sequence[str]) -> bytes | Miss:
        with self._lock:
            return judge(self._get(key), [self._versions.get(tag) for tag in tags])

    @immediate
    def lease(self, key: str, tags: Sequence[str], miss: Miss) -> bytes | Lease | None:
        with self._lock:
            versions = [self._versions.setdefault(tag, new_version()) for tag in tags]
            found = judge(self._get(key), versions)
            if isinstance(found, bytes):
                return found
            start = header(versions)
            lease = shared_lease(found.token, start)
            if lease is None:
                lease = new_lease(start)
                self._put(key, lease.token, LEASE_TTL)
            return lease

    @immediate
    def fill(self, key: str, lease: Lease, payload: bytes, ttl: float) -> bool:
        with self._lock:
            if self._get(key) != lease.token:
                return False
            self._put(key, lease.header + payload, ttl)
            return True

    @immediate
    def drop(self, keys: Sequence[str]) -> None:
        with self._lock:
            for key in keys:
                self._values.pop(key, None)

    @immediate
    def drop_tags(self, tags: Sequence[str]) -> None:
        with self._lock:
            for tag in tags:
                self._versions.pop(tag, None)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._versions.clear()

    def _get(self, key: str) -> bytes | None:
        entry = self._values.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return entry[1]

    def _put(self, key: str, value: bytes, ttl: float) -> None:
        self._values[key] = (self._clock() + ttl, value)
        self._values.move_to_end(key)
        while len(self._values) > self._max_entries:
            self._values.popitem(last=False)
