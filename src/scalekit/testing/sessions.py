"""The contract of session stores as a test that anyone can run: ``check_store(MyStore(...))``."""

import asyncio
import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from scalekit._steps import Steps, run, run_async
from scalekit.sessions.store import BoundStore, Created, Inherited, Loaded, Rotation, Store, Swapped
from scalekit.sessions.tokens import store_id
from scalekit.testing._turns import WAIT, Pause, in_turns

T = TypeVar("T")

_LONG = 60_000  # ms; outlives the check
_SHORT = 400  # ms; passes while the check runs, see _durations()
_PATIENCE = 20.0  # seconds that a store may take to let something expire
_AT_ONCE = 16

Together = Callable[[Sequence[Callable[[], Any]]], Any]


def check_store(store: Store) -> None:
    """Check that ``store`` keeps the contract of :mod:`scalekit.sessions.store`, called from threads.

    It takes a second or two, for some of the rules are about time. What it leaves expires within a minute.

    Raises:
        AssertionError: it does not; the message says what.
    """
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        run(
            _check(
                store.using("sync"),
                lambda calls: [future.result() for future in [threads.submit(call) for call in calls]],
                lambda: time.sleep(0.02),
            )
        )


async def check_store_async(store: Store) -> None:
    """Check what :func:`check_store` checks, called from tasks of this event loop."""
    await run_async(
        _check(
            store.using("async"),
            lambda calls: asyncio.gather(*[_answer(call) for call in calls]),
            lambda: asyncio.sleep(0.02),
        )
    )


async def _answer(call: Callable[[], T | Awaitable[T]]) -> T:
    answer: Any = call()
    return cast(T, await answer if inspect.isawaitable(answer) else answer)


def _id() -> str:
    return store_id(secrets.token_urlsafe(32))


def _check(store: BoundStore, together: Together, pause: Pause) -> Steps[None]:
    yield from _check_absence(store)
    yield from _check_round_trip(store)
    yield from _check_deltas(store)
    yield from _check_swaps(store)
    yield from _check_destruction(store)
    yield from _check_versions(store)
    yield from _check_concurrency(store, together)
    about_time = (_check_rotation, _check_lists, _check_idle_time, _check_deadline)
    yield from in_turns([check(store) for check in about_time], pause)


def _create(
    store: BoundStore, id: str, fields: dict[bytes, bytes] | None = None, **options: Any
) -> Steps[Created | None]:
    options = {"user": None, "idle": _LONG, "lifetime": _LONG, **options}
    created: Created | None = yield store.create(id, fields=fields or {}, **options)
    return created


def _created(store: BoundStore, fields: dict[bytes, bytes] | None = None, **options: Any) -> Steps[str]:
    """The id of a new session."""
    id = _id()
    created = yield from _create(store, id, fields, **options)
    assert created is not None, "create: an id that is free was not created"
    return id


def _load(store: BoundStore, id: str) -> Steps[Loaded | None]:
    """The session, not extended."""
    loaded: Loaded | None = yield store.load(id, idle=_LONG, step=2 * _LONG)
    return loaded


def _fields(store: BoundStore, id: str) -> Steps[Mapping[bytes, bytes] | None]:
    loaded = yield from _load(store, id)
    return loaded.fields if loaded is not None and not loaded.ended else None


def _check_absence(store: BoundStore) -> Steps[None]:
    id = _id()
    assert (yield from _load(store, id)) is None, "load: an unknown id must give None"
    saved = yield store.save(id, changed={b"a": b"1"}, removed=(), idle=_LONG)
    assert saved is False, "save: an unknown id must give False"
    assert (yield from _load(store, id)) is None, "save: an unknown id must not come into being"
    assert (yield store.destroy(id, grace=_LONG)) is None, "destroy: an unknown id must give None"
    assert (yield from _load(store, id)) is None, "destroy: an unknown id has not ended, as it never was"


