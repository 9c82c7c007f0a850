"""The rules of leases, of what is stored under them, and of dropping it by its key."""

import time

from scalekit._steps import Steps
from scalekit.cache.backend import Entries, Lease, Lookup
from scalekit.cache.entry import Found, Hit, Miss, judge, pack_pass, versions
from scalekit.cache.versions import VERSION_BYTES
from scalekit.testing._backends.asking import (
    LONG,
    ask_for_lease,
    check_voided,
    entry_under,
    have_entry,
    judge_one,
    keep_lease,
    new_lookup,
    new_tag,
    now_ms,
    payload_of,
    read_one,
    take_lease,
)

CLOCKS = 2.0  # seconds that ages may be wrong by


def check_reading(entries: Entries) -> Steps[None]:
    assert (yield from entries.read([])) == [], "read: no answer for no lookup"
    tags = (new_tag(), new_tag())
    lookup = new_lookup(*tags)
    found = yield from read_one(entries, lookup)
    assert found.value is None, "read: nothing is under a key that nobody has filled"
    assert len(found.tags) == 3, "read: a record for each tag, and the generation's before them"
    assert found.tags[1:] == (None, None), "read: a tag that nobody has used has no record"
    one, two = new_lookup(*tags), new_lookup(tags[1])
    yield from have_entry(entries, one, b"one")
    yield from have_entry(entries, two, b"two")
    answers = yield from entries.read([two, lookup, one, two])
    judged = [judge(answer, now_ms()) for answer in answers]
    payloads = [bytes(hit.payload) if isinstance(hit, Hit) else None for hit in judged]
    assert payloads == [b"two", None, b"one", b"two"], "read: answers come in the order of the lookups"
    records = answers[2].tags
    assert answers[0].tags == (records[0], records[2]), "read: records come in the order of a lookup's tags"
    swapped = yield from read_one(entries, Lookup(one.key, (tags[1], tags[0])))
    assert swapped.tags == (records[0], records[2], records[1]), (
        "read: records come in the order of a lookup's tags"
    )


def check_leases(entries: Entries) -> Steps[None]:
    lookup = new_lookup(new_tag(), new_tag())
    before, began = (yield from read_one(entries, lookup)), time.monotonic()
    lease = yield from take_lease(entries, lookup)
    since = time.monotonic() - began
    assert (lease.key, lease.refresh) == (lookup.key, False), "acquire: a lease is told as it was asked for"
    assert 0 < lease.left <= LONG, "acquire: a lease lasts as long as was asked for"
    assert len(lease.versions) == 3 * VERSION_BYTES, "acquire: a version of each tag, the generation's first"
    found = yield from read_one(entries, lookup)
    assert versions(found.tags) == lease.versions, "acquire: tags without a version get the lease's"
    first, second, third = (lease.versions[at : at + VERSION_BYTES] for at in (0, 8, 16))
    assert bytes(VERSION_BYTES) not in (first, second, third), "acquire: versions are random"
    assert isinstance(judge(found, now_ms()), Miss), "acquire: a lease is no result"
    assert len(lease.ages) == 3, "acquire: an age of each tag, the generation's first"
    new = all(-CLOCKS < age < since + CLOCKS for age in lease.ages[1:])
    assert new, "acquire: a new version has no age"
    assert lease.positions[1:] == (None, None), "acquire: a position of each tag, None where it is not known"
    for seen in (before, found):
        other = yield from entries.acquire(lookup, seen, ttl=LONG)
        assert isinstance(other, Lease), "acquire: a lease that is in place is told to those who come later"
        assert not other.mine, "acquire: one at a time has the lease"
        assert 0 < other.left <= LONG, "acquire: left is the time that another's lease lasts"
    renewed = yield from entries.renew(lease, ttl=LONG)
    assert renewed is not None, "renew: a lease that is in place is renewed"
    other = yield from ask_for_lease(entries, lookup)
    assert isinstance(other, Lease), "renew: a lease that was renewed is in place"
    assert not other.mine, "renew: a lease that was renewed is in place"
    stored = yield from entries.fill(renewed, entry_under(renewed), ttl=LONG)
    assert stored is True, "renew: a lease that was renewed is a lease"


