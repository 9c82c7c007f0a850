"""Sessions in the memory of one process: for tests, development and applications of one process.

It keeps every rule of :mod:`scalekit.sessions.store` among the threads of its process. Another process
sees nothing of it, and a restart forgets everybody: use :class:`scalekit.sessions.redis.RedisStore` then.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from scalekit.metrics import Metric
from scalekit.sessions._counts import Counts, size
from scalekit.sessions.store import Created, Inherited, Loaded, Rotation, Swapped
from scalekit.sessions.values import Delta
from scalekit.types import Colour


@dataclass(slots=True)
class _Entry:
    session: Loaded  # its rotation says a moment in place of "since"
    expires: int


class MemoryStore:
    """A store in process memory; serves ASGI and WSGI alike.

    Args:
        clock: seconds since 1970; tests put their own here.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._sweep_at = 1024
        self._counts = Counts()

    def count(self) -> int:
        """How many sessions live."""
        with self._lock:
            self._sweep()
            return sum(not entry.session.ended for entry in self._entries.values())

    def metrics(self) -> Iterator[Metric]:
        """What was asked of this store in this process, see :class:`scalekit.metrics.Measured`."""
        return self._counts.metrics()

    def using(self, colour: Colour) -> Self:
        """Itself: a value is an answer in both colours."""
        return self

    def load(self, id: str, *, idle: int, step: int, own: bool = False) -> Loaded | None:
        self._counts.did("load")
        with self._lock:
            entry = self._entry(id)
            if entry is None:
                return None
            if not entry.session.ended:
                if self._now() - entry.session.seen >= step:
                    self._extend(entry, idle)
                rotation = entry.session.rotation
                if own and rotation is not None and not rotation.heard:
                    entry.session = replace(entry.session, rotation=Rotation(True, self._now()))
            self._counts.loaded(entry.session)
            return self._told(entry.session)

    def save(self, id: str, *, changed: Mapping[bytes, bytes], removed: Collection[bytes], idle: int) -> bool:
        self._counts.did("save")
        with self._lock:
            entry = self._entry(id)
            if entry is None or entry.session.ended:
                return False
            self._saved(entry, Delta({**changed}, {*removed}), idle)
            return True

    def swap(
        self, id: str, name: bytes, *, expected: bytes | None, value: bytes | None, idle: int
    ) -> Swapped | None:
        self._counts.did("swap")
        with self._lock:
            entry = self._entry(id)
            if entry is None or entry.session.ended:
                return None
            found = entry.session.fields.get(name)
            if found != expected:
                return Swapped(False, found)
            self._saved(entry, Delta({}, {name}) if value is None else Delta({name: value}, set()), idle)
            return Swapped(True)

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
    ) -> Created | None:
        self._counts.did("create")
        with self._lock:
            now = self._now()
            created, deadline, origin, token = inherit or (now, now + lifetime, id, b"")
            if deadline <= now or self._entry(id) is not None:
                return None
            if len(self._entries) >= self._sweep_at:
                self._sweep()
                # Twice what lives: sweeping then costs each creation a constant share.
                self._sweep_at = max(1024, 2 * len(self._entries))
            session = Loaded(
                dict(fields),
                created,
                deadline,
                now,
                user=user,
                device=device,
                origin=origin,
                rotation=None if inherit is None else Rotation(False, now, token),
            )
            self._entries[id] = _Entry(session, min(now + idle, deadline))
            self._counts.wrote(size(fields))
            return Created(created, deadline, deadline - now)

    def destroy(
        self,
        id: str,
        *,
        grace: int,
        successor: str | None = None,
        alias: bool = False,
        user: bytes | None = None,
        version: int | None = None,
    ) -> Loaded | None:
        self._counts.did("destroy")
        with self._lock:
            entry = self._entry(id)
            if entry is None:
                return None
            session = entry.session
            if session.ended or (version is not None and session.version != version):
                return self._told(session)
            del self._entries[id]
            if grace > 0:
                rotation = session.rotation if alias else None
                mark = Loaded(ended=True, successor=successor, alias=alias, rotation=rotation)
                self._entries[id] = _Entry(mark, self._now() + grace)
            return self._told(session)

    def listed(self, user: bytes) -> list[str]:
        self._counts.did("listed")
        # A walk over all of them: whoever has so many sessions that it matters has several processes too.
        with self._lock:
            self._sweep()
            return [id for id, entry in self._entries.items() if entry.session.user == user]

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _entry(self, id: str) -> _Entry | None:
        entry = self._entries.get(id)
        if entry is not None and entry.expires <= self._now():
            del self._entries[id]
            return None
        return entry

    def _saved(self, entry: _Entry, delta: Delta, idle: int) -> None:
        session = entry.session
        self._counts.wrote(size(delta.changed))
        entry.session = replace(session, fields=delta.applied(session.fields), version=session.version + 1)
        self._extend(entry, idle)

    def _extend(self, entry: _Entry, idle: int) -> None:
        entry.session = replace(entry.session, seen=self._now())
        entry.expires = min(entry.session.seen + idle, entry.session.deadline)

    def _told(self, session: Loaded) -> Loaded:
        rotation = session.rotation
        if rotation is None:
            return session
        return replace(session, rotation=rotation._replace(since=self._now() - rotation.since))

    def _sweep(self) -> None:
        now = self._now()
        for id in [id for id, entry in self._entries.items() if entry.expires <= now]:
            del self._entries[id]
