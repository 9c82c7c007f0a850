"""Every back end does what the plainest one does: MemoryBackend is the model (hypothesis)."""

import itertools
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalekit._steps import run
from scalekit.cache.backend import Backend, Lease, Lookup
from scalekit.cache.entry import Found, Hit, judge, pack, pack_pass
from scalekit.cache.memory import MemoryBackend

NOW = 1_790_000_000_000  # the model's time, which stands still
LONG = 60.0
TAGS = [(), ("a",), ("a", "b"), ("b", "a")]

keys = st.sampled_from(["one", "two"])
tags = st.sampled_from(["a", "b"])
writers = st.sampled_from([b"1" * 8, b"2" * 8])
some = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("acquire"), keys, st.sampled_from(TAGS), st.booleans()),
    st.tuples(st.just("acquire"), keys, st.sampled_from(TAGS), st.booleans()),
    st.tuples(st.just("fill"), some, st.binary(max_size=5)),
    st.tuples(st.just("fill"), some, st.binary(max_size=5)),
    st.tuples(st.just("renew"), some),
    st.tuples(st.just("release"), some, st.booleans()),
    st.tuples(st.just("drop"), keys),
    st.tuples(st.just("drop_tags"), tags),
    st.tuples(st.just("mark"), tags, writers),
    st.tuples(st.just("bump"), tags, writers, st.sampled_from([None, "pg 0/16B3748", "x" * 201])),
    st.tuples(st.just("generation"), st.booleans()),
)


class Side:
    """One of the two back ends, and the leases that it gave; ``clock`` is its own, in seconds."""

    def __init__(self, backend: Backend, name: str, clock: Callable[[], float]) -> None:
        self._entries, self._name, self._clock = backend.using("sync"), name, clock
        self._leases: list[Lease] = []

    def do(self, step: str, *args: Any) -> Any:
        """What comes of a step, without what is random."""
        return getattr(self, step)(*args)

    def acquire(self, key: str, tags: tuple[str, ...], refresh: bool) -> Any:
        lookup = self._lookup(key, tags)
        found = run(self._entries.read([lookup]))[0]
        told = run(self._entries.acquire(lookup, found, ttl=LONG, refresh=refresh))
        if isinstance(told, Found):
            return "found", self._value(told)
        if told is None:
            return None
        if told.mine:
            self._leases = [told, *self._leases][:4]
        return (
            told.mine,
            told.refresh,
            len(told.versions),
            len(told.ages),
            told.positions,
            LONG / 2 < told.left <= LONG,
        )

    def fill(self, which: int, payload: bytes) -> Any:
        if lease := self._lease(which):
            entry = pack(lease.versions, made=NOW, delta=1, soft_end=NOW, payload=payload)
            return run(self._entries.fill(lease, entry, ttl=LONG))
        return None

    def renew(self, which: int) -> Any:
        lease = self._lease(which)
        renewed = lease and run(self._entries.renew(lease, ttl=LONG))
        if renewed:
            self._leases[which] = renewed
        return renewed is not None

    def release(self, which: int, marks: bool) -> None:
        if lease := self._lease(which):
            mark = pack_pass(lease.versions) if marks else b""
            run(self._entries.release(lease, mark=mark, ttl=LONG))

    def drop(self, key: str) -> None:
        run(self._entries.drop([self._lookup(key).key]))

    def drop_tags(self, tag: str) -> None:
        run(self._entries.drop_tags(self._lookup("", (tag,)).tags))

    def mark(self, tag: str, writer: bytes) -> None:
        run(self._entries.mark(self._lookup("", (tag,)).tags, writer, ttl=LONG))

    def bump(self, tag: str, writer: bytes, position: str | None) -> None:
        run(self._entries.bump(self._lookup("", (tag,)).tags, writer, position=position))

    def generation(self, any_age: bool) -> None:
        run(self._entries.renew_generation(older_than=None if any_age else 3600))

    def shows(self) -> Any:
        """What would be served, under all tags that were asked for."""
        lookups = [self._lookup(key, tags) for key in ("one", "two") for tags in TAGS]
        return [self._value(found) for found in run(self._entries.read(lookups))]

    def _value(self, found: Found) -> Any:
        judged = judge(found, int(self._clock() * 1000))
        if isinstance(judged, Hit):
            return bytes(judged.payload), judged.refreshing
        return judged.passes, judged.token is not None

    def _lookup(self, key: str, tags: tuple[str, ...] = ()) -> Lookup:
        return Lookup(f"{self._name}:{key}", tuple([f"{self._name}.{tag}" for tag in tags]))

    def _lease(self, which: int) -> Lease | None:
        return self._leases[which] if which < len(self._leases) else None


def test_every_back_end_does_what_the_plainest_does(backend: Backend) -> None:
    """6. Leases, entries, pass marks, drops, writers' marks and the generation, in any order."""
    numbers = itertools.count()

    def still() -> float:
        return NOW / 1000

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(steps, min_size=4, max_size=25))
    def check(sequence: list[tuple[Any, ...]]) -> None:
        name = f"m{next(numbers)}"
        model = Side(MemoryBackend(clock=still), name, still)
        real = Side(backend, name, time.time)
        for step in sequence:
            assert real.do(*step) == model.do(*step), step
            assert real.shows() == model.shows(), step

    check()