def _check_round_trip(store: BoundStore) -> Steps[None]:
    fields = {b"a": b"", "schlüssel".encode(): bytes(range(256)), b"": b"empty name", b"big": b"x" * 100_000}
    fields |= {b"key-%d" % number: b"%d" % number for number in range(3000)}
    id = _id()
    created = yield from _create(
        store, id, fields, user=b"\0\xffann", device=b"\0\xffphone", idle=_LONG, lifetime=2 * _LONG
    )
    assert created is not None, "create: an id that is free was not created"
    assert created.deadline == created.created + 2 * _LONG, "create: the deadline is lifetime from creation"
    assert 0 < created.left <= 2 * _LONG, "create: left is the time until the deadline"
    loaded = yield from _load(store, id)
    assert loaded is not None, "load: a session that was created must be there"
    assert loaded.fields == fields, "load: fields must come back as they were created, and no others"
    who = (loaded.user, loaded.device, loaded.ended)
    assert who == (b"\0\xffann", b"\0\xffphone", False), "load: the user and the device must come back"
    times = (loaded.created, loaded.deadline)
    assert times == (created.created, created.deadline), "load: the times must be those that create gave"
    assert loaded.seen >= loaded.created, "load: a session was last seen when it was created, or later"
    again = yield from _create(store, id, {b"a": b"other"})
    assert again is None, "create: an id that is taken must give None"
    assert (yield from _fields(store, id)) == fields, "create: a session that is there must not be changed"
    names = list(fields)
    yield store.save(id, changed={}, removed=names, idle=_LONG)
    assert (yield from _fields(store, id)) == {}, (
        "save: thousands of fields can be removed; the session stays"
    )
    assert loaded.fields == fields, "load: what was given stays as it is, whatever is saved afterwards"


def _check_deltas(store: BoundStore) -> Steps[None]:
    id = yield from _created(store, {b"a": b"1", b"b": b"2", b"c": b"3"}, user=b"ann")
    before = yield from _load(store, id)
    saved = yield store.save(id, changed={b"b": b"x", b"d": b"4"}, removed=[b"c", b"never"], idle=_LONG)
    assert saved is True, "save: a session that is there must give True"
    after = yield from _load(store, id)
    assert after is not None
    assert after.fields == {b"a": b"1", b"b": b"x", b"d": b"4"}, "save: exactly the given fields change"
    assert before is not None
    assert before.seen <= after.seen, "save: a session that is saved is seen"
    same = replace(before, fields=after.fields, seen=after.seen, version=after.version)
    assert after == same, "save: neither the user nor the times may change"


def _check_swaps(store: BoundStore) -> Steps[None]:
    def swap(id: str, name: bytes, expected: bytes | None, value: bytes | None) -> Steps[Swapped | None]:
        swapped: Swapped | None = yield store.swap(id, name, expected=expected, value=value, idle=_LONG)
        return swapped

    id = yield from _created(store, {b"a": b"1", b"b": b""}, user=b"ann")
    wrong = yield from swap(id, b"a", b"2", b"3")
    assert wrong == Swapped(False, b"1"), "swap: a field that is not as expected must be told as it is"
    wrong = yield from swap(id, b"b", None, b"3")
    assert wrong == Swapped(False, b""), "swap: an empty field is there"
    wrong = yield from swap(id, b"c", b"", b"3")
    assert wrong == Swapped(False, None), "swap: a field that is not there is not an empty one"
    fields = yield from _fields(store, id)
    assert fields == {b"a": b"1", b"b": b""}, "swap: what is not as expected must change nothing"
    swaps = ((b"a", b"1", b""), (b"b", b"", None), (b"c", None, b"3"), (b"d", None, None))
    for name, expected, value in swaps:
        done = yield from swap(id, name, expected, value)
        assert done is not None, "swap: a session that is there must not give None"
        assert done.done, "swap: a field that is as expected must change"
    fields = yield from _fields(store, id)
    assert fields == {b"a": b"", b"c": b"3"}, "swap: exactly the given field changes"
    assert (yield from swap(_id(), b"a", None, b"1")) is None, "swap: an unknown id must give None"
    yield store.destroy(id, grace=_LONG)
    assert (yield from swap(id, b"a", b"", b"1")) is None, "swap: what was destroyed must stay destroyed"


