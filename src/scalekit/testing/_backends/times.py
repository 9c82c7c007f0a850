"""Rules about time. A check yields `WAIT` where it would ask again a little later."""

import time
from collections.abc import Callable

from scalekit._steps import Steps
from scalekit.cache.backend import Entries, Lease, Lookup
from scalekit.cache.entry import pack_pass
from scalekit.testing._backends.asking import (
    LONG,
    ask_for_lease,
    check_voided,
    entry_under,
    have_entry,
    new_lookup,
    new_tag,
    new_writer,
    payload_of,
    take_lease,
)
from scalekit.testing._turns import WAIT

SHORT = 0.4  # seconds; passes while the check runs
PATIENCE = 20.0  # seconds that a back end may take to let something end
CLOCKS = 2.0  # seconds that ages may be wrong by


def _wait_for(steps: Callable[[], Steps[bool]], rule: str) -> Steps[None]:
    until = time.monotonic() + PATIENCE
    while not (yield from steps()):
        assert time.monotonic() < until, rule
        yield WAIT


def _is_free(entries: Entries, lookup: Lookup) -> Callable[[], Steps[bool]]:
    """Whether there is a lease to be had; it is taken."""

    def ask() -> Steps[bool]:
        lease = yield from ask_for_lease(entries, lookup)
        return isinstance(lease, Lease) and lease.mine

    return ask


def check_lease_time(entries: Entries) -> Steps[None]:
    ended, marked = new_lookup(), new_lookup()
    dead = yield from take_lease(entries, ended, ttl=SHORT)
    alive: Lease | None = None
    while alive is None:
        kept, until = new_lookup(), time.monotonic() + SHORT
        short = yield from take_lease(entries, kept, ttl=SHORT)
        alive = yield from entries.renew(short, ttl=LONG)
        # A process that had no turn meanwhile came too late.
        assert alive is not None or time.monotonic() >= until, "renew: a lease that is in place is renewed"
    assert alive.left > SHORT, "renew: left is the time that the lease lasts from now on"
    passing = yield from take_lease(entries, marked)
    yield from entries.release(passing, mark=pack_pass(passing.versions), ttl=SHORT)
    yield from _wait_for(_is_free(entries, ended), "acquire: a lease must end when its time has passed")
    yield from check_voided(entries, dead, "a lease that has ended is none when another has it")
    yield from _wait_for(_is_free(entries, marked), "release: a mark must end when its time has passed")
    other = yield from ask_for_lease(entries, kept)
    assert isinstance(other, Lease), "renew: a lease lasts from then on"
    assert not other.mine, "renew: a lease lasts from then on"
    stored = yield from entries.fill(alive, entry_under(alive), ttl=LONG)
    assert stored is True, "renew: a lease lasts from then on"


def check_entry_time(entries: Entries) -> Steps[None]:
    short, long, refreshed, released = new_lookup(), new_lookup(), new_lookup(), new_lookup()
    yield from have_entry(entries, long)
    for lookup in (refreshed, released, short):
        refreshing = False
        while not refreshing:
            lease = yield from take_lease(entries, lookup)
            stored = yield from entries.fill(lease, entry_under(lease), ttl=SHORT)
            assert stored is True, "fill: whether the lease was in place"
            if lookup is short:
                break
            told = yield from ask_for_lease(entries, lookup, refresh=True)
            if refreshing := isinstance(told, Lease):  # or the entry has ended already: once more
                renewed = yield from entries.renew(told, ttl=LONG)
                if lookup is released:
                    yield from entries.release(renewed or told)

    def gone(lookup: Lookup) -> Callable[[], Steps[bool]]:
        def ask() -> Steps[bool]:
            return (yield from payload_of(entries, lookup)) is None

        return ask

    yield from _wait_for(gone(short), "fill: an entry must end when its time has passed")
    yield from _wait_for(gone(refreshed), "acquire, renew: an entry must not last longer for being refreshed")
    yield from _wait_for(gone(released), "release: an entry must not last longer than it would have")
    assert (yield from payload_of(entries, long)) == b"payload", "fill: an entry must not end before its time"


