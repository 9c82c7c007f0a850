"""What is particular to sessions in Memcached: eviction, whole seconds, one item at a time, its limits."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import msgspec
import pytest
from pymemcache.client.base import PooledClient
from pymemcache.client.hash import HashClient

from scalekit._memcached import Commands
from scalekit._memcached import Memcached as Link
from scalekit.errors import BackendUnavailable, ConfigurationError, SessionTooLarge, WrongColour
from scalekit.sessions.memcached import BoundMemcachedStore, MemcachedStore
from scalekit.sessions.memcached_items import seconds
from scalekit.sessions.store import Loaded
from scalekit.sessions.tokens import store_id
from scalekit.testing import check_store, check_store_async
from tests.servers import Memcached
from tests.sessions.shells import Shell, Visitor, WSGIShell

HOUR = 3_600_000  # ms
DAY = 24 * HOUR
PATIENT = {"timeout": 30, "connect_timeout": 30}  # a machine under load is no outage


class Clock:
    """A clock that a test sets, in milliseconds."""

    now = 1_800_000_000_000

    def __call__(self) -> float:
        return self.now / 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(memcached_server: Memcached, prefix: str) -> MemcachedStore:
    return MemcachedStore.from_url(memcached_server.url, prefix=prefix, **PATIENT)


@pytest.fixture
def bound(store: MemcachedStore) -> BoundMemcachedStore:
    return store.using("sync")


@pytest.fixture
def timed(memcached_server: Memcached, prefix: str, clock: Clock) -> BoundMemcachedStore:
    """A store by a clock that the test sets."""
    link = Link.from_url(memcached_server.url, **PATIENT)
    return MemcachedStore(link, prefix=prefix, clock=clock).using("sync")


def create(store: BoundMemcachedStore, id: str = "1" * 64, **options: Any) -> Any:
    options = {"fields": {}, "user": None, "idle": HOUR, "lifetime": DAY, **options}
    return store.create(id, **options)


def load(store: BoundMemcachedStore, id: str = "1" * 64, *, step: int = DAY, idle: int = HOUR) -> Any:
    return store.load(id, idle=idle, step=step)


def kept_for(server: Memcached, key: str, seconds: int, *, since: float, less: int = 0) -> bool:
    """Whether memcached keeps an item, written after the moment ``since`` of `time.monotonic`, for so many
    seconds, up to two more, or so many ``less``."""
    (line,) = server.call(f"mg {key} t")
    left = int(line.removeprefix("HD t"))
    return seconds - less - (time.monotonic() - since) <= left <= seconds + 2


def of_user(server: Memcached, prefix: str) -> str:
    (key,) = (key for key in server.keys(prefix) if key.startswith(f"{prefix}user:"))
    return key


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Memcached]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Memcached()) for _ in range(3)]


def url_of(servers: list[Memcached]) -> str:
    return "memcached://" + ",".join(f"{server.host}:{server.port}" for server in servers)


def test_memcached_keeps_the_contract(store: MemcachedStore) -> None:
    """One store from a URL serves both colours."""
    check_store(store)
    asyncio.run(check_store_async(store))


def test_several_servers_keep_the_contract(servers: list[Memcached], prefix: str) -> None:
    """30. Sessions and lists are spread over them."""
    store = MemcachedStore.from_url(url_of(servers), prefix=prefix, **PATIENT)
    check_store(store)
    asyncio.run(check_store_async(store))
    assert all(server.keys(prefix) for server in servers)


def test_both_colours_find_a_session(servers: list[Memcached], prefix: str) -> None:
    """What threads have stored on one of several servers, event loops and a given client find there."""
    store = MemcachedStore.from_url(url_of(servers), prefix=prefix, **PATIENT)
    client = HashClient([(server.host, server.port) for server in servers])
    given = MemcachedStore(client, prefix=prefix).using("sync")
    bound, ids = store.using("sync"), [store_id(str(number)) for number in range(80)]
    for id in ids:  # of so many each server surely has one
        create(bound, id, user=b"ann")

    async def found() -> list[Any]:
        other = store.using("async")
        return [await other.load(id, idle=HOUR, step=DAY) for id in ids]

    assert all(asyncio.run(found()))
    assert all(load(given, id) for id in ids)
    assert sorted(given.listed(b"ann")) == sorted(ids)
    assert all(server.keys(prefix) for server in servers)


def test_a_client_that_was_given_keeps_the_contract(memcached_server: Memcached, prefix: str) -> None:
    """Synchronous; the other colour is refused at start-up, and so is what is no client."""
    client = PooledClient((memcached_server.host, memcached_server.port), key_prefix=prefix.encode())
    store = MemcachedStore(client, prefix="s:")
    check_store(store)
    with pytest.raises(WrongColour, match="from_url"):
        store.using("async")
    with pytest.raises(ConfigurationError, match="pymemcache"):
        MemcachedStore(object())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prefix": "my sessions:"}, "without spaces"),
        ({"prefix": "schlüssel:"}, "ASCII"),
        ({"prefix": "s\n:"}, "without spaces"),
        ({"prefix": "s" * 182}, "too long"),
        ({"max_item_size": 512}, "above 512"),
    ],
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    """Told at start-up, and not by a server that takes a key for two."""
    with pytest.raises(ConfigurationError, match=words):
        MemcachedStore.from_url("memcached://host", **options)


def test_the_longest_prefix(memcached_server: Memcached) -> None:
    """It fits, with the key of a list too."""
    bound = MemcachedStore.from_url(memcached_server.url, prefix="s" * 181, **PATIENT).using("sync")
    id = store_id("the longest")
    create(bound, id, user=b"ann")
    assert bound.listed(b"ann") == [id]
    bound.destroy(id, grace=0)


def test_the_layout(memcached_server: Memcached, prefix: str, bound: BoundMemcachedStore) -> None:
    """16. One item a session and one a user, each with an expiry, and no token or name in a key."""
    since = time.monotonic()
    create(bound, fields={b"a": b"1"}, user=b"ann", device=b"phone")
    session, listing = f"{prefix}{'1' * 64}", of_user(memcached_server, prefix)
    assert memcached_server.keys(prefix) == [session, listing]
    assert "ann" not in listing
    assert kept_for(memcached_server, session, HOUR // 1000, since=since)
    assert kept_for(memcached_server, listing, DAY // 1000, since=since)
    since = time.monotonic()
    bound.destroy("1" * 64, grace=60_000, successor="2" * 64, alias=True)
    assert memcached_server.keys(prefix) == [session]
    assert kept_for(memcached_server, session, 60, since=since)


def test_no_token_is_stored(memcached_server: Memcached, prefix: str, store: MemcachedStore) -> None:
    """16. Whoever reads all of memcached has no cookie that works."""
    shell = WSGIShell(store)
    visitor = shell.visitor()
    visitor(lambda session: session.login("ann"))
    assert visitor.cookie is not None
    token = visitor.cookie.partition(".")[0]
    dump = [
        line for key in memcached_server.keys(prefix) for line in [key, *memcached_server.call(f"get {key}")]
    ]
    assert any(store_id(token) in line for line in dump)
    assert not any(token in line for line in dump)


NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (NOW + 1, 2),
        (NOW + 999, 2),
        (NOW + 1000, 2),
        (NOW + 1001, 3),
        (NOW + 30 * DAY - 1000, 30 * 86400),
        (NOW + 30 * DAY, 1_800_000_000 + 31 * 86400),  # "30 days" would still be taken as such, one more not
        (NOW + 60 * DAY, 1_800_000_000 + 61 * 86400),
        ((2**31 - 1 - 86400) * 1000 + 999, 2**31 - 1),
        ((2**31 - 86400) * 1000, 0),  # for ever: it is no moment that memcached can take
        (NOW + 1000 * 365 * DAY, 0),
    ],
)
def test_seconds(until: int, expected: int) -> None:
    """Never less than what is left; beyond 30 days a moment, with a day for a clock that is wrong."""
    assert seconds(until, NOW) == expected


def test_beyond_thirty_days(memcached_server: Memcached, prefix: str, bound: BoundMemcachedStore) -> None:
    """What memcached takes for a moment and not for a time is one."""
    since = time.monotonic()
    create(bound, idle=60 * DAY, lifetime=90 * DAY, user=b"ann")
    # A moment is one of this machine's clock, and memcached's own may be two seconds off.
    assert kept_for(memcached_server, f"{prefix}{'1' * 64}", 61 * 86400, since=since, less=2)
    assert kept_for(memcached_server, of_user(memcached_server, prefix), 91 * 86400, since=since, less=2)
    assert load(bound) is not None
    bound.destroy("1" * 64, grace=0)


@pytest.mark.parametrize("years", [12, 100, 1000])
def test_beyond_2038(bound: BoundMemcachedStore, years: int) -> None:
    """20. 29. A session may last longer than memcached can count: it is there, listed, and can be ended."""
    create(bound, idle=years * 365 * DAY, lifetime=years * 365 * DAY, user=b"ann")
    assert load(bound) is not None
    assert load(bound, step=0, idle=years * 365 * DAY) is not None
    assert bound.save("1" * 64, changed={b"a": b"1"}, removed=(), idle=years * 365 * DAY) is True
    assert load(bound).fields == {b"a": b"1"}
    assert bound.listed(b"ann") == ["1" * 64]
    bound.destroy("1" * 64, grace=0, user=b"ann")
    assert (load(bound), bound.listed(b"ann")) == (None, [])


def test_times_are_exact_although_memcached_counts_seconds(timed: BoundMemcachedStore, clock: Clock) -> None:
    """Idle time, deadline and mark end in the millisecond in which they should."""
    create(timed, idle=100_000, lifetime=500_000, user=b"ann")
    clock.now += 99_999
    assert load(timed) is not None
    assert load(timed, step=0, idle=1_000_000) is not None
    clock.now += 400_000
    assert load(timed, step=0, idle=1_000_000) is not None
    assert timed.listed(b"ann") == ["1" * 64]
    clock.now += 1
    assert load(timed) is None
    assert timed.save("1" * 64, changed={b"a": b"1"}, removed=(), idle=HOUR) is False
    assert timed.swap("1" * 64, b"a", expected=None, value=b"1", idle=HOUR) is None
    assert timed.destroy("1" * 64, grace=100_000) is None
    assert timed.listed(b"ann") == []

    create(timed, "2" * 64)
    timed.destroy("2" * 64, grace=100_000, successor="3" * 64, alias=True)
    clock.now += 99_999
    assert load(timed, "2" * 64) == Loaded(ended=True, successor="3" * 64, alias=True)
    clock.now += 1
    assert load(timed, "2" * 64) is None


def test_a_deadline_is_the_same_on_machines_that_disagree(
    memcached_server: Memcached, prefix: str, timed: BoundMemcachedStore, clock: Clock
) -> None:
    """20. Nothing moves it, nor goes "last seen" back, when another machine's clock is behind."""
    behind = Clock()
    behind.now = clock.now - 1000
    link = Link.from_url(memcached_server.url, **PATIENT)
    other = MemcachedStore(link, prefix=prefix, clock=behind).using("sync")
    created = create(timed)
    other.save("1" * 64, changed={b"a": b"1"}, removed=(), idle=HOUR)
    loaded = load(timed)
    assert (loaded.created, loaded.deadline, loaded.seen) == (clock.now, created.deadline, clock.now)