def _check_destruction(store: BoundStore) -> Steps[None]:
    id = yield from _created(store, {b"a": b"1"}, user=b"ann")
    last = yield store.destroy(id, grace=_LONG)
    assert last is not None, "destroy: must give what the session was"
    assert (last.fields, last.user) == ({b"a": b"1"}, b"ann"), "destroy: must give what the session was"
    loaded = yield from _load(store, id)
    assert loaded is not None, "load: within the grace an id must answer that it ended"
    assert (loaded.ended, loaded.fields, loaded.user) == (True, {}, None), (
        "load: nothing is left of what ended"
    )
    assert loaded.successor is None, "load: what went on nowhere has no successor"
    again = yield store.destroy(id, grace=_LONG, successor=_id())
    assert again == loaded, "destroy: twice is once; the second is told what load tells"
    saved = yield store.save(id, changed={b"b": b"2"}, removed=(), idle=_LONG)
    assert saved is False, "save: what was destroyed must stay destroyed"
    again = yield from _create(store, id, {b"a": b"1"})
    assert again is None, "create: an id that has ended must not live again"
    assert (yield from _load(store, id)) == loaded, "destroy: what the first has said must stay"

    id, successor = (yield from _created(store, {b"a": b"1"})), _id()
    yield store.destroy(id, grace=_LONG, successor=successor)
    ended = Loaded(ended=True, successor=successor)
    assert (yield from _load(store, id)) == ended, "load: a session that went on must name its successor"
    again = yield store.destroy(id, grace=_LONG)
    assert again == ended, "destroy: a session that went on must name its successor"

    id = yield from _created(store, {b"a": b"1"})
    yield store.destroy(id, grace=0)
    assert (yield from _load(store, id)) is None, "destroy: without grace nothing is left at once"


def _check_rotation(store: BoundStore) -> Steps[None]:
    def look(id: str) -> Steps[Rotation]:
        loaded = yield from _load(store, id)
        assert loaded is not None, "load: a session that was rotated is an alias"
        rotation = loaded.rotation
        assert rotation is not None, "load: what was created to inherit must tell of its rotation"
        return rotation

    def later(id: str, rotation: Rotation) -> Steps[Rotation]:
        until = time.monotonic() + _PATIENCE
        while (now := (yield from look(id))).since <= rotation.since:
            assert time.monotonic() < until, "load: the time since a rotation passes"
            yield WAIT
        return now

    old = yield from _created(store, {b"a": b"1"})
    before = yield from _load(store, old)
    assert before is not None
    assert before.rotation is None, "load: what has inherited nothing was not rotated to"
    inherit = Inherited(before.created, before.deadline, before.origin, b"\0:token\xff")
    new = yield from _created(store, {b"a": b"1"}, inherit=inherit)
    yield store.destroy(old, grace=_LONG, successor=new, alias=True)
    mark = Loaded(ended=True, successor=new, alias=True)
    assert (yield from _load(store, old)) == mark, "load: an alias must say that it is one, and of what"
    again = yield store.destroy(old, grace=_LONG, successor=_id())
    assert again == mark, "destroy: twice is once; the second is told what load tells"
    saved = yield store.save(old, changed={b"a": b"2"}, removed=(), idle=_LONG)
    assert saved is False, "save: an alias is no session; the caller saves to the successor"

    yield store.load(old, idle=_LONG, step=0, own=True)
    yield store.load(new, idle=_LONG, step=0)
    yield store.save(new, changed={b"a": b"2"}, removed=(), idle=_LONG)
    yield store.swap(new, b"a", expected=b"2", value=b"3", idle=_LONG)
    unheard = yield from look(new)
    told = (unheard.heard, unheard.token)
    assert told == (False, inherit.token), "load: a session is not heard of until it is loaded as its own"
    yield from later(new, unheard)

    yield store.load(new, idle=_LONG, step=2 * _LONG, own=True)
    heard = yield from look(new)
    told = (heard.heard, heard.token)
    assert told == (True, b""), "load: a session that is loaded as its own is heard of, and forgets its token"
    assert (yield from _fields(store, new)) == {b"a": b"3"}, "load: to be heard of changes nothing else"
    heard = yield from later(new, heard)
    yield store.load(new, idle=_LONG, step=0, own=True)
    again = yield from look(new)
    assert again.since >= heard.since, "load: since when a session is heard of does not change any more"
    heir = yield from _created(store, inherit=inherit)
    yield store.destroy(new, grace=_LONG, successor=heir, alias=True)
    assert (yield from later(new, again)).heard, "load: an alias must tell of its own rotation, too"
    yield store.destroy(heir, grace=_LONG, successor=_id(), alias=True)
    told = (yield from look(heir))[::2]
    assert told == (False, inherit.token), "load: an alias must tell of its own rotation, too"


