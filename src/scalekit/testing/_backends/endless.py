"""The rules of leases that last longer than any does: whoever left them, nobody waits for them."""

from scalekit._steps import Steps
from scalekit.cache.backend import Entries, Lease
from scalekit.cache.entry import COOLING, Hit, pack_refresh
from scalekit.testing._backends.asking import (
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

ENDLESS = 24 * 3600.0
"""Seconds; no lease lasts so long."""


def check_endless(entries: Entries) -> Steps[None]:
    lookup = new_lookup()
    old = yield from take_lease(entries, lookup, ttl=ENDLESS)
    rule = "acquire: a lease that would last longer than LONGEST_LEASE is nobody's"
    mine = yield from take_lease(entries, lookup, rule)
    yield from check_voided(entries, old, "a lease that was taken over is none")
    yield from keep_lease(entries, mine, "acquire: whoever takes a lease over has it")

    lookup = new_lookup()
    yield from have_entry(entries, lookup)
    old = yield from take_lease(entries, lookup, refresh=True, ttl=ENDLESS)
    rule = "acquire: the right to refresh is nobody's if it would last longer than LONGEST_LEASE"
    mine = yield from take_lease(entries, lookup, rule, refresh=True)
    assert (yield from payload_of(entries, lookup)) == b"payload", "acquire: an entry stays as it was"
    yield from check_voided(entries, old, "a lease that was taken over is none")

    yield from entries.fill(mine, entry_under(mine), ttl=ENDLESS)
    plain = (yield from read_one(entries, lookup)).value or b""
    mine = yield from take_lease(entries, lookup, refresh=True)
    yield from entries.fill(mine, pack_refresh(COOLING, now_ms() + int(ENDLESS * 1000), plain), ttl=ENDLESS)
    other = yield from ask_for_lease(entries, lookup, refresh=True)
    rule = "acquire: that nobody is to replace an entry holds for as long as it says"
    assert isinstance(other, Lease), rule
    assert not other.mine, rule
    hit = yield from judge_one(entries, lookup)
    assert isinstance(hit, Hit), rule
    assert hit.cooling, rule
    yield from entries.drop([lookup.key])  # nothing that lasts so long is left behind