def test_a_session_that_was_dropped(
    memcached_server: Memcached, prefix: str, shell_type: type[Shell], store: MemcachedStore
) -> None:
    """Memcached may drop a session: it has ended, no request fails, and nothing brings it back."""
    visitor = shell_type(store).visitor()
    visitor(lambda session: session.update(a=1))
    (key,) = memcached_server.keys(prefix)

    def handler(session: Any) -> None:
        session["a"] = 2
        assert memcached_server.call(f"delete {key}") == ["DELETED"]

    reply = visitor.visit(handler)
    assert (reply.status, reply.set_cookies) == (200, [])
    assert memcached_server.keys(prefix) == []
    assert visitor(dict) == {}


def test_an_ended_session_whose_mark_was_dropped(
    memcached_server: Memcached, prefix: str, store: MemcachedStore
) -> None:
    """10. It stays ended: what comes too late under its id changes nothing."""
    visitor = WSGIShell(store).visitor()
    visitor(lambda session: session.update(a=1))
    (key,) = memcached_server.keys(prefix)
    late = Visitor(visitor.shell, visitor.cookie)

    def handler(session: Any) -> None:
        session["a"] = 2
        visitor(lambda session: session.logout())
        assert memcached_server.call(f"delete {key}") == ["DELETED"]

    assert late.visit(handler).set_cookies == []
    assert memcached_server.keys(prefix) == []


