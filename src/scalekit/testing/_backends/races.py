"""Rules that hold with threads or tasks at once."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from scalekit._steps import Steps
from scalekit.cache.backend import Entries, Lease, Lookup
from scalekit.testing._backends.asking import (
    LONG,
    ask_for_lease,
    entry_under,
    have_entry,
    new_lookup,
    new_tag,
    new_writer,
    payload_of,
    read_one,
    take_lease,
)

AT_ONCE = 16

Together: TypeAlias = Callable[[Sequence[Steps[Any]]], Any]
"""Carries steps out at once, and gives a list of what came of them, or an awaitable of it."""


def check_races(entries: Entries, together: Together) -> Steps[None]:
    for _ in range(5):
        tags = (new_tag(), new_tag())
        lookup = new_lookup(*tags)
        cold = yield from read_one(entries, lookup)
        leases = yield together([entries.acquire(lookup, cold, ttl=LONG) for _ in range(AT_ONCE)])
        assert all(isinstance(lease, Lease) for lease in leases), "acquire: of several at once each is told"
        mine = [lease for lease in leases if lease.mine]
        assert len(mine) == 1, "acquire: of several at once, exactly one has the lease"
        assert len({lease.versions for lease in leases}) == 1, "acquire: all see the same versions"
        others = [new_lookup(*tags) for _ in range(AT_ONCE)]
        leases = yield together([entries.acquire(other, cold, ttl=LONG) for other in others])
        assert {lease.versions for lease in leases} == {mine[0].versions}, (
            "acquire: tags that have a version keep it"
        )
        tags = (new_tag(), new_tag())
        others = [new_lookup(*tags) for _ in range(AT_ONCE)]
        leases = yield together([entries.acquire(other, cold, ttl=LONG) for other in others])
        assert len({lease.versions for lease in leases}) == 1, (
            "acquire: of several at once that give a tag a version, one does"
        )
        fills = [entries.fill(mine[0], entry_under(mine[0], b"%d" % at), ttl=LONG) for at in range(AT_ONCE)]
        stored = yield together(fills)
        assert sum(stored) == 1, "fill: of several at once with one lease, exactly one stores"
        served = yield from payload_of(entries, lookup)
        assert served == b"%d" % stored.index(True), "fill: what the one has stored must be read"
        found = yield from read_one(entries, lookup)
        leases = yield together(
            [entries.acquire(lookup, found, ttl=LONG, refresh=True) for _ in range(AT_ONCE)]
        )
        refreshing = sum(isinstance(lease, Lease) and lease.mine for lease in leases)
        assert refreshing == 1, "acquire: of several at once, exactly one may refresh"


def check_races_of_invalidations(entries: Entries, together: Together) -> Steps[None]:
    def race(invalidate: Steps[None], lookup: Lookup, lease: Lease, *, before: bool) -> Steps[None]:
        fill = entries.fill(lease, entry_under(lease, b"old"), ttl=LONG)
        yield together([invalidate, fill] if before else [fill, invalidate])

    for number in range(20):
        before = bool(number % 2)
        for refresh in (False, True):
            lookup, writer = new_lookup(), new_writer()
            for what in ("drop", "drop_tags", "mark"):
                if refresh:
                    yield from entries.drop([lookup.key])
                    yield from have_entry(entries, lookup)
                lease = yield from take_lease(entries, lookup, refresh=refresh)
                if what == "drop":
                    invalidate = entries.drop([lookup.key])
                elif what == "drop_tags":
                    invalidate = entries.drop_tags(lookup.tags)
                else:
                    invalidate = entries.mark(lookup.tags, writer, ttl=LONG)
                yield from race(invalidate, lookup, lease, before=before)
                if what == "mark":
                    yield from entries.bump(lookup.tags, writer, position=None)
                served = yield from payload_of(entries, lookup)
                assert served is None, f"{what}: what was computed before it must not be valid after it"
                yield from entries.drop([lookup.key])


def check_races_of_writers(entries: Entries, together: Together) -> Steps[None]:
    for number in range(5):
        tags = (new_tag(), new_tag())
        lookup = new_lookup(*tags)
        writers = [new_writer() for _ in range(AT_ONCE)]
        yield together([entries.mark(tags, writer, ttl=LONG) for writer in writers])
        last = writers.pop(number * 3)  # whoever began last is the one whose mark is hardly ever lost
        yield together([entries.bump(tags, writer, position=None) for writer in writers])
        told = yield from ask_for_lease(entries, lookup)
        assert told is None, "bump: of several at once none takes away the mark of a writer who is not done"
        joins = [entries.mark(tags, writer, ttl=LONG) for writer in writers[: AT_ONCE // 2]]
        yield together([entries.bump(tags, last, position=None), entries.drop_tags(tags), *joins])
        told = yield from ask_for_lease(entries, lookup)
        assert told is None, "mark: stays in place, whatever others do meanwhile"
        yield together([entries.bump(tags, writer, position=None) for writer in writers])
        yield from have_entry(entries, lookup)