def check_mark_time(entries: Entries) -> Steps[None]:
    dead, alive = new_tag(), new_tag()
    lookup, other = new_lookup(dead), new_lookup(alive)
    yield from have_entry(entries, lookup)
    writer = new_writer()
    yield from entries.mark([alive], writer, ttl=LONG)
    gone = new_writer()
    yield from entries.mark([dead, alive], gone, ttl=SHORT)
    again = new_lookup(dead)
    yield from _wait_for(_is_free(entries, again), "mark: must end when its time has passed")
    served = yield from payload_of(entries, lookup)
    assert served is None, "mark: what was computed before it must not be valid when it has ended by itself"
    told = yield from ask_for_lease(entries, other)
    assert told is None, "mark: one that ends takes no other away"
    yield from entries.bump([alive], writer, position=None)
    yield from take_lease(entries, other, "bump: marks that have ended do not count")
    yield from have_entry(entries, lookup)
    yield from entries.bump([dead], gone, position=None)
    served = yield from payload_of(entries, lookup)
    assert served is None, "bump: when the mark has ended by itself, the tag has a new version all the same"


def check_refresh_time(entries: Entries) -> Steps[None]:
    lookup = new_lookup()
    yield from have_entry(entries, lookup)
    dead = yield from take_lease(entries, lookup, ttl=SHORT, refresh=True)

    mine: Lease | None = None

    def free() -> Steps[bool]:
        nonlocal mine
        told = yield from ask_for_lease(entries, lookup, refresh=True)
        mine = told if isinstance(told, Lease) and told.mine else None
        return mine is not None

    yield from _wait_for(free, "acquire: the right to refresh must end when its time has passed")
    yield from check_voided(entries, dead, "a lease that has ended is none when another has it")
    assert (yield from payload_of(entries, lookup)) == b"payload", "acquire: an entry stays readable"
    assert mine is not None
    stored = yield from entries.fill(mine, entry_under(mine, b"new"), ttl=LONG)
    assert stored is True, "acquire: the right to refresh that was taken over is one"


def check_generation(entries: Entries) -> Steps[None]:
    lookup, computing = new_lookup(), new_lookup()
    yield from have_entry(entries, lookup)
    yield from entries.renew_generation(older_than=24 * 3600)
    served = yield from payload_of(entries, lookup)
    assert served == b"payload", "renew_generation: a generation that is not so old is kept"
    lease = yield from take_lease(entries, computing)
    began = time.monotonic()
    yield from entries.renew_generation()
    assert (yield from payload_of(entries, lookup)) is None, "renew_generation: drops everything"
    yield from entries.fill(lease, entry_under(lease), ttl=LONG)
    assert (yield from payload_of(entries, computing)) is None, (
        "renew_generation: voids what is being computed"
    )
    new = yield from take_lease(entries, lookup, "renew_generation: the next one gets a lease")
    assert new.versions[:8] != lease.versions[:8], "acquire: the generation's version comes first"
    assert new.versions[8:] != lease.versions[8:], "acquire: the tags' versions come after the generation's"
    since = time.monotonic() - began
    assert -CLOCKS < new.ages[0] < since + CLOCKS, "renew_generation: a new version has no age"
    yield from entries.fill(new, entry_under(new), ttl=LONG)

    def dropped() -> Steps[bool]:
        yield from entries.renew_generation(older_than=SHORT)
        return (yield from payload_of(entries, lookup)) is None

    yield from _wait_for(dropped, "renew_generation: one that is older than that is replaced")
    last = yield from take_lease(entries, lookup)
    assert last.ages[1] > last.ages[0], "acquire: ages are the seconds since a tag has had its version"
