"""The contract of session stores as a test that anyone can run: ``check_store(MyStore(...))``."""

import asyncio
import inspect
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, cast

from scalekit._steps import Steps, run, run_async
from scalekit.sessions.store import BoundStore, Created, Loaded, Store
from scalekit.sessions.tokens import store_id

T = TypeVar("T")

_LONG = 60_000  # ms; outlives the check
_SHORT = 400  # ms; passes while the check runs
_PATIENCE = 20.0  # seconds that a store may take to let something expire
_AT_ONCE = 16

Together = Callable[[Sequence[Callable[[], Any]]], Any]
Pause = Callable[[], Any]


def check_store(store: Store) -> None:
    """Check that ``store`` keeps the contract of :mod:`scalekit.sessions.store`, called from threads.

    It takes a few seconds, for some of the rules are about time. What it leaves expires within a minute.

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
    yield from _check_destruction(store)
    yield from _check_idle_time(store, pause)
    yield from _check_deadline(store, pause)
    yield from _check_concurrency(store, together)


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


def _fields(store: BoundStore, id: str) -> Steps[dict[bytes, bytes] | None]:
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
    created = yield from _create(store, id, fields, user=b"\0\xffann", idle=_LONG, lifetime=2 * _LONG)
    assert created is not None, "create: an id that is free was not created"
    assert created.deadline == created.created + 2 * _LONG, "create: the deadline is lifetime from creation"
    assert 0 < created.left <= 2 * _LONG, "create: left is the time until the deadline"
    loaded = yield from _load(store, id)
    assert loaded is not None, "load: a session that was created must be there"
    assert loaded.fields == fields, "load: fields must come back as they were created, and no others"
    assert (loaded.user, loaded.ended) == (b"\0\xffann", False), "load: the user must come back"
    times = (loaded.created, loaded.deadline)
    assert times == (created.created, created.deadline), "load: the times must be those that create gave"
    again = yield from _create(store, id, {b"a": b"other"})
    assert again is None, "create: an id that is taken must give None"
    assert (yield from _fields(store, id)) == fields, "create: a session that is there must not be changed"
    loaded.fields.clear()
    assert (yield from _fields(store, id)) == fields, "load: what is given belongs to the reader"
    names = list(fields)
    yield store.save(id, changed={}, removed=names, idle=_LONG)
    assert (yield from _fields(store, id)) == {}, (
        "save: thousands of fields can be removed; the session stays"
    )


def _check_deltas(store: BoundStore) -> Steps[None]:
    id = yield from _created(store, {b"a": b"1", b"b": b"2", b"c": b"3"}, user=b"ann")
    before = yield from _load(store, id)
    saved = yield store.save(id, changed={b"b": b"x", b"d": b"4"}, removed=[b"c", b"never"], idle=_LONG)
    assert saved is True, "save: a session that is there must give True"
    after = yield from _load(store, id)
    assert after is not None
    assert after.fields == {b"a": b"1", b"b": b"x", b"d": b"4"}, "save: exactly the given fields change"
    assert before is not None
    before.fields = after.fields
    assert after == before, "save: neither the user nor the times may change"


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


def _check_idle_time(store: BoundStore, pause: Pause) -> Steps[None]:
    control = yield from _created(store, idle=_SHORT)
    kept = yield from _created(store, idle=_SHORT)
    saved = yield from _created(store, idle=_SHORT)
    ended = yield from _created(store)
    yield store.destroy(ended, grace=_SHORT)
    yield store.load(kept, idle=_LONG, step=_LONG // 2)
    yield store.save(saved, changed={b"a": b"1"}, removed=(), idle=_LONG)
    yield from _until_gone(store, control, pause, "a session must end when it was idle long enough")
    assert (yield from _load(store, kept)) is not None, (
        "load: a gain of at least step must extend the session"
    )
    assert (yield from _load(store, saved)) is not None, "save: must extend the session"
    result = yield store.save(control, changed={b"a": b"1"}, removed=(), idle=_LONG)
    assert result is False, "save: what has expired must not live again"
    yield from _until_gone(store, ended, pause, "an ended session must be forgotten after its grace")


def _check_deadline(store: BoundStore, pause: Pause) -> Steps[None]:
    id = _id()
    created = yield from _create(store, id, lifetime=_SHORT)
    assert created is not None
    heir = _id()
    inherit = (created.created, created.deadline)
    inherited = yield from _create(store, heir, inherit=inherit)
    assert inherited is not None
    assert inherited[:2] == inherit, "create: inherit must be kept"
    assert inherited.left <= _SHORT, "create: an inherited deadline leaves what is left of it"
    until = time.monotonic() + _PATIENCE
    while (yield store.save(heir, changed={b"a": b"1"}, removed=(), idle=_LONG)):
        yield store.load(id, idle=_LONG, step=1)
        assert time.monotonic() < until, "save: no session may live beyond its deadline"
        yield pause()
    yield from _until_gone(store, id, pause, "load: no session may live beyond its deadline")
    late = yield from _create(store, _id(), inherit=inherit)
    assert late is None, "create: a deadline that has passed must give None"


def _until_gone(store: BoundStore, id: str, pause: Pause, rule: str) -> Steps[None]:
    until = time.monotonic() + _PATIENCE
    while (yield from _load(store, id)) is not None:
        assert time.monotonic() < until, rule
        yield pause()


def _check_concurrency(store: BoundStore, together: Together) -> Steps[None]:
    names = [b"key-%d" % number for number in range(_AT_ONCE)]
    for _ in range(10):
        id = yield from _created(store, {b"other": b"1"})
        saves = [partial(store.save, id, changed={name: name}, removed=(), idle=_LONG) for name in names]
        yield together(saves)
        expected = {b"other": b"1", **{name: name for name in names}}
        assert (yield from _fields(store, id)) == expected, "save: concurrent changes must all survive"

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