def check_fills(entries: Entries) -> Steps[None]:
    for payload in (b"", bytes(range(256)), b"\r\n", b"x" * 100_000):
        lookup = new_lookup()
        yield from have_entry(entries, lookup, payload)
    lookup = new_lookup()
    lease = yield from take_lease(entries, lookup)
    value = entry_under(lease)
    assert (yield from entries.fill(lease, value, ttl=LONG)) is True, "fill: whether the lease was in place"
    found = yield from read_one(entries, lookup)
    assert found.value == value, "fill: what was stored must be read as it is"
    again = yield from entries.fill(lease, entry_under(lease, b"again"), ttl=LONG)
    assert again is False, "fill: a lease is good for one result"
    assert (yield from entries.renew(lease, ttl=LONG)) is None, "renew: a lease that was used is none"
    yield from entries.release(lease)
    assert (yield from read_one(entries, lookup)).value == value, "release: a lease that was used is none"
    by_now = yield from entries.acquire(lookup, Found(None, found.tags), ttl=LONG)
    assert isinstance(by_now, Found), "acquire: where there is an entry by now, that is given"
    assert by_now == found, "acquire: where there is an entry by now, it is given as read gives it"
    lookup, tag = new_lookup(), new_tag()
    yield from have_entry(entries, lookup)
    more = yield from take_lease(
        entries,
        Lookup(lookup.key, (*lookup.tags, tag)),
        "acquire: what carries other tags than are asked for is no entry",
    )
    assert len(more.versions) == 3 * VERSION_BYTES, "acquire: a version of each tag, the generation's first"


def check_release(entries: Entries) -> Steps[None]:
    lookup = new_lookup()
    lease = yield from take_lease(entries, lookup)
    yield from entries.release(lease)
    assert (yield from read_one(entries, lookup)).value is None, "release: nothing is left of a lease"
    stored = yield from entries.fill(lease, entry_under(lease), ttl=LONG)
    assert stored is False, "fill: a lease that was given back is none"
    mine = yield from take_lease(entries, lookup, "release: the next one gets the lease at once")
    yield from entries.release(lease, mark=pack_pass(lease.versions), ttl=LONG)
    assert (yield from entries.renew(lease, ttl=LONG)) is None, "renew: a lease that was given back is none"
    mine = yield from keep_lease(entries, mine, "release: a lease that is none takes no other away")
    yield from entries.release(mine, mark=pack_pass(mine.versions), ttl=LONG)
    judged = yield from judge_one(entries, lookup)
    assert judged == Miss(passes=True), "release: a mark is put in the place of the lease"
    told = yield from ask_for_lease(entries, lookup)
    assert isinstance(told, Found), "acquire: there is no lease where there is a pass mark; that is given"
    assert judge(told, now_ms()) == Miss(passes=True), "acquire: where there is a pass mark, that is given"
    yield from entries.drop_tags(lookup.tags)
    yield from take_lease(entries, lookup, "acquire: a pass mark under other versions is none")


def check_drops(entries: Entries) -> Steps[None]:
    tag = new_tag()
    lookup, other = new_lookup(tag), new_lookup(tag)
    yield from have_entry(entries, lookup)
    yield from have_entry(entries, other)
    yield from entries.drop([])
    yield from entries.drop([lookup.key, new_lookup().key])
    assert (yield from read_one(entries, lookup)).value is None, "drop: removes what is under a key"
    assert (yield from payload_of(entries, other)) == b"payload", "drop: removes nothing else"
    lease = yield from take_lease(entries, lookup, "drop: the next one gets a lease")
    yield from entries.drop([lookup.key])
    yield from check_voided(entries, lease, "dropping a key voids its lease")
    assert (yield from read_one(entries, lookup)).value is None, (
        "fill: a lease that was voided stores nothing"
    )
    mine = yield from take_lease(entries, lookup, "drop: the next one gets a lease, at once")
    yield from check_voided(entries, lease, "a lease that was voided stays so, though there is another")
    mine = yield from keep_lease(entries, mine, "fill: a lease that was voided takes no other away")
    assert (yield from entries.fill(mine, entry_under(mine), ttl=LONG)) is True, "fill: whoever has the lease"
    yield from check_voided(entries, lease, "a lease that was voided stays so, though there is an entry")
    assert (yield from payload_of(entries, lookup)) == b"payload", "fill: what was stored must stay"
