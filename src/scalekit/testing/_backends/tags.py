"""The rules of tags: dropped by hand, marked by writers, bumped, and where the database was."""

from scalekit._steps import Steps
from scalekit.cache.backend import Entries
from scalekit.testing._backends.asking import (
    LONG,
    ask_for_lease,
    check_voided,
    entry_under,
    have_entry,
    keep_lease,
    new_lookup,
    new_tag,
    new_writer,
    payload_of,
    take_lease,
)


def check_dropped_tags(entries: Entries) -> Steps[None]:
    tag, kept = new_tag(), new_tag()
    both, one, other = new_lookup(kept, tag), new_lookup(tag), new_lookup(kept)
    for lookup in (both, one, other):
        yield from have_entry(entries, lookup)
    yield from entries.drop_tags([])
    yield from entries.drop_tags([tag, new_tag()])
    for lookup in (both, one):
        served = yield from payload_of(entries, lookup)
        assert served is None, "drop_tags: makes a miss of every entry that carries the tag"
    assert (yield from payload_of(entries, other)) == b"payload", "drop_tags: makes a miss of nothing else"
    lease = yield from take_lease(entries, both, "drop_tags: the next one gets a lease")
    yield from entries.drop_tags([tag])
    mine = yield from take_lease(
        entries, both, "acquire: a lease under versions that have changed is taken over"
    )
    assert mine.versions != lease.versions, "drop_tags: a tag that is dropped has another version"
    assert mine.versions[:16] == lease.versions[:16], "drop_tags: no other tag has another version"
    yield from check_voided(entries, lease, "a lease that was taken over is none")
    mine = yield from keep_lease(entries, mine, "fill: a lease that was taken over takes no other away")
    yield from entries.drop_tags([tag])
    yield from entries.fill(mine, entry_under(mine), ttl=LONG)
    served = yield from payload_of(entries, both)
    assert served is None, "drop_tags: what was computed under the version before must not be valid"
    yield from have_entry(entries, both, b"new")


def check_marks(entries: Entries) -> Steps[None]:
    tag, writer = new_tag(), new_writer()
    lookup, other, computing = new_lookup(tag), new_lookup(), new_lookup(tag)
    yield from entries.mark([], writer, ttl=LONG)
    yield from entries.bump([], writer, position=None)
    yield from have_entry(entries, lookup)
    yield from have_entry(entries, other)
    lease = yield from take_lease(entries, computing)
    yield from entries.mark([tag, new_tag()], writer, ttl=LONG)
    assert (yield from payload_of(entries, lookup)) is None, "mark: makes a miss of what carries the tag"
    assert (yield from payload_of(entries, other)) == b"payload", "mark: makes a miss of nothing else"
    for asked in (lookup, computing, new_lookup(new_tag(), tag)):
        told = yield from ask_for_lease(entries, asked)
        assert told is None, "acquire: there is no lease to be had while a tag is marked"
    yield from entries.fill(lease, entry_under(lease), ttl=LONG)
    assert (yield from payload_of(entries, computing)) is None, (
        "mark: what was computed before must not be valid"
    )
    yield from entries.drop_tags([tag])
    assert (yield from ask_for_lease(entries, lookup)) is None, (
        "drop_tags: the marks of writers stay in place"
    )
    yield from entries.bump([tag], writer, position=None)
    for asked in (lookup, computing):
        served = yield from payload_of(entries, asked)
        assert served is None, "bump: what was computed before the mark must not be valid again"
    yield from take_lease(entries, lookup, "bump: after it there are leases again")
    tag = new_tag()
    lookup = new_lookup(tag)
    yield from have_entry(entries, lookup)
    yield from entries.bump([tag], new_writer(), position=None)
    assert (yield from payload_of(entries, lookup)) is None, (
        "bump: without a mark the tag has a new version, too"
    )


def check_writers(entries: Entries) -> Steps[None]:
    tag, first, second = new_tag(), new_writer(), new_writer()
    lookup = new_lookup(tag)
    for writer in (first, second, first):
        yield from entries.mark([tag], writer, ttl=LONG)
    yield from entries.bump([tag], first, position=None)
    told = yield from ask_for_lease(entries, lookup)
    assert told is None, "bump: the mark of another writer stays in place"
    yield from entries.bump([tag], first, position=None)
    told = yield from ask_for_lease(entries, lookup)
    assert told is None, "bump: twice is once; the mark of another writer stays in place"
    yield from entries.bump([tag], second, position=None)
    yield from take_lease(entries, lookup, "bump: when the last writer is done there are leases again")


def check_positions(entries: Entries) -> Steps[None]:
    tag, plain, writer = new_tag(), new_tag(), new_writer()
    lookup = new_lookup(plain, tag)
    position = "postgresql:7000000000000000000 0/16B3748"
    yield from entries.mark([tag], writer, ttl=LONG)
    yield from entries.bump([tag], writer, position=position)
    lease = yield from take_lease(entries, lookup)
    assert lease.positions[1:] == (None, position), "acquire: gives the position of a tag's last bump"
    yield from entries.drop_tags([tag])
    lease = yield from take_lease(entries, lookup)
    assert lease.positions[2] is None, "drop_tags: a version that no commit has made has no position"
    other = new_writer()
    yield from entries.mark([tag], writer, ttl=LONG)
    yield from entries.mark([tag], other, ttl=LONG)
    yield from entries.bump([tag], other, position=position)
    yield from entries.bump([tag], writer, position=position)
    lease = yield from take_lease(entries, lookup)
    assert lease.positions[2] is None, "bump: of writers that overlap, nobody knows who was the last"
    yield from entries.mark([tag], writer, ttl=LONG)
    yield from entries.drop_tags([tag])
    yield from entries.bump([tag], writer, position=position)
    lease = yield from take_lease(entries, lookup)
    assert lease.positions[2] is None, "drop_tags: it may be for what was committed after who is in COMMIT"
    yield from entries.mark([tag], writer, ttl=LONG)
    yield from entries.bump([tag], writer, position="x" * 10_000)
    lease = yield from take_lease(entries, lookup)
    assert lease.positions[2] in (None, "x" * 10_000), "bump: a position is left out, never cut off"
