"""The rules of an entry that is replaced while it is served."""

from scalekit._steps import Steps
from scalekit.cache.backend import Entries, Lease
from scalekit.cache.entry import COOLING, Found, Hit, pack_refresh
from scalekit.testing._backends.asking import (
    LONG,
    ask_for_lease,
    check_voided,
    entry_under,
    have_entry,
    judge_one,
    keep_lease,
    new_lookup,
    now_ms,
    payload_of,
    read_one,
    take_lease,
)


def check_refreshing(entries: Entries) -> Steps[None]:
    lookup = new_lookup()
    told = yield from ask_for_lease(entries, lookup, refresh=True)
    assert isinstance(told, Found), "acquire: without an entry there is nothing to refresh; that is given"
    assert told.value is None, "acquire: without an entry there is nothing to refresh; that is given"
    yield from have_entry(entries, lookup, b"old")
    plain = (yield from read_one(entries, lookup)).value

    def served(rule: str, *, payload: bytes, refreshing: bool) -> Steps[None]:
        hit = yield from judge_one(entries, lookup)
        assert isinstance(hit, Hit), rule
        assert (bytes(hit.payload), hit.refreshing) == (payload, refreshing), rule

    lease = yield from take_lease(entries, lookup, "acquire: who asks first may refresh", refresh=True)
    assert lease.refresh, "acquire: a lease beside an entry says so"
    yield from served("acquire: an entry stays readable, and shows it", payload=b"old", refreshing=True)
    other = yield from ask_for_lease(entries, lookup, refresh=True)
    assert isinstance(other, Lease), "acquire: that somebody is refreshing is told"
    assert not other.mine, "acquire: one at a time may refresh"
    assert 0 < other.left <= LONG, "acquire: left is the time that another's lease lasts"
    told = yield from ask_for_lease(entries, lookup)
    assert isinstance(told, Found), "acquire: an entry that is being refreshed is one"
    lease = yield from keep_lease(entries, lease, "renew: a lease beside an entry is renewed, too")
    assert lease.refresh, "renew: a lease beside an entry stays one"
    yield from served("renew: an entry stays readable", payload=b"old", refreshing=True)
    yield from entries.release(lease)
    yield from served("release: the entry stays", payload=b"old", refreshing=False)
    assert (yield from read_one(entries, lookup)).value == plain, "release: the entry stays as it was"
    yield from check_voided(entries, lease, "a lease that was given back is none")
    lease = yield from take_lease(entries, lookup, "release: the next one may refresh", refresh=True)
    stored = yield from entries.fill(lease, entry_under(lease, b"new"), ttl=LONG)
    assert stored is True, "fill: an entry is replaced under a lease beside it"
    yield from served("fill: an entry is replaced", payload=b"new", refreshing=False)
    yield from check_voided(entries, lease, "a lease that was used is none")

    lease = yield from take_lease(entries, lookup, refresh=True)
    yield from entries.drop([lookup.key])
    yield from check_voided(entries, lease, "dropping a key voids the lease beside its entry")
    yield from entries.release(lease)
    assert (yield from read_one(entries, lookup)).value is None, (
        "release: what was dropped does not come back"
    )
    for end in ("fill", "release"):
        yield from have_entry(entries, lookup, b"old")
        lease = yield from take_lease(entries, lookup, refresh=True)
        yield from entries.drop_tags(lookup.tags)
        if end == "fill":
            yield from entries.fill(lease, entry_under(lease), ttl=LONG)
        else:
            yield from entries.release(lease)
        served_late = yield from payload_of(entries, lookup)
        assert served_late is None, f"{end}: what was computed before its tags were dropped must not be valid"

    yield from have_entry(entries, lookup, b"old")
    plain = (yield from read_one(entries, lookup)).value or b""
    lease = yield from take_lease(entries, lookup, refresh=True)
    value = pack_refresh(COOLING, now_ms() + int(LONG * 1000), plain)
    stored = yield from entries.fill(lease, value, ttl=LONG)
    hit = yield from judge_one(entries, lookup)
    rule = "fill: an entry with word that nobody is to replace it is stored with that word"
    assert stored, rule
    assert isinstance(hit, Hit), rule
    assert (bytes(hit.payload), hit.cooling) == (b"old", True), rule
    other = yield from ask_for_lease(entries, lookup, refresh=True)
    assert isinstance(other, Lease), "acquire: that nobody is to replace an entry is told as another's lease"
    assert not other.mine, "acquire: nobody may replace an entry that says so"
