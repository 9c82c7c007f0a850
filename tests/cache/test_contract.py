"""check_backend: our own back ends keep the contract, and every breach of it is found."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from scalekit.cache import entry, versions
from scalekit.cache.backend import Backend, Lease, Lookup, immediate
from scalekit.cache.entry import Found
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.redis import RedisBackend
from scalekit.testing import check_backend, check_backend_async
from scalekit.testing._backends import times

SERVERS = ["redis_cluster", pytest.param("redis_sentinel", marks=pytest.mark.slow)]


def test_threads_find_the_contract_kept(backend: Backend) -> None:
    """1, 6, 9. Leases exclude, and nothing that was invalidated is valid again, with threads at once."""
    check_backend(backend)


async def test_tasks_find_the_contract_kept(backend: Backend) -> None:
    """1, 6, 9. The same with tasks of an event loop."""
    await check_backend_async(backend)
    closing = backend.using("async").close()
    if closing is not None:
        await closing


@pytest.mark.parametrize("server", SERVERS)
async def test_wherever_redis_is(server: str, request: pytest.FixtureRequest, prefix: str) -> None:
    """Of both colours, on a Cluster and behind Sentinels."""
    url = request.getfixturevalue(server).url
    backend = RedisBackend.from_url(url, prefix=prefix)
    await asyncio.to_thread(check_backend, backend)
    await check_backend_async(backend)
    backend.using("sync").close()
    await backend.using("async").close()


A_MOMENT = 0.01  # seconds; sixteen threads begin meanwhile, one or two on the busiest machine

# What is wrong with a back end: a method of MemoryBackend's, and what it does instead.

Method = Callable[..., Any]
BREACHES: list[Any] = []

# One who looks and then writes can lose what another has written in between, at any moment. Whichever rule
# sees it first: a mark that is gone, one that stays, or the tag that it keeps out of the cache from then on.
_A_RACE = "none takes away the mark of a writer who is not done|stays in place|who asks first gets the lease"


def breach(method: str, says: str) -> Callable[[Method], Method]:
    def add(wrong: Method) -> Method:
        BREACHES.append(pytest.param(method, wrong, says, id=wrong.__name__))
        return wrong

    return add


def real(name: str, self: MemoryBackend, *args: Any, **options: Any) -> Any:
    return getattr(MemoryBackend, name).__wrapped__(self, *args, **options)


def look(self: MemoryBackend, key: str) -> bytes | None:
    with self._lock:
        return self._get(key)


def put(self: MemoryBackend, key: str, value: bytes, ttl: float) -> None:
    with self._lock:
        self._put(key, value, ttl)


@breach("read", "answers come in the order of the lookups")
def answers_out_of_order(self: MemoryBackend, lookups: Sequence[Lookup]) -> Any:
    return real("read", self, sorted(lookups))


@breach("read", "records come in the order of a lookup's tags|must be read as it is")
def records_out_of_order(self: MemoryBackend, lookups: Sequence[Lookup]) -> Any:
    return real("read", self, [Lookup(key, tuple(sorted(tags))) for key, tags in lookups])


@breach("read", "an entry must end when its time has passed")
def reads_what_has_ended(self: MemoryBackend, lookups: Sequence[Lookup]) -> Any:
    ends = {key: (time.time() + 60, value) for key, (_, value) in self._values.items() if value[:1] == b"E"}
    self._values.update(ends)
    return real("read", self, lookups)


@breach("acquire", "one at a time has the lease")
def everybody_has_the_lease(self: MemoryBackend, *args: Any, **options: Any) -> Any:
    lease = real("acquire", self, *args, **options)
    return replace(lease, mine=True) if isinstance(lease, Lease) else lease


@breach("acquire", "exactly one has the lease")
def two_may_get_the_lease(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    if look(self, lookup.key) is None:
        time.sleep(A_MOMENT)
        real("drop", self, [lookup.key])
    return real("acquire", self, lookup, found, **options)


@breach("acquire", "where there is an entry by now, that is given")
def does_not_see_an_entry(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    if found.value is None and (look(self, lookup.key) or b"")[:1] == b"E":
        real("drop", self, [lookup.key])
    return real("acquire", self, lookup, found, **options)


@breach("acquire", "there is no lease where there is a pass mark")
def does_not_see_a_pass_mark(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    if (look(self, lookup.key) or b"")[:1] == b"P":
        real("drop", self, [lookup.key])
    return real("acquire", self, lookup, found, **options)


@breach("acquire", "there is no lease to be had while a tag is marked")
def leases_while_a_tag_is_marked(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    for tag in lookup.tags:
        if self._records.get(tag, b"")[:1] == b"D":
            del self._records[tag]
    return real("acquire", self, lookup, found, **options)


@breach("acquire", "under versions that have changed is taken over")
def keeps_a_lease_under_other_versions(
    self: MemoryBackend, lookup: Lookup, found: Found, **options: Any
) -> Any:
    value = look(self, lookup.key)
    lease = real("acquire", self, lookup, found, **options)
    if value is not None and value[:1] == b"L" and lease is not None:
        put(self, lookup.key, value, 60)
        return replace(lease, mine=False, token=entry.token_of(value))
    return lease


@breach("acquire", "tags without a version get the lease's|must be read as it is|versions")
def versions_of_its_own(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    lease = real("acquire", self, lookup, found, **options)
    self._records.update({tag: versions.pack(versions.new_version(), self._now()) for tag in lookup.tags})
    return lease


@breach("acquire", "left is the time|lasts as long as was asked for")
def milliseconds(self: MemoryBackend, *args: Any, **options: Any) -> Any:
    lease = real("acquire", self, *args, **options)
    return replace(lease, left=lease.left * 1000) if isinstance(lease, Lease) else lease


@breach("acquire", "a new version has no age")
def ages_are_births(self: MemoryBackend, *args: Any, **options: Any) -> Any:
    lease = real("acquire", self, *args, **options)
    births = [time.time() - age for age in lease.ages] if isinstance(lease, Lease) else []
    return replace(lease, ages=tuple(births)) if births else lease


@breach("acquire", "ages are the seconds since a tag has had its version|has no age")
def ages_of_nothing(self: MemoryBackend, *args: Any, **options: Any) -> Any:
    lease = real("acquire", self, *args, **options)
    return replace(lease, ages=(0.0,) * len(lease.ages)) if isinstance(lease, Lease) else lease


@breach("acquire", "an entry stays readable")
def refreshing_hides_the_entry(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    lease = real("acquire", self, lookup, found, **options)
    if isinstance(lease, Lease) and lease.refresh:
        put(self, lookup.key, entry.pack_lease(lease.token, lease.versions), 60)
    return lease


@breach("acquire", "one at a time may refresh")
def everybody_refreshes(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    value = look(self, lookup.key) or b""
    if options.get("refresh") and value[:1] == b"R":
        put(self, lookup.key, entry.without_refresh(value), 60)
    return real("acquire", self, lookup, found, **options)


@breach("acquire", "must not last longer for being refreshed")
def refreshing_prolongs(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    lease = real("acquire", self, lookup, found, **options)
    if isinstance(lease, Lease) and lease.refresh:
        put(self, lookup.key, self._values[lookup.key][1], 60)
    return lease


@breach("acquire", "the right to refresh must end")
def refreshes_for_ever(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    return real("acquire", self, lookup, found, **options | ({"ttl": 60} if options.get("refresh") else {}))


@breach("acquire", "a lease must end")
def leases_for_ever(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    return real("acquire", self, lookup, found, **options | {"ttl": 60})


@breach("acquire", "a lease that would last longer than LONGEST_LEASE is nobody's")
def waits_for_an_endless_lease(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    return real("acquire", self, lookup, found, **options | {"ttl": min(options["ttl"], 60)})


@breach("acquire", "the right to refresh is nobody's if it would last longer than LONGEST_LEASE")
def waits_for_an_endless_refresh(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    least = 60 if options.get("refresh") else options["ttl"]
    return real("acquire", self, lookup, found, **options | {"ttl": min(options["ttl"], least)})


@breach("acquire", "that nobody is to replace an entry holds for as long as it says")
def takes_over_what_nobody_is_to(self: MemoryBackend, lookup: Lookup, found: Found, **options: Any) -> Any:
    value = look(self, lookup.key) or b""
    if value[:1] == b"R" and entry.refresh_ends(value) > self._now() + 1000 * entry.LONGEST_LEASE:
        put(self, lookup.key, entry.without_refresh(value), 60)
    return real("acquire", self, lookup, found, **options)


@breach("acquire", "gives the position of a tag's last bump")
def positions_are_lost(self: MemoryBackend, *args: Any, **options: Any) -> Any:
    lease = real("acquire", self, *args, **options)
    none = (None,) * len(lease.ages) if isinstance(lease, Lease) else ()
    return replace(lease, positions=none) if none else lease


@breach("renew", "a lease lasts from then on")
def renews_nothing(self: MemoryBackend, lease: Lease, *, ttl: float) -> Any:
    return replace(lease, left=ttl) if entry.token_of(look(self, lease.key)) == lease.token else None


@breach("renew", "renew: a lease that was used is none")
def renews_what_is_gone(self: MemoryBackend, lease: Lease, *, ttl: float) -> Any:
    real("renew", self, lease, ttl=ttl)
    return lease


@breach("fill", "a lease is good for one result")
def fills_without_a_lease(self: MemoryBackend, lease: Lease, value: bytes, *, ttl: float) -> Any:
    put(self, lease.key, value, ttl)
    return True


@breach("fill", "a lease that was voided stays so, though there is another")
def fills_under_any_lease(self: MemoryBackend, lease: Lease, value: bytes, *, ttl: float) -> Any:
    found = look(self, lease.key)
    token = entry.token_of(found)
    return token is not None and real("fill", self, replace(lease, token=token), value, ttl=ttl)


@breach("fill", "what was computed before it must not be valid after it|exactly one stores")
def fills_at_two_strokes(self: MemoryBackend, lease: Lease, value: bytes, *, ttl: float) -> Any:
    if entry.token_of(look(self, lease.key)) != lease.token:
        return False
    time.sleep(A_MOMENT)
    put(self, lease.key, value, ttl)
    return True


@breach("fill", "is stored with that word")
def fills_entries_alone(self: MemoryBackend, lease: Lease, value: bytes, *, ttl: float) -> Any:
    plain = entry.without_refresh(value) if value[:1] == b"R" else value
    return real("fill", self, lease, plain, ttl=ttl)


@breach("fill", "what was stored must be read as it is")
def cuts_at_a_line(self: MemoryBackend, lease: Lease, value: bytes, *, ttl: float) -> Any:
    return real("fill", self, lease, value.split(b"\r\n")[0], ttl=ttl)


@breach("release", "takes no other away")
def releases_what_is_anothers(self: MemoryBackend, lease: Lease, **options: Any) -> Any:
    token = entry.token_of(look(self, lease.key))
    if token is not None:
        real("release", self, replace(lease, token=token), **options)


@breach("release", "a mark is put in the place of the lease")
def puts_no_mark(self: MemoryBackend, lease: Lease, **options: Any) -> Any:
    real("release", self, lease)


@breach("release", "a mark must end")
def marks_pass_for_ever(self: MemoryBackend, lease: Lease, *, mark: bytes = b"", ttl: float = 0) -> Any:
    real("release", self, lease, mark=mark, ttl=60)


@breach("release", "release: the entry stays")
def releases_the_entry_too(self: MemoryBackend, lease: Lease, **options: Any) -> Any:
    real("release", self, replace(lease, refresh=False), **options)


@breach("release", "an entry must not last longer than it would have")
def releasing_prolongs(self: MemoryBackend, lease: Lease, **options: Any) -> Any:
    real("release", self, lease, **options)
    if (look(self, lease.key) or b"")[:1] == b"E":
        put(self, lease.key, self._values[lease.key][1], 60)


@breach("drop", "dropping a key voids its lease")
def drop_leaves_leases(self: MemoryBackend, keys: Sequence[str]) -> Any:
    real("drop", self, [key for key in keys if (look(self, key) or b"")[:1] != b"L"])


@breach("drop", "dropping a key voids the lease beside its entry")
def drop_leaves_refreshes(self: MemoryBackend, keys: Sequence[str]) -> Any:
    real("drop", self, [key for key in keys if (look(self, key) or b"")[:1] != b"R"])


@breach("drop_tags", "makes a miss of every entry that carries the tag")
def drops_the_last_tag_only(self: MemoryBackend, tags: Sequence[str]) -> Any:
    real("drop_tags", self, tags[-1:])


@breach("drop_tags", "under versions that have changed is taken over")
def counts_versions_from_one(self: MemoryBackend, tags: Sequence[str]) -> Any:
    self._records.update({tag: versions.pack(b"\0" * 7 + b"\1", self._now()) for tag in tags})


@breach("drop_tags", "the marks of writers stay in place")
def drop_tags_takes_marks_away(self: MemoryBackend, tags: Sequence[str]) -> Any:
    for tag in tags:
        self._records.pop(tag, None)


@breach("drop_tags", "a version that no commit has made has no position")
def keeps_the_position(self: MemoryBackend, tags: Sequence[str]) -> Any:
    known = {tag: versions.parse(self._records.get(tag)) for tag in tags}
    real("drop_tags", self, tags)
    for tag, old in known.items():
        if old is not None:
            self._records[tag] = versions.pack(versions.new_version(), self._now(), old.position)


@breach("mark", "mark: makes a miss of what carries the tag")
def marks_nothing(self: MemoryBackend, tags: Sequence[str], writer: bytes, *, ttl: float) -> Any:
    return None


@breach("mark", "the mark of another writer stays in place")
def a_mark_replaces_others(self: MemoryBackend, tags: Sequence[str], writer: bytes, *, ttl: float) -> Any:
    for tag in tags:
        self._records.pop(tag, None)
    real("mark", self, tags, writer, ttl=ttl)


@breach("mark", "mark: must end")
def marks_for_ever(self: MemoryBackend, tags: Sequence[str], writer: bytes, *, ttl: float) -> Any:
    real("mark", self, tags, writer, ttl=60)


@breach("mark", f"one that ends takes no other away|{_A_RACE}")
def the_last_mark_ends_all(self: MemoryBackend, tags: Sequence[str], writer: bytes, *, ttl: float) -> Any:
    real("mark", self, tags, writer, ttl=ttl)
    ends = self._now() + int(ttl * 1000)
    for tag in tags:
        for other in versions.writers(self._records[tag], 0):
            self._records[tag] = versions.marked(self._records[tag], other, now=0, ends=ends)


@breach("mark", _A_RACE)
def marks_at_two_strokes(self: MemoryBackend, tags: Sequence[str], writer: bytes, *, ttl: float) -> Any:
    before = {tag: self._records.get(tag) for tag in tags}
    time.sleep(A_MOMENT)
    now = self._now()
    for tag, record in before.items():
        self._records[tag] = versions.marked(record, writer, now=now, ends=now + int(ttl * 1000))


@breach("bump", "the mark of another writer stays in place")
def bump_takes_all_marks_away(self: MemoryBackend, tags: Sequence[str], writer: bytes, **options: Any) -> Any:
    for tag in tags:
        self._records[tag] = versions.pack(versions.new_version(), self._now(), **options)


@breach("bump", "without a mark the tag has a new version, too")
def bumps_what_was_marked_only(
    self: MemoryBackend, tags: Sequence[str], writer: bytes, **options: Any
) -> Any:
    real("bump", self, [tag for tag in tags if self._records.get(tag, b"")[:1] == b"D"], writer, **options)


@breach("bump", "a position is left out, never cut off")
def cuts_positions(
    self: MemoryBackend, tags: Sequence[str], writer: bytes, *, position: str | None = None
) -> Any:
    real("bump", self, tags, writer, position=position and position[:100])


@breach("bump", "nobody knows who was the last")
def believes_the_last(
    self: MemoryBackend, tags: Sequence[str], writer: bytes, *, position: str | None = None
) -> Any:
    real("bump", self, tags, writer, position=position)
    for tag in tags:
        if versions.parse(self._records.get(tag)) is not None:
            self._records[tag] = versions.pack(versions.new_version(), int(self._clock() * 1000), position)


@breach("drop_tags", "for what was committed after who is in COMMIT")
def drops_without_a_word(self: MemoryBackend, tags: Sequence[str]) -> Any:
    for tag in tags:
        if not versions.writers(self._records.get(tag), int(self._clock() * 1000)):
            real("drop_tags", self, [tag])


@breach("renew_generation", "renew_generation: drops everything")
def keeps_the_generation(self: MemoryBackend, *, older_than: float | None = None) -> Any:
    return None


@breach("renew_generation", "a generation that is not so old is kept")
def renews_however_old(self: MemoryBackend, *, older_than: float | None = None) -> Any:
    real("renew_generation", self)


@breach("renew_generation", "one that is older than that is replaced")
def asks_for_milliseconds(self: MemoryBackend, *, older_than: float | None = None) -> Any:
    real("renew_generation", self, older_than=older_than and older_than * 1000)


@pytest.mark.parametrize(("method", "wrong", "says"), BREACHES)
def test_a_breach_is_found(method: str, wrong: Method, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever rule a back end breaks, the check fails and says which."""
    monkeypatch.setattr(times, "PATIENCE", 0.5)
    broken = type("Broken", (MemoryBackend,), {method: immediate(wrong)})
    with pytest.raises(AssertionError, match=says):
        check_backend(broken())


class _NoMark(MemoryBackend):
    mark = None  # type: ignore[assignment]


class _NoSteps(MemoryBackend):
    def fill(self, *args: Any, **kwargs: Any) -> Any:
        return True


class _NoUsing:
    local = True


class _NoLimit(_NoUsing):
    def using(self, colour: Any) -> Any:
        return self


@pytest.mark.parametrize(
    ("backend", "says"),
    [
        (object(), "^local: "),
        (_NoUsing(), "^using: there is no such method"),
        (_NoLimit(), "^limit: "),
        (_NoMark(), "^mark: .* no such method"),
        (_NoSteps(), "^fill: gives a bool, not steps; write it as a generator"),
    ],
)
def test_what_a_back_end_has_not_got_is_named(backend: Any, says: str) -> None:
    """One that is being written: the method, and not an error of the check's own."""
    with pytest.raises(AssertionError, match=says):
        check_backend(backend)