def _check_versions(store: BoundStore) -> Steps[None]:
    id = yield from _created(store, {b"a": b"1"}, user=b"ann")
    seen = yield from _load(store, id)
    assert seen is not None
    changes = (
        partial(store.save, id, changed={b"b": b"2"}, removed=(), idle=_LONG),
        partial(store.swap, id, b"b", expected=b"2", value=None, idle=_LONG),
    )
    for change in changes:
        yield change()
        now = yield from _load(store, id)
        assert now is not None
        assert now.version != seen.version, "save, swap: a session that has changed has another version"
        kept = yield store.destroy(
            id, grace=_LONG, successor=_id(), alias=True, user=b"ann", version=seen.version
        )
        assert kept == now, "destroy: of one that was saved since, what it is now is told"
        assert (yield from _load(store, id)) == now, "destroy: one that was saved since lives on"
        assert id in (yield store.listed(b"ann")), "destroy: one that lives on is still listed"
        seen = now
    last = yield store.destroy(id, grace=_LONG, user=b"ann", version=seen.version)
    assert last == seen, "destroy: with the version that it has, it ends"
    loaded = yield from _load(store, id)
    assert loaded == Loaded(ended=True), "destroy: with the version that it has, it ends"


def _check_lists(store: BoundStore) -> Steps[None]:
    def listed(user: bytes) -> Steps[list[str]]:
        ids = yield store.listed(user)
        return sorted(ids)

    ann, ben = b"ann " + secrets.token_bytes(8), b"ben\0" + secrets.token_bytes(8)
    assert (yield from listed(ann)) == [], "listed: an unknown user has no sessions"
    first = yield from _created(store, user=ann)
    second = yield from _created(store, user=ann)
    other = yield from _created(store, user=ben)
    short = yield from _created(store, user=ann, lifetime=_SHORT)
    yield from _created(store, user=None)
    assert (yield from listed(ben)) == [other], "listed: exactly the sessions of the user"
    both = sorted([first, second])
    assert set(both) <= set((yield from listed(ann))), "listed: every session that lives"
    until = time.monotonic() + _PATIENCE
    while short in (yield from listed(ann)):
        assert time.monotonic() < until, "listed: a session whose deadline has passed must go by itself"
        yield WAIT
    assert (yield from listed(ann)) == both, "listed: a deadline that passes must take no other with it"
    yield store.destroy(first, grace=_LONG, user=ann)
    assert (yield from listed(ann)) == [second], "destroy: a session that has ended must not be listed"
    yield store.destroy(first, grace=_LONG, user=ann)
    assert (yield from listed(ann)) == [second], "destroy: twice is once"
    yield store.destroy(second, grace=0, user=ann)
    assert (yield from listed(ann)) == [], "destroy: nothing is left of the last one either"


def _check_idle_time(store: BoundStore) -> Steps[None]:
    for short in _durations():
        began = time.monotonic()
        control = yield from _created(store, idle=short)
        kept = yield from _created(store, idle=short)
        saved = yield from _created(store, idle=short)
        swapped = yield from _created(store, idle=short)
        ended = yield from _created(store)
        yield store.destroy(ended, grace=short)
        early = yield from _created(store, idle=short)
        found = [
            (yield store.load(kept, idle=_LONG, step=0)),
            (yield store.load(early, idle=_LONG, step=_LONG)),
            (yield store.swap(swapped, b"a", expected=None, value=b"1", idle=_LONG)),
            (yield store.save(saved, changed={b"a": b"1"}, removed=(), idle=_LONG)),
        ]
        if all(found) and _in_time(began, short):
            break
    yield from _until_gone(store, control, "a session must end when it was idle long enough")
    assert (yield from _load(store, kept)) is not None, "load: a session seen step ago must be extended"
    yield from _until_gone(store, early, "load: a session seen more lately must not be extended")
    assert (yield from _load(store, swapped)) is not None, "swap: must extend the session"
    assert (yield from _load(store, saved)) is not None, "save: must extend the session"
    result = yield store.save(control, changed={b"a": b"1"}, removed=(), idle=_LONG)
    assert result is False, "save: what has expired must not live again"
    yield from _until_gone(store, ended, "an ended session must be forgotten after its grace")


