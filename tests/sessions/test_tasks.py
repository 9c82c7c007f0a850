"""Tasks of one request that use its session at the same time, under ASGI.

The store waits at a gate, so what one task does while the other is waiting for the store is exact.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from scalekit.sessions import MemoryStore
from scalekit.sessions.asgi import AsyncSession, SessionMiddleware, load
from tests.sessions.shells import SECRET, ASGIShell, Reply, Visitor, drive_asgi, make_scope


class Gate(MemoryStore):
    """A store that can be made to wait: `arrived` says that somebody does, `open` lets them go on."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = False
        self.calls: list[str] = []
        self.arrived, self.open = asyncio.Event(), asyncio.Event()

    async def _pass(self, name: str, answer: Callable[[], Any]) -> Any:
        self.calls.append(name)
        if self.waits:
            self.arrived.set()
            await self.open.wait()
        return answer()

    def load(self, *args: Any, **options: Any) -> Any:
        return self._pass("load", lambda: MemoryStore.load(self, *args, **options))

    def save(self, *args: Any, **options: Any) -> Any:
        return self._pass("save", lambda: MemoryStore.save(self, *args, **options))

    def create(self, *args: Any, **options: Any) -> Any:
        return self._pass("create", lambda: MemoryStore.create(self, *args, **options))

    def destroy(self, *args: Any, **options: Any) -> Any:
        return self._pass("destroy", lambda: MemoryStore.destroy(self, *args, **options))


@pytest.fixture
async def store() -> Gate:
    return Gate()


@pytest.fixture
async def visitor(store: Gate) -> Visitor:
    visitor = ASGIShell(store).visitor()
    await asyncio.to_thread(visitor, lambda session: session.update(a=1, b=[1], gone=1))
    return visitor


async def request(
    store: Gate, visitor: Visitor, handler: Callable[[Any], Awaitable[Any]], **options: Any
) -> Reply:
    """One request whose handler is a coroutine function of its scope; the browser applies the cookie."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await handler(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    middleware = SessionMiddleware(app, store=store, secret_key=SECRET, **options)
    header = f"session={visitor.cookie}".encode() if visitor.cookie else None
    reply = await drive_asgi(middleware, make_scope(header))
    for line in reply.set_cookies:
        visitor.cookie = line.split(";")[0].partition("=")[2] or None
    return reply


async def during(store: Gate, call: Awaitable[Any], change: Callable[[], Any]) -> Any:
    """The result of ``call``, with ``change`` made while it waits for the store."""
    store.waits = True
    task = asyncio.ensure_future(call)
    await store.arrived.wait()
    store.waits = False
    change()
    store.open.set()
    return await task


async def kept(visitor: Visitor) -> Any:
    return await asyncio.to_thread(visitor, lambda session: [session.user_id, dict(session)])


async def test_what_changes_during_a_save_is_saved_by_the_next_one(store: Gate, visitor: Visitor) -> None:
    """Set, set anew, appended and removed while a save is under way: nothing is lost."""

    def change(session: AsyncSession) -> None:
        session["a"] = 3
        session["b"].append(2)
        session["new"] = [1]
        del session["gone"]

    async def handler(scope: Any) -> None:
        session = scope["session"]
        session["a"] = 2
        assert await during(store, session.save(), lambda: change(session))
        assert session.modified
        assert await session.save()
        assert not session.modified

    await request(store, visitor, handler)
    assert await kept(visitor) == [None, {"a": 3, "b": [1, 2], "new": [1]}]


@pytest.mark.parametrize("first", [lambda s: s.update(a=2), lambda s: s.rotate()], ids=["save", "rotation"])
async def test_a_log_in_during_a_save_happens(store: Gate, visitor: Visitor, first: Any) -> None:
    """The save that was under way does not take it for done."""

    async def handler(scope: Any) -> None:
        session = scope["session"]
        first(session)
        await during(store, session.save(), lambda: session.login("ann"))

    before = visitor.cookie
    await request(store, visitor, handler)
    assert (await kept(visitor))[0] == "ann"
    assert visitor.cookie != before


async def test_a_log_out_during_a_save_leaves_nothing(store: Gate, visitor: Visitor) -> None:
    """What the save wrote is gone with the rest, and is not carried into what begins afterwards."""

    def leave(session: AsyncSession) -> None:
        session.logout()
        session["message"] = "Bye!"

    async def handler(scope: Any) -> None:
        session = scope["session"]
        session["secret"] = 1
        await during(store, session.save(), lambda: leave(session))
        assert dict(session) == {"message": "Bye!"}

    old = Visitor(visitor.shell, visitor.cookie)
    await request(store, visitor, handler)
    assert await kept(visitor) == [None, {"message": "Bye!"}]
    assert await kept(old) == [None, {}]


async def test_a_log_in_of_another_user_during_a_save(store: Gate, visitor: Visitor) -> None:
    """Nothing of the first user's, that was just being saved, reaches the second."""

    async def first(scope: Any) -> None:
        scope["session"].login("ann")

    async def handler(scope: Any) -> None:
        session = scope["session"]
        session["diary"] = "Ann's"
        await during(store, session.save(), lambda: session.login("bob"))

    await request(store, visitor, first)
    await request(store, visitor, handler)
    assert await kept(visitor) == ["bob", {}]


async def test_two_saves_make_one_session(store: Gate) -> None:
    """Two tasks that save a new session at once: it is created once."""
    visitor = Visitor(ASGIShell(store))

    async def handler(scope: Any) -> None:
        session = scope["session"]
        session["a"] = 1
        second: list[asyncio.Task[bool]] = []
        save = during(store, session.save(), lambda: second.append(asyncio.create_task(session.save())))
        assert await save
        assert await second[0]

    await request(store, visitor, handler)
    assert (store.calls, store.count()) == (["create"], 1)
    assert await kept(visitor) == [None, {"a": 1}]


async def test_two_loads_load_once(store: Gate, visitor: Visitor) -> None:
    """`lazy=True`: the second of two tasks that load takes nothing back of what the first has set."""

    async def handler(scope: Any) -> None:
        async def change() -> None:
            session = await load(scope)
            session["a"] = 2
            session.login("ann")

        store.calls.clear()
        store.waits = True
        first = asyncio.ensure_future(change())
        await store.arrived.wait()
        second = asyncio.ensure_future(load(scope))
        await asyncio.sleep(0)
        store.waits = False
        store.open.set()
        await asyncio.gather(first, second)
        assert store.calls == ["load"]

    await request(store, visitor, handler, lazy=True)
    assert await kept(visitor) == ["ann", {"a": 2, "b": [1], "gone": 1}]