def test_a_list_that_was_dropped(
    memcached_server: Memcached, prefix: str, timed: BoundMemcachedStore, clock: Clock
) -> None:
    """29. Its sessions live on, unlisted until their idle time is extended or somebody logs in anew."""
    for digit in "12":
        create(timed, digit * 64, user=b"ann")
    memcached_server.call(f"delete {of_user(memcached_server, prefix)}")
    assert timed.listed(b"ann") == []
    create(timed, "3" * 64, user=b"ann")
    assert timed.listed(b"ann") == ["3" * 64]
    clock.now += HOUR // 10
    assert load(timed, step=HOUR // 10) is not None
    assert sorted(timed.listed(b"ann")) == ["1" * 64, "3" * 64]
    timed.destroy("2" * 64, grace=0)
    assert sorted(timed.listed(b"ann")) == ["1" * 64, "3" * 64]


def test_memcached_that_is_too_small(prefix: str) -> None:
    """Sessions that do not fit push others out: each is found whole, or not at all."""
    with Memcached(memory=2) as server:
        bound = MemcachedStore.from_url(server.url, prefix=prefix, **PATIENT).using("sync")
        ids = [store_id(str(number)) for number in range(4000)]
        for id in ids:
            assert create(bound, id, fields={b"a": b"x" * 1000, b"id": id.encode()}) is not None
        assert int(server.stats()["evictions"]) > 0
        found = [(id, load(bound, id)) for id in ids]
        assert 0 < sum(loaded is not None for _, loaded in found) < len(ids)
        for id, loaded in found:
            assert loaded is None or loaded.fields == {b"a": b"x" * 1000, b"id": id.encode()}
            saved = bound.save(id, changed={b"b": b"1"}, removed=(), idle=HOUR)
            assert loaded is not None or saved is False


def test_oversize(memcached_server: Memcached, prefix: str, bound: BoundMemcachedStore) -> None:
    """28. What no item can hold is refused before it is written, by the name of the largest key."""
    create(bound, fields={b"small": b"1", b"large": b"x" * 600_000})
    with pytest.raises(SessionTooLarge, match="'large'") as caught:
        bound.save("1" * 64, changed={b"other": b"x" * 500_000}, removed=(), idle=HOUR)
    assert caught.value.limit == (1 << 20) - 512
    assert load(bound).fields.keys() == {b"small", b"large"}
    with pytest.raises(SessionTooLarge, match="'cart'"):
        create(bound, "2" * 64, fields={b"cart": b"x" * (1 << 20)})
    assert memcached_server.keys(prefix) == [f"{prefix}{'1' * 64}"]
    # The limit is right: as much as it allows, memcached takes.
    bound.save("1" * 64, changed={b"large": b"x" * (1_048_576 - 512 - 200)}, removed=(), idle=HOUR)
    assert len(load(bound).fields[b"large"]) == 1_048_576 - 512 - 200


@pytest.mark.parametrize("part", ["user", "device"])
def test_oversize_without_a_value(
    memcached_server: Memcached, prefix: str, bound: BoundMemcachedStore, part: str
) -> None:
    """28. Where it is the user's id that no item can hold, or what is known of the device, that is named."""
    store = MemcachedStore.from_url(memcached_server.url, prefix=prefix, max_item_size=3000, **PATIENT)
    with pytest.raises(SessionTooLarge, match=rf"'{part}[^']*' .*over the limit of 2488; .*max_item_size="):
        create(store.using("sync"), fields={b"user_id": b"1"}, **{part: b"x" * 16_000})
    assert load(bound) is None


def test_oversize_by_a_name(memcached_server: Memcached, prefix: str) -> None:
    """28. The name of a key counts, too."""
    store = MemcachedStore.from_url(memcached_server.url, prefix=prefix, max_item_size=3000, **PATIENT)
    with pytest.raises(SessionTooLarge, match=r"'n{100}'"):
        create(store.using("sync"), fields={b"n" * 2000: b"1", b"other": b"x" * 1000})


def test_a_server_that_takes_less_than_it_was_said_to(memcached_server: Memcached, prefix: str) -> None:
    """28. Its refusal is told with the cure, and the session is as before."""
    store = MemcachedStore.from_url(memcached_server.url, prefix=prefix, max_item_size=1 << 22, **PATIENT)
    bound = store.using("sync")
    create(bound, fields={b"a": b"1"})
    with pytest.raises(BackendUnavailable, match="too large for cache; the limit is memcached's option -I"):
        bound.save("1" * 64, changed={b"a": b"x" * 2_000_000}, removed=(), idle=HOUR)
    assert load(bound).fields == {b"a": b"1"}


def fill(commands: Commands, prefix: str, value: bytes) -> None:
    for number in range(100_000):
        commands.add(f"{prefix}-{number}", value, seconds=600)


def test_a_server_that_is_out_of_memory(prefix: str) -> None:
    """27. Told to drop nothing (-M) it refuses writes: a 503. Reads go on, and a log-out ends the session."""
    with Memcached(memory=2, options=["-M"]) as server:
        store = MemcachedStore.from_url(server.url, prefix=prefix, **PATIENT)
        visitor = WSGIShell(store).visitor()
        visitor(lambda session: session.update(a="x" * 3000))
        commands = Link.from_url(server.url, **PATIENT).using("sync")
        for size in (12_000, 11_000, 10_000, 9000, 8000, 3000, 300, 250, 200, 150, 100, 50):
            with pytest.raises(BackendUnavailable, match="out of memory"):
                fill(commands, f"{prefix}{size}", b"x" * size)
        reply = visitor.visit(lambda session: session.update(a="y" * 9000))
        assert (reply.status, reply.set_cookies) == (503, [])
        assert visitor(lambda session: session["a"]) == "x" * 3000
        cookie = visitor.cookie
        visitor(lambda session: session.logout())
        assert Visitor(visitor.shell, cookie)(dict) == {}
        assert cookie is not None
        key = prefix + store_id(cookie.partition(".")[0])
        assert server.call(f"get {key}") == ["END"]  # there was no room for a mark either


def test_a_list_that_cannot_be_written(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """12. A session that cannot be listed is not created: it is taken back. One that ends does end."""
    with Memcached() as up, Memcached() as down:
        store = MemcachedStore.from_url(url_of([up, down]), prefix=prefix)
        bound = store.using("sync")

        def is_on(key: str, server: Memcached) -> bool:
            return store._memcached._source.pick(key).place == (server.host, server.port)

        users = (b"user-%d" % number for number in range(1000))
        user = next(user for user in users if is_on(bound._lists._key(user), down))
        ids = (store_id(str(number)) for number in range(1000))
        first, second = itertools.islice((id for id in ids if is_on(prefix + id, up)), 2)
        create(bound, first, user=user)
        down.kill()
        with pytest.raises(BackendUnavailable):
            create(bound, second, user=user)
        assert up.keys(prefix) == [f"{prefix}{first}"]
        caplog.clear()
        assert bound.destroy(first, grace=60_000).user == user
        assert load(bound, first).ended
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "stays listed" in caplog.text


def test_a_list_of_more_than_an_item_holds(memcached_server: Memcached, prefix: str) -> None:
    """29. What could not be listed is refused, and the list is as before."""
    store = MemcachedStore.from_url(memcached_server.url, prefix=prefix, max_item_size=2048, **PATIENT)
    bound, ids = store.using("sync"), []

    def fill_up() -> None:
        for number in range(1000):
            create(bound, store_id(str(number)), user=b"ann")
            ids.append(store_id(str(number)))

    with pytest.raises(BackendUnavailable, match=r"list of one user's \d+ sessions"):
        fill_up()
    assert 20 < len(ids) < 60
    assert sorted(bound.listed(b"ann")) == sorted(ids)
    assert load(bound, store_id(str(len(ids)))) is None


def test_changes_of_many_threads_merge(store: MemcachedStore) -> None:
    """7. 64 threads that change one session at once, and 64 that log one user in: nothing is lost."""
    bound = store.using("sync")
    create(bound)
    names = [b"key-%d" % number for number in range(64)]
    saves = [partial(bound.save, "1" * 64, changed={name: name}, removed=(), idle=HOUR) for name in names]
    creates = [partial(create, bound, store_id(str(number)), user=b"ann") for number in range(64)]
    with ThreadPoolExecutor(64) as threads:
        assert all(future.result() for future in [threads.submit(call) for call in [*saves, *creates]])
    assert load(bound).fields == {name: name for name in names}
    assert len(bound.listed(b"ann")) == 64


class Crowd:
    """Commands of asyncio through which nobody reads a list before all others wait to read it, too."""

    def __init__(self, commands: Commands, size: int) -> None:
        self.commands, self.size, self.waiting = commands, size, list[asyncio.Event]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.commands, name)

    async def gets(self, key: str) -> Any:
        found = await self.commands.gets(key)
        event = asyncio.Event()
        self.waiting.append(event)
        self.go_on()
        await event.wait()
        return found

    def go_on(self) -> None:
        if len(self.waiting) >= self.size:
            for event in self.waiting:
                event.set()
            self.waiting.clear()

    def left(self, _: object) -> None:
        self.size -= 1
        self.go_on()

    @classmethod
    async def meet(cls, bound: BoundMemcachedStore, calls: list[Any]) -> list[Any]:
        """What the calls come to."""
        bound._lists._commands = crowd = cls(bound._commands, len(calls))  # type: ignore[assignment]
        tasks = [asyncio.ensure_future(call) for call in calls]
        for task in tasks:
            task.add_done_callback(crowd.left)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        bound._lists._commands = bound._commands
        return results


def test_a_crowd_that_logs_in_as_one_user(store: MemcachedStore) -> None:
    """29. 12. 100 log-ins and 50 log-outs of one user, each overtaken by each other: none is refused."""
    ids = [store_id(str(number)) for number in range(150)]

    async def crowd() -> None:
        bound = store.using("async")
        for id in ids[100:]:
            await create(bound, id, user=b"ann")
        calls = [create(bound, id, user=b"ann") for id in ids[:100]]
        calls += [bound.destroy(id, grace=1000, user=b"ann") for id in ids[100:]]
        results = await Crowd.meet(bound, calls)
        assert [result for result in results if result is None or isinstance(result, Exception)] == []
        assert sorted(await bound.listed(b"ann")) == sorted(ids[:100])

    asyncio.run(crowd())


def test_a_crowd_too_large_for_a_list(
    memcached_server: Memcached, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """29. Of 60 log-ins at once as many succeed as the list has room for, the first to write among them."""
    store = MemcachedStore.from_url(memcached_server.url, prefix=prefix, max_item_size=2048, **PATIENT)
    bound, gets = store.using("sync"), store.using("sync")._commands.gets
    waiting, listed = [store_id(str(number)) for number in range(60)], list[str]()

    def log_in_one() -> None:
        id = waiting.pop()
        with suppress(BackendUnavailable):
            create(bound, id, user=b"ann")
            listed.append(id)

    def read(key: str) -> Any:
        found = gets(key)
        if waiting:
            log_in_one()
        return found

    monkeypatch.setattr(bound._lists._commands, "gets", read)
    last = waiting[0]
    log_in_one()
    assert listed[0] == last
    assert 20 < len(listed) < 60
    assert sorted(bound.listed(b"ann")) == sorted(listed)


@pytest.mark.parametrize("operation", ["save", "swap", "destroy"])
def test_contention_is_bounded(
    bound: BoundMemcachedStore, store: MemcachedStore, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """If somebody else gets in between again and again, it is told in the end, and nothing was changed."""
    create(bound, fields={b"a": b"1"})
    other, turns = MemcachedStore(store._memcached, prefix=store._prefix).using("sync"), []
    gets = bound._commands.gets

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(other._commands, name)

        def gets(self, key: str) -> Any:
            found = gets(key)
            turns.append(key)
            other.save("1" * 64, changed={b"turn": b"%d" % len(turns)}, removed=(), idle=HOUR)
            return found

        def pause(self, seconds: float) -> None:
            assert 0 <= seconds <= 0.02

    monkeypatch.setattr(bound, "_commands", Overtaken())
    calls: dict[str, Callable[[], Any]] = {
        "save": lambda: bound.save("1" * 64, changed={b"b": b"2"}, removed=(), idle=HOUR),
        "swap": lambda: bound.swap("1" * 64, b"a", expected=b"1", value=b"2", idle=HOUR),
        "destroy": lambda: bound.destroy("1" * 64, grace=1000),
    }
    with pytest.raises(BackendUnavailable, match="contended"):
        calls[operation]()
    assert len(turns) == 64
    assert load(other).fields == {b"a": b"1", b"turn": b"64"}


GARBAGE = {
    "text": b"hello",
    "nothing": b"",
    "cut": msgspec.msgpack.encode(["session", 1, 2, 3])[:-2],
    "too short": msgspec.msgpack.encode(["session", 1, 2, 3]),
    "of another kind": msgspec.msgpack.encode(["listing", {}]),
    "wrong types": msgspec.msgpack.encode(["session", "a", 2, 3, 4, None, None, {}]),
    "a pickle": b"cos\nsystem\n(S'false'\ntR.",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_garbage(
    garbage: bytes,
    memcached_server: Memcached,
    prefix: str,
    store: MemcachedStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What another tool wrote or cut is no session: logged, neither changed nor adopted, and no error."""
    visitor = WSGIShell(store).visitor()
    visitor(lambda session: session.update(a=1))
    (key,) = memcached_server.keys(prefix)
    old, commands = visitor.cookie, store._memcached.using("sync")
    commands.cas(key, garbage, commands.gets(key).version, seconds=600)
    before = commands.gets(key)
    caplog.clear()
    for _ in range(3):
        assert visitor(dict) == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert old is not None
    assert old[:43] not in caplog.text
    visitor(lambda session: session.update(b=1))
    assert visitor.cookie != old
    Visitor(visitor.shell, old)(lambda session: session.logout())
    bound = store.using("sync")
    id = key.removeprefix(prefix)
    assert create(bound, id) is None
    assert bound.save(id, changed={b"a": b"1"}, removed=(), idle=HOUR) is False
    assert bound.swap(id, b"a", expected=None, value=b"1", idle=HOUR) is None
    assert commands.gets(key) == before


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_a_list_that_is_garbage(
    garbage: bytes, memcached_server: Memcached, prefix: str, bound: BoundMemcachedStore
) -> None:
    """It begins anew, as it does when memcached has dropped it."""
    create(bound, user=b"ann")
    key = of_user(memcached_server, prefix)
    commands = bound._commands
    garbage = b"x" if garbage == GARBAGE["of another kind"] else garbage
    commands.cas(key, garbage, commands.gets(key).version, seconds=600)
    assert bound.listed(b"ann") == []
    create(bound, "2" * 64, user=b"ann")
    assert bound.listed(b"ann") == ["2" * 64]


class Counter:
    """Commands that a server has executed since the last look, by kind."""

    def __init__(self, server: Memcached) -> None:
        self._server = server
        self._before = self._read()

    def _read(self) -> list[int]:
        stats = self._server.stats()
        return [int(stats["cmd_get"]), int(stats["cmd_set"]), int(stats["delete_hits"])]

    def __call__(self) -> tuple[int, int]:
        """Reads and writes."""
        now = self._read()
        reads, *writes = (after - before for after, before in zip(now, self._before, strict=True))
        self._before = now
        return reads, sum(writes)


def test_the_cost_of_each_operation(prefix: str) -> None:
    """4, 6. As the table in the documentation has it."""
    with Memcached() as server:
        bound = MemcachedStore.from_url(server.url, prefix=prefix, **PATIENT).using("sync")
        id, cost = "1" * 64, Counter(server)
        create(bound, id)
        assert cost() == (0, 1)
        load(bound, id)
        assert cost() == (1, 0)
        load(bound, id, step=0)
        assert cost() == (1, 1)
        bound.save(id, changed={b"a": b"1"}, removed=(), idle=HOUR)
        assert cost() == (1, 1)
        bound.swap(id, b"a", expected=b"1", value=b"2", idle=HOUR)
        assert cost() == (1, 1)
        bound.swap(id, b"a", expected=b"1", value=b"2", idle=HOUR)
        assert cost() == (1, 0)
        bound.destroy(id, grace=1000)
        assert cost() == (1, 1)

        id = "2" * 64
        create(bound, id, user=b"ann")
        assert cost() == (1, 2)
        bound.listed(b"ann")
        assert cost() == (1, 0)
        load(bound, id)
        assert cost() == (1, 0)
        load(bound, id, step=0)
        assert cost() == (2, 1)
        bound.destroy(id, grace=1000)
        assert cost() == (2, 2)


def test_the_cost_of_a_request(shell_type: type[Shell], prefix: str) -> None:
    """2, 4, 6. Forged: none. Read: one. Changed: three. Logged in: six. As the documentation has it."""
    with Memcached() as server:
        shell = shell_type(MemcachedStore.from_url(server.url, prefix=prefix, **PATIENT))
        visitor = shell.visitor()
        visitor(lambda session: session.update(a=1))
        cost = Counter(server)
        assert Visitor(shell, "x" * 43 + ".forged")(dict) == {}
        assert cost() == (0, 0)
        assert visitor(dict) == {"a": 1}
        assert cost() == (1, 0)
        visitor(lambda session: session.update(a=2))
        assert cost() == (2, 1)
        visitor(lambda session: session.login("ann"))
        assert cost() == (3, 3)