def _check_deadline(store: BoundStore) -> Steps[None]:
    for short in _durations():
        began, id, heir = time.monotonic(), _id(), _id()
        created = yield from _create(store, id, lifetime=short)
        assert created is not None, "create: an id that is free was not created"
        inherit = Inherited(created.created, created.deadline, id)
        inherited = yield from _create(store, heir, inherit=inherit)
        both = (yield from _load(store, id)), (yield from _load(store, heir))
        if all(both) and _in_time(began, short):
            break
    assert inherited is not None, "create: a deadline that has not passed can be inherited"
    assert inherited[:2] == inherit[:2], "create: inherit must be kept"
    origins = [loaded.origin for loaded in both if loaded]
    assert origins == [id, id], "create: a session is its own origin, unless it has inherited another"
    assert inherited.left <= short, "create: an inherited deadline leaves what is left of it"
    until = time.monotonic() + _PATIENCE
    while (yield store.save(heir, changed={b"a": b"1"}, removed=(), idle=_LONG)):
        yield store.load(id, idle=_LONG, step=1)
        assert time.monotonic() < until, "save: no session may live beyond its deadline"
        yield WAIT
    yield from _until_gone(store, id, "load: no session may live beyond its deadline")
    # Not at once: what soon expires a server may drop sooner, as Memcached does whose clock was held up.
    while (yield from _create(store, _id(), inherit=inherit)) is not None:
        assert time.monotonic() < until, "create: a deadline that has passed must give None"
        yield WAIT


def _durations() -> Iterator[int]:
    """What passes while the check runs, in ms; longer if that has passed before there was anything to check,
    as it does when the store is far away or the machine stands still."""
    return (_SHORT * 2**number for number in range(6))


def _in_time(began: float, duration: int) -> bool:
    """Whether what is to last ``duration`` ms, and was made after the moment ``began``, was still there."""
    return (time.monotonic() - began) * 1000 < duration


def _until_gone(store: BoundStore, id: str, rule: str) -> Steps[None]:
    until = time.monotonic() + _PATIENCE
    while (yield from _load(store, id)) is not None:
        assert time.monotonic() < until, rule
        yield WAIT


def _check_concurrency(store: BoundStore, together: Together) -> Steps[None]:
    names = [b"key-%d" % number for number in range(_AT_ONCE)]
    for _ in range(10):
        id = yield from _created(store, {b"other": b"1"})
        saves = [partial(store.save, id, changed={name: name}, removed=(), idle=_LONG) for name in names]
        yield together(saves)
        expected = {b"other": b"1", **{name: name for name in names}}
        assert (yield from _fields(store, id)) == expected, "save: concurrent changes must all survive"

        swaps = [partial(store.swap, id, b"one", expected=None, value=name, idle=_LONG) for name in names]
        done = yield together(swaps)
        winners = [name for name, swap in zip(names, done, strict=True) if swap is not None and swap.done]
        assert len(winners) == 1, "swap: of several that expect the same, exactly one may change it"
        expected[b"one"] = winners[0]
        assert (yield from _fields(store, id)) == expected, "swap: what the one has written must stay"

        destroy = partial(store.destroy, id, grace=_LONG)
        half = _AT_ONCE // 2
        yield together([*saves[:half], destroy, *saves[half + 1 :]])
        assert (yield from _fields(store, id)) is None, (
            "save: must not bring back what is destroyed meanwhile"
        )

        id = yield from _created(store)
        ends = yield together([partial(store.destroy, id, grace=_LONG)] * _AT_ONCE)
        ended = sum(end is not None and not end.ended for end in ends)
        assert ended == 1, "destroy: only one of several has ended the session"

        create = partial(store.create, _id(), fields={}, user=None, idle=_LONG, lifetime=_LONG)
        births = yield together([create] * _AT_ONCE)
        assert sum(birth is not None for birth in births) == 1, "create: an id can be created once"
