"""The contract of the cache's back ends as a test that anyone can run: ``check_backend(MyBackend(...))``."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scalekit._steps import Steps, run, run_async
from scalekit.cache.backend import Backend, Entries, Lease, Lookup
from scalekit.cache.entry import COOLING, Found, Hit, Miss, judge, pack, pack_pass, pack_refresh, versions
from scalekit.cache.versions import VERSION_BYTES, WRITER_BYTES

_LONG = 60.0  # seconds; outlives the check
_SHORT = 0.4  # passes while the check runs
_PATIENCE = 20.0  # that a back end may take to let something end
_CLOCKS = 2.0  # that ages may be wrong by
_AT_ONCE = 16
_WAIT = object()  # what a check yields that would ask again

Together = Callable[[Sequence[Steps[Any]]], Any]
Pause = Callable[[], Any]


def check_backend(backend: Backend) -> None:
    """Check that ``backend`` keeps the contract of :mod:`scalekit.cache.backend`, called from threads.

    It drops everything that is in it, so give it a prefix of its own. It takes a second or two, for some of
    the rules are about time. What it leaves ends within a minute, but for the records of some tags.

    Raises:
        AssertionError: it does not; the message says what.
    """
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        run(
            _check(
                backend.using("sync"),
                lambda calls: [future.result() for future in [threads.submit(run, call) for call in calls]],
                lambda: time.sleep(0.02),
            )
        )


async def check_backend_async(backend: Backend) -> None:
    """Check what :func:`check_backend` checks, called from tasks of this event loop."""
    await run_async(
        _check(
            backend.using("async"),
            lambda calls: asyncio.gather(*[run_async(call) for call in calls]),
            lambda: asyncio.sleep(0.02),
        )
    )


def _check(entries: Entries, together: Together, pause: Pause) -> Steps[None]:
    limit = entries.limit
    assert limit is None or limit > 0, "limit: the bytes of the largest value, or None"
    yield from entries.ping()
    for check in (
        _check_reading,
        _check_leases,
        _check_fills,
        _check_release,
        _check_drops,
        _check_dropped_tags,
        _check_marks,
        _check_writers,
        _check_positions,
        _check_refreshing,
    ):
        yield from check(entries)
    for race in (_check_races, _check_races_of_invalidations, _check_races_of_writers):
        yield from race(entries, together)
    about_time = (_check_lease_time, _check_entry_time, _check_mark_time, _check_refresh_time)
    yield from _in_turns([check(entries) for check in about_time], pause)
    yield from _in_turns([_check_generation(entries)], pause)


def _in_turns(checks: Sequence[Steps[None]], pause: Pause) -> Steps[None]:
    """Run checks that wait for time to pass, at once: one that yields `_WAIT` goes on after a pause."""
    going = list(checks)
    while going:
        for check in list(going):
            answer = None
            try:
                while (step := check.send(answer)) is not _WAIT:
                    answer = yield step
            except StopIteration:
                going.remove(check)
        if going:
            yield pause()


def _lookup(*tags: str) -> Lookup:
    """Of a key that nobody else has; and of a tag, unless some are given."""
    return Lookup(f"check.entry:{secrets.token_hex(20)}", tags or (_tag(),))


def _tag() -> str:
    return f"check.tag:{secrets.token_hex(8)}"


def _writer() -> bytes:
    return secrets.token_bytes(WRITER_BYTES)


def _now() -> int:
    return int(time.time() * 1000)


def _entry(lease: Lease, payload: bytes = b"payload") -> bytes:
    return pack(lease.versions, made=_now(), delta=1, soft_end=_now() + 60_000, payload=payload)


def _read(entries: Entries, lookup: Lookup) -> Steps[Found]:
    found = yield from entries.read([lookup])
    assert len(found) == 1, "read: one answer for each lookup"
    return found[0]


def _judged(entries: Entries, lookup: Lookup) -> Steps[Hit | Miss]:
    return judge((yield from _read(entries, lookup)), _now())


def _payload(entries: Entries, lookup: Lookup) -> Steps[bytes | None]:
    """What would be served."""
    judged = yield from _judged(entries, lookup)
    return bytes(judged.payload) if isinstance(judged, Hit) else None


def _acquire(
    entries: Entries, lookup: Lookup, *, ttl: float = _LONG, refresh: bool = False
) -> Steps[Lease | Found | None]:
    found = yield from _read(entries, lookup)
    return (yield from entries.acquire(lookup, found, ttl=ttl, refresh=refresh))


def _leased(
    entries: Entries,
    lookup: Lookup,
    rule: str = "acquire: who asks first gets the lease",
    *,
    ttl: float = _LONG,
    refresh: bool = False,
) -> Steps[Lease]:
    """A lease of our own."""
    lease = yield from _acquire(entries, lookup, ttl=ttl, refresh=refresh)
    assert isinstance(lease, Lease), rule
    assert lease.mine, rule
    return lease


def _filled(
    entries: Entries, lookup: Lookup, payload: bytes = b"payload", *, ttl: float = _LONG
) -> Steps[None]:
    """Have an entry under a key."""
    lease = yield from _leased(entries, lookup)
    stored = yield from entries.fill(lease, _entry(lease, payload), ttl=ttl)
    assert stored is True, "fill: what is stored under a lease that is in place is told with True"
    served = yield from _payload(entries, lookup)
    assert served == payload, "fill: what was stored must be read as it is"


def _check_reading(entries: Entries) -> Steps[None]:
    assert (yield from entries.read([])) == [], "read: no answer for no lookup"
    tags = (_tag(), _tag())
    lookup = _lookup(*tags)
    found = yield from _read(entries, lookup)
    assert found.value is None, "read: nothing is under a key that nobody has filled"
    assert len(found.tags) == 3, "read: a record for each tag, and the generation's before them"
    assert found.tags[1:] == (None, None), "read: a tag that nobody has used has no record"
    one, two = _lookup(*tags), _lookup(tags[1])
    yield from _filled(entries, one, b"one")
    yield from _filled(entries, two, b"two")
    answers = yield from entries.read([two, lookup, one, two])
    judged = [judge(answer, _now()) for answer in answers]
    payloads = [bytes(hit.payload) if isinstance(hit, Hit) else None for hit in judged]
    assert payloads == [b"two", None, b"one", b"two"], "read: answers come in the order of the lookups"
    records = answers[2].tags
    assert answers[0].tags == (records[0], records[2]), "read: records come in the order of a lookup's tags"
    swapped = yield from _read(entries, Lookup(one.key, (tags[1], tags[0])))
    assert swapped.tags == (records[0], records[2], records[1]), (
        "read: records come in the order of a lookup's tags"
    )


def _check_leases(entries: Entries) -> Steps[None]:
    lookup = _lookup(_tag(), _tag())
    before = yield from _read(entries, lookup)
    lease = yield from _leased(entries, lookup)
    assert (lease.key, lease.refresh) == (lookup.key, False), "acquire: a lease is told as it was asked for"
    assert 0 < lease.left <= _LONG, "acquire: a lease lasts as long as was asked for"
    assert len(lease.versions) == 3 * VERSION_BYTES, "acquire: a version of each tag, the generation's first"
    found = yield from _read(entries, lookup)
    assert versions(found.tags) == lease.versions, "acquire: tags without a version get the lease's"
    first, second, third = (lease.versions[at : at + VERSION_BYTES] for at in (0, 8, 16))
    assert bytes(VERSION_BYTES) not in (first, second, third), "acquire: versions are random"
    assert isinstance(judge(found, _now()), Miss), "acquire: a lease is no result"
    assert len(lease.ages) == 3, "acquire: an age of each tag, the generation's first"
    assert all(abs(age) < _CLOCKS for age in lease.ages[1:]), "acquire: a new version has no age"
    assert lease.positions[1:] == (None, None), "acquire: a position of each tag, None where it is not known"
    for seen in (before, found):
        other = yield from entries.acquire(lookup, seen, ttl=_LONG)
        assert isinstance(other, Lease), "acquire: a lease that is in place is told to those who come later"
        assert not other.mine, "acquire: one at a time has the lease"
        assert 0 < other.left <= _LONG, "acquire: left is the time that another's lease lasts"
    renewed = yield from entries.renew(lease, ttl=_LONG)
    assert renewed is not None, "renew: a lease that is in place is renewed"
    other = yield from _acquire(entries, lookup)
    assert isinstance(other, Lease), "renew: a lease that was renewed is in place"
    assert not other.mine, "renew: a lease that was renewed is in place"
    stored = yield from entries.fill(renewed, _entry(renewed), ttl=_LONG)
    assert stored is True, "renew: a lease that was renewed is a lease"


def _check_fills(entries: Entries) -> Steps[None]:
    for payload in (b"", bytes(range(256)), b"\r\n", b"x" * 100_000):
        lookup = _lookup()
        yield from _filled(entries, lookup, payload)
    lookup = _lookup()
    lease = yield from _leased(entries, lookup)
    value = _entry(lease)
    assert (yield from entries.fill(lease, value, ttl=_LONG)) is True, "fill: whether the lease was in place"
    found = yield from _read(entries, lookup)
    assert found.value == value, "fill: what was stored must be read as it is"
    again = yield from entries.fill(lease, _entry(lease, b"again"), ttl=_LONG)
    assert again is False, "fill: a lease is good for one result"
    assert (yield from entries.renew(lease, ttl=_LONG)) is None, "renew: a lease that was used is none"
    yield from entries.release(lease)
    assert (yield from _read(entries, lookup)).value == value, "release: a lease that was used is none"
    by_now = yield from entries.acquire(lookup, Found(None, found.tags), ttl=_LONG)
    assert isinstance(by_now, Found), "acquire: where there is an entry by now, that is given"
    assert by_now == found, "acquire: where there is an entry by now, it is given as read gives it"
    lookup, tag = _lookup(), _tag()
    yield from _filled(entries, lookup)
    more = yield from _leased(
        entries,
        Lookup(lookup.key, (*lookup.tags, tag)),
        "acquire: what carries other tags than are asked for is no entry",
    )
    assert len(more.versions) == 3 * VERSION_BYTES, "acquire: a version of each tag, the generation's first"


def _check_release(entries: Entries) -> Steps[None]:
    lookup = _lookup()
    lease = yield from _leased(entries, lookup)
    yield from entries.release(lease)
    assert (yield from _read(entries, lookup)).value is None, "release: nothing is left of a lease"
    stored = yield from entries.fill(lease, _entry(lease), ttl=_LONG)
    assert stored is False, "fill: a lease that was given back is none"
    mine = yield from _leased(entries, lookup, "release: the next one gets the lease at once")
    yield from entries.release(lease, mark=pack_pass(lease.versions), ttl=_LONG)
    assert (yield from entries.renew(lease, ttl=_LONG)) is None, "renew: a lease that was given back is none"
    mine = yield from _in_place(entries, mine, "release: a lease that is none takes no other away")
    yield from entries.release(mine, mark=pack_pass(mine.versions), ttl=_LONG)
    judged = yield from _judged(entries, lookup)
    assert judged == Miss(passes=True), "release: a mark is put in the place of the lease"
    told = yield from _acquire(entries, lookup)
    assert isinstance(told, Found), "acquire: there is no lease where there is a pass mark; that is given"
    assert judge(told, _now()) == Miss(passes=True), "acquire: where there is a pass mark, that is given"
    yield from entries.drop_tags(lookup.tags)
    yield from _leased(entries, lookup, "acquire: a pass mark under other versions is none")


def _in_place(entries: Entries, lease: Lease, rule: str) -> Steps[Lease]:
    renewed = yield from entries.renew(lease, ttl=_LONG)
    assert renewed is not None, rule
    return renewed


def _voided(entries: Entries, lease: Lease, rule: str) -> Steps[None]:
    """Nothing can be done with a lease any more."""
    assert (yield from entries.renew(lease, ttl=_LONG)) is None, f"renew: {rule}"
    stored = yield from entries.fill(lease, _entry(lease, b"too late"), ttl=_LONG)
    assert stored is False, f"fill: {rule}"


def _check_drops(entries: Entries) -> Steps[None]:
    tag = _tag()
    lookup, other = _lookup(tag), _lookup(tag)
    yield from _filled(entries, lookup)
    yield from _filled(entries, other)
    yield from entries.drop([])
    yield from entries.drop([lookup.key, _lookup().key])
    assert (yield from _read(entries, lookup)).value is None, "drop: removes what is under a key"
    assert (yield from _payload(entries, other)) == b"payload", "drop: removes nothing else"
    lease = yield from _leased(entries, lookup, "drop: the next one gets a lease")
    yield from entries.drop([lookup.key])
    yield from _voided(entries, lease, "dropping a key voids its lease")
    assert (yield from _read(entries, lookup)).value is None, "fill: a lease that was voided stores nothing"
    mine = yield from _leased(entries, lookup, "drop: the next one gets a lease, at once")
    yield from _voided(entries, lease, "a lease that was voided stays so, though there is another")
    mine = yield from _in_place(entries, mine, "fill: a lease that was voided takes no other away")
    assert (yield from entries.fill(mine, _entry(mine), ttl=_LONG)) is True, "fill: whoever has the lease"
    yield from _voided(entries, lease, "a lease that was voided stays so, though there is an entry")
    assert (yield from _payload(entries, lookup)) == b"payload", "fill: what was stored must stay"


def _check_dropped_tags(entries: Entries) -> Steps[None]:
    tag, kept = _tag(), _tag()
    both, one, other = _lookup(kept, tag), _lookup(tag), _lookup(kept)
    for lookup in (both, one, other):
        yield from _filled(entries, lookup)
    yield from entries.drop_tags([])
    yield from entries.drop_tags([tag, _tag()])
    for lookup in (both, one):
        served = yield from _payload(entries, lookup)
        assert served is None, "drop_tags: makes a miss of every entry that carries the tag"
    assert (yield from _payload(entries, other)) == b"payload", "drop_tags: makes a miss of nothing else"
    lease = yield from _leased(entries, both, "drop_tags: the next one gets a lease")
    yield from entries.drop_tags([tag])
    mine = yield from _leased(
        entries, both, "acquire: a lease under versions that have changed is taken over"
    )
    assert mine.versions != lease.versions, "drop_tags: a tag that is dropped has another version"
    assert mine.versions[:16] == lease.versions[:16], "drop_tags: no other tag has another version"
    yield from _voided(entries, lease, "a lease that was taken over is none")
    mine = yield from _in_place(entries, mine, "fill: a lease that was taken over takes no other away")
    yield from entries.drop_tags([tag])
    yield from entries.fill(mine, _entry(mine), ttl=_LONG)
    served = yield from _payload(entries, both)
    assert served is None, "drop_tags: what was computed under the version before must not be valid"
    yield from _filled(entries, both, b"new")


def _check_marks(entries: Entries) -> Steps[None]:
    tag, writer = _tag(), _writer()
    lookup, other, computing = _lookup(tag), _lookup(), _lookup(tag)
    yield from entries.mark([], writer, ttl=_LONG)
    yield from entries.bump([], writer, position=None)
    yield from _filled(entries, lookup)
    yield from _filled(entries, other)
    lease = yield from _leased(entries, computing)
    yield from entries.mark([tag, _tag()], writer, ttl=_LONG)
    assert (yield from _payload(entries, lookup)) is None, "mark: makes a miss of what carries the tag"
    assert (yield from _payload(entries, other)) == b"payload", "mark: makes a miss of nothing else"
    for asked in (lookup, computing, _lookup(_tag(), tag)):
        told = yield from _acquire(entries, asked)
        assert told is None, "acquire: there is no lease to be had while a tag is marked"
    yield from entries.fill(lease, _entry(lease), ttl=_LONG)
    assert (yield from _payload(entries, computing)) is None, (
        "mark: what was computed before must not be valid"
    )
    yield from entries.drop_tags([tag])
    assert (yield from _acquire(entries, lookup)) is None, "drop_tags: the marks of writers stay in place"
    yield from entries.bump([tag], writer, position=None)
    for asked in (lookup, computing):
        served = yield from _payload(entries, asked)
        assert served is None, "bump: what was computed before the mark must not be valid again"
    yield from _leased(entries, lookup, "bump: after it there are leases again")
    tag = _tag()
    lookup = _lookup(tag)
    yield from _filled(entries, lookup)
    yield from entries.bump([tag], _writer(), position=None)
    assert (yield from _payload(entries, lookup)) is None, (
        "bump: without a mark the tag has a new version, too"
    )


def _check_writers(entries: Entries) -> Steps[None]:
    tag, first, second = _tag(), _writer(), _writer()
    lookup = _lookup(tag)
    for writer in (first, second, first):
        yield from entries.mark([tag], writer, ttl=_LONG)
    yield from entries.bump([tag], first, position=None)
    told = yield from _acquire(entries, lookup)
    assert told is None, "bump: the mark of another writer stays in place"
    yield from entries.bump([tag], first, position=None)
    told = yield from _acquire(entries, lookup)
    assert told is None, "bump: twice is once; the mark of another writer stays in place"
    yield from entries.bump([tag], second, position=None)
    yield from _leased(entries, lookup, "bump: when the last writer is done there are leases again")


def _check_positions(entries: Entries) -> Steps[None]:
    tag, plain, writer = _tag(), _tag(), _writer()
    lookup = _lookup(plain, tag)
    position = "postgresql:7000000000000000000 0/16B3748"
    yield from entries.mark([tag], writer, ttl=_LONG)
    yield from entries.bump([tag], writer, position=position)
    lease = yield from _leased(entries, lookup)
    assert lease.positions[1:] == (None, position), "acquire: gives the position of a tag's last bump"
    yield from entries.drop_tags([tag])
    lease = yield from _leased(entries, lookup)
    assert lease.positions[2] is None, "drop_tags: a version that no commit has made has no position"
    yield from entries.bump([tag], writer, position="x" * 10_000)
    lease = yield from _leased(entries, lookup)
    assert lease.positions[2] in (None, "x" * 10_000), "bump: a position is left out, never cut off"


def _check_refreshing(entries: Entries) -> Steps[None]:
    lookup = _lookup()
    told = yield from _acquire(entries, lookup, refresh=True)
    assert isinstance(told, Found), "acquire: without an entry there is nothing to refresh; that is given"
    assert told.value is None, "acquire: without an entry there is nothing to refresh; that is given"
    yield from _filled(entries, lookup, b"old")
    plain = (yield from _read(entries, lookup)).value

    def served(rule: str, *, payload: bytes, refreshing: bool) -> Steps[None]:
        hit = yield from _judged(entries, lookup)
        assert isinstance(hit, Hit), rule
        assert (bytes(hit.payload), hit.refreshing) == (payload, refreshing), rule

    lease = yield from _leased(entries, lookup, "acquire: who asks first may refresh", refresh=True)
    assert lease.refresh, "acquire: a lease beside an entry says so"
    yield from served("acquire: an entry stays readable, and shows it", payload=b"old", refreshing=True)
    other = yield from _acquire(entries, lookup, refresh=True)
    assert isinstance(other, Lease), "acquire: that somebody is refreshing is told"
    assert not other.mine, "acquire: one at a time may refresh"
    assert 0 < other.left <= _LONG, "acquire: left is the time that another's lease lasts"
    told = yield from _acquire(entries, lookup)
    assert isinstance(told, Found), "acquire: an entry that is being refreshed is one"
    lease = yield from _in_place(entries, lease, "renew: a lease beside an entry is renewed, too")
    assert lease.refresh, "renew: a lease beside an entry stays one"
    yield from served("renew: an entry stays readable", payload=b"old", refreshing=True)
    yield from entries.release(lease)
    yield from served("release: the entry stays", payload=b"old", refreshing=False)
    assert (yield from _read(entries, lookup)).value == plain, "release: the entry stays as it was"
    yield from _voided(entries, lease, "a lease that was given back is none")
    lease = yield from _leased(entries, lookup, "release: the next one may refresh", refresh=True)
    stored = yield from entries.fill(lease, _entry(lease, b"new"), ttl=_LONG)
    assert stored is True, "fill: an entry is replaced under a lease beside it"
    yield from served("fill: an entry is replaced", payload=b"new", refreshing=False)
    yield from _voided(entries, lease, "a lease that was used is none")

    lease = yield from _leased(entries, lookup, refresh=True)
    yield from entries.drop([lookup.key])
    yield from _voided(entries, lease, "dropping a key voids the lease beside its entry")
    yield from entries.release(lease)
    assert (yield from _read(entries, lookup)).value is None, "release: what was dropped does not come back"
    for end in ("fill", "release"):
        yield from _filled(entries, lookup, b"old")
        lease = yield from _leased(entries, lookup, refresh=True)
        yield from entries.drop_tags(lookup.tags)
        if end == "fill":
            yield from entries.fill(lease, _entry(lease), ttl=_LONG)
        else:
            yield from entries.release(lease)
        served_late = yield from _payload(entries, lookup)
        assert served_late is None, f"{end}: what was computed before its tags were dropped must not be valid"

    yield from _filled(entries, lookup, b"old")
    plain = (yield from _read(entries, lookup)).value or b""
    lease = yield from _leased(entries, lookup, refresh=True)
    value = pack_refresh(COOLING, _now() + int(_LONG * 1000), plain)
    stored = yield from entries.fill(lease, value, ttl=_LONG)
    hit = yield from _judged(entries, lookup)
    rule = "fill: an entry with word that nobody is to replace it is stored with that word"
    assert stored, rule
    assert isinstance(hit, Hit), rule
    assert (bytes(hit.payload), hit.cooling) == (b"old", True), rule
    other = yield from _acquire(entries, lookup, refresh=True)
    assert isinstance(other, Lease), "acquire: that nobody is to replace an entry is told as another's lease"
    assert not other.mine, "acquire: nobody may replace an entry that says so"


def _check_races(entries: Entries, together: Together) -> Steps[None]:
    for _ in range(5):
        tags = (_tag(), _tag())
        lookup = _lookup(*tags)
        cold = yield from _read(entries, lookup)
        leases = yield together([entries.acquire(lookup, cold, ttl=_LONG) for _ in range(_AT_ONCE)])
        assert all(isinstance(lease, Lease) for lease in leases), "acquire: of several at once each is told"
        mine = [lease for lease in leases if lease.mine]
        assert len(mine) == 1, "acquire: of several at once, exactly one has the lease"
        assert len({lease.versions for lease in leases}) == 1, "acquire: all see the same versions"
        others = [_lookup(*tags) for _ in range(_AT_ONCE)]
        leases = yield together([entries.acquire(other, cold, ttl=_LONG) for other in others])
        assert {lease.versions for lease in leases} == {mine[0].versions}, (
            "acquire: tags that have a version keep it"
        )
        tags = (_tag(), _tag())
        others = [_lookup(*tags) for _ in range(_AT_ONCE)]
        leases = yield together([entries.acquire(other, cold, ttl=_LONG) for other in others])
        assert len({lease.versions for lease in leases}) == 1, (
            "acquire: of several at once that give a tag a version, one does"
        )
        fills = [entries.fill(mine[0], _entry(mine[0], b"%d" % at), ttl=_LONG) for at in range(_AT_ONCE)]
        stored = yield together(fills)
        assert sum(stored) == 1, "fill: of several at once with one lease, exactly one stores"
        served = yield from _payload(entries, lookup)
        assert served == b"%d" % stored.index(True), "fill: what the one has stored must be read"
        found = yield from _read(entries, lookup)
        leases = yield together(
            [entries.acquire(lookup, found, ttl=_LONG, refresh=True) for _ in range(_AT_ONCE)]
        )
        refreshing = sum(isinstance(lease, Lease) and lease.mine for lease in leases)
        assert refreshing == 1, "acquire: of several at once, exactly one may refresh"


def _check_races_of_invalidations(entries: Entries, together: Together) -> Steps[None]:
    def race(invalidate: Steps[None], lookup: Lookup, lease: Lease, *, before: bool) -> Steps[None]:
        fill = entries.fill(lease, _entry(lease, b"old"), ttl=_LONG)
        yield together([invalidate, fill] if before else [fill, invalidate])

    for number in range(20):
        before = bool(number % 2)
        for refresh in (False, True):
            lookup, writer = _lookup(), _writer()
            for what in ("drop", "drop_tags", "mark"):
                if refresh:
                    yield from entries.drop([lookup.key])
                    yield from _filled(entries, lookup)
                lease = yield from _leased(entries, lookup, refresh=refresh)
                if what == "drop":
                    invalidate = entries.drop([lookup.key])
                elif what == "drop_tags":
                    invalidate = entries.drop_tags(lookup.tags)
                else:
                    invalidate = entries.mark(lookup.tags, writer, ttl=_LONG)
                yield from race(invalidate, lookup, lease, before=before)
                if what == "mark":
                    yield from entries.bump(lookup.tags, writer, position=None)
                served = yield from _payload(entries, lookup)
                assert served is None, f"{what}: what was computed before it must not be valid after it"
                yield from entries.drop([lookup.key])


def _check_races_of_writers(entries: Entries, together: Together) -> Steps[None]:
    for _ in range(5):
        tags = (_tag(), _tag())
        lookup = _lookup(*tags)
        writers = [_writer() for _ in range(_AT_ONCE)]
        yield together([entries.mark(tags, writer, ttl=_LONG) for writer in writers])
        last = writers.pop()
        yield together([entries.bump(tags, writer, position=None) for writer in writers])
        told = yield from _acquire(entries, lookup)
        assert told is None, "bump: of several at once none takes away the mark of a writer who is not done"
        joins = [entries.mark(tags, writer, ttl=_LONG) for writer in writers[: _AT_ONCE // 2]]
        yield together([entries.bump(tags, last, position=None), entries.drop_tags(tags), *joins])
        told = yield from _acquire(entries, lookup)
        assert told is None, "mark: stays in place, whatever others do meanwhile"
        yield together([entries.bump(tags, writer, position=None) for writer in writers])
        yield from _filled(entries, lookup)


def _wait_for(steps: Callable[[], Steps[bool]], rule: str) -> Steps[None]:
    until = time.monotonic() + _PATIENCE
    while not (yield from steps()):
        assert time.monotonic() < until, rule
        yield _WAIT


def _is_free(entries: Entries, lookup: Lookup) -> Callable[[], Steps[bool]]:
    """Whether there is a lease to be had; it is taken."""

    def ask() -> Steps[bool]:
        lease = yield from _acquire(entries, lookup)
        return isinstance(lease, Lease) and lease.mine

    return ask


def _check_lease_time(entries: Entries) -> Steps[None]:
    ended, kept, marked = _lookup(), _lookup(), _lookup()
    dead = yield from _leased(entries, ended, ttl=_SHORT)
    alive = yield from _leased(entries, kept, ttl=_SHORT)
    alive = yield from _in_place(entries, alive, "renew: a lease that is in place is renewed")
    assert alive.left > _SHORT, "renew: left is the time that the lease lasts from now on"
    passing = yield from _leased(entries, marked)
    yield from entries.release(passing, mark=pack_pass(passing.versions), ttl=_SHORT)
    yield from _wait_for(_is_free(entries, ended), "acquire: a lease must end when its time has passed")
    yield from _voided(entries, dead, "a lease that has ended is none when another has it")
    yield from _wait_for(_is_free(entries, marked), "release: a mark must end when its time has passed")
    other = yield from _acquire(entries, kept)
    assert isinstance(other, Lease), "renew: a lease lasts from then on"
    assert not other.mine, "renew: a lease lasts from then on"
    stored = yield from entries.fill(alive, _entry(alive), ttl=_LONG)
    assert stored is True, "renew: a lease lasts from then on"


def _check_entry_time(entries: Entries) -> Steps[None]:
    short, long, refreshed, released = _lookup(), _lookup(), _lookup(), _lookup()
    yield from _filled(entries, long)
    for lookup in (refreshed, released, short):
        lease = yield from _leased(entries, lookup)
        stored = yield from entries.fill(lease, _entry(lease), ttl=_SHORT)
        assert stored is True, "fill: whether the lease was in place"
    for lookup in (refreshed, released):
        told = yield from _acquire(entries, lookup, refresh=True)
        if isinstance(told, Lease):  # or the entry has ended already
            renewed = yield from entries.renew(told, ttl=_LONG)
            if lookup is released:
                yield from entries.release(renewed or told)

    def gone(lookup: Lookup) -> Callable[[], Steps[bool]]:
        def ask() -> Steps[bool]:
            return (yield from _payload(entries, lookup)) is None

        return ask

    yield from _wait_for(gone(short), "fill: an entry must end when its time has passed")
    yield from _wait_for(gone(refreshed), "acquire, renew: an entry must not last longer for being refreshed")
    yield from _wait_for(gone(released), "release: an entry must not last longer than it would have")
    assert (yield from _payload(entries, long)) == b"payload", "fill: an entry must not end before its time"


def _check_mark_time(entries: Entries) -> Steps[None]:
    dead, alive = _tag(), _tag()
    lookup, other = _lookup(dead), _lookup(alive)
    yield from _filled(entries, lookup)
    writer = _writer()
    yield from entries.mark([alive], writer, ttl=_LONG)
    gone = _writer()
    yield from entries.mark([dead, alive], gone, ttl=_SHORT)
    again = _lookup(dead)
    yield from _wait_for(_is_free(entries, again), "mark: must end when its time has passed")
    served = yield from _payload(entries, lookup)
    assert served is None, "mark: what was computed before it must not be valid when it has ended by itself"
    told = yield from _acquire(entries, other)
    assert told is None, "mark: one that ends takes no other away"
    yield from entries.bump([alive], writer, position=None)
    yield from _leased(entries, other, "bump: marks that have ended do not count")
    yield from _filled(entries, lookup)
    yield from entries.bump([dead], gone, position=None)
    served = yield from _payload(entries, lookup)
    assert served is None, "bump: when the mark has ended by itself, the tag has a new version all the same"


def _check_refresh_time(entries: Entries) -> Steps[None]:
    lookup = _lookup()
    yield from _filled(entries, lookup)
    dead = yield from _leased(entries, lookup, ttl=_SHORT, refresh=True)

    mine: Lease | None = None

    def free() -> Steps[bool]:
        nonlocal mine
        told = yield from _acquire(entries, lookup, refresh=True)
        mine = told if isinstance(told, Lease) and told.mine else None
        return mine is not None

    yield from _wait_for(free, "acquire: the right to refresh must end when its time has passed")
    yield from _voided(entries, dead, "a lease that has ended is none when another has it")
    assert (yield from _payload(entries, lookup)) == b"payload", "acquire: an entry stays readable"
    assert mine is not None
    stored = yield from entries.fill(mine, _entry(mine, b"new"), ttl=_LONG)
    assert stored is True, "acquire: the right to refresh that was taken over is one"


def _check_generation(entries: Entries) -> Steps[None]:
    lookup, computing = _lookup(), _lookup()
    yield from _filled(entries, lookup)
    yield from entries.renew_generation(older_than=24 * 3600)
    served = yield from _payload(entries, lookup)
    assert served == b"payload", "renew_generation: a generation that is not so old is kept"
    lease = yield from _leased(entries, computing)
    yield from entries.renew_generation()
    assert (yield from _payload(entries, lookup)) is None, "renew_generation: drops everything"
    yield from entries.fill(lease, _entry(lease), ttl=_LONG)
    assert (yield from _payload(entries, computing)) is None, "renew_generation: voids what is being computed"
    new = yield from _leased(entries, lookup, "renew_generation: the next one gets a lease")
    assert new.versions[:8] != lease.versions[:8], "acquire: the generation's version comes first"
    assert new.versions[8:] != lease.versions[8:], "acquire: the tags' versions come after the generation's"
    assert abs(new.ages[0]) < _CLOCKS, "renew_generation: a new version has no age"
    yield from entries.fill(new, _entry(new), ttl=_LONG)

    def dropped() -> Steps[bool]:
        yield from entries.renew_generation(older_than=_SHORT)
        return (yield from _payload(entries, lookup)) is None

    yield from _wait_for(dropped, "renew_generation: one that is older than that is replaced")
    last = yield from _leased(entries, lookup)
    assert last.ages[1] > last.ages[0], "acquire: ages are the seconds since a tag has had its version"
