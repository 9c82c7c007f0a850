"""WebSockets read and save, and cannot be given an id after they were accepted (issue 3, line 25)."""

import asyncio
import json
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from scalekit.errors import BackendUnavailable, SessionCommitted
from scalekit.sessions import MemoryStore, _following
from scalekit.sessions.asgi import SessionMiddleware, load
from tests.sessions.shells import SECRET, ASGIShell, Visitor, make_scope


async def connect(
    app: Any, store: Any, cookie: str | None = None, *, denial: bool = False, **options: Any
) -> list[Any]:
    """What the application sends on one WebSocket."""
    middleware = SessionMiddleware(app, store=store, secret_key=SECRET, **options)
    sent: list[Any] = []
    received = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}])

    async def receive() -> Any:
        return next(received)

    async def send(message: Any) -> None:
        sent.append(message)

    header = f"session={cookie}".encode() if cookie else None
    scope = make_scope(header, scheme="ws", type="websocket")
    if denial:
        scope["extensions"] = {"websocket.http.response": {}}
    await middleware(scope, receive, send)
    return sent


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def visitor(store: MemoryStore) -> Visitor:
    visitor = ASGIShell(store).visitor()
    visitor(lambda session: session.update(a=1))
    return visitor


async def in_thread(call: Any, *args: Any) -> Any:
    return await asyncio.to_thread(call, *args)


async def test_it_reads_and_saves(store: MemoryStore, visitor: Visitor) -> None:
    """A WebSocket sees the session of its browser, and `save()` shows the others what it changed."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        await send({"type": "websocket.accept"})
        seen.append(dict(session))
        session["b"] = [1]
        await session.save()
        session["b"].append(2)
        await session.save()
        seen.append(await in_thread(visitor, dict))

    sent = await connect(app, store, visitor.cookie)
    assert seen == [{"a": 1}, {"a": 1, "b": [1, 2]}]
    assert [message["type"] for message in sent] == ["websocket.accept"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_cookie_that_was_lost(
    store: MemoryStore, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """13. Who comes with the cookie from before a rotation is sent the lost one with the handshake. A session
    that is loaded and saved after that is the same one, and no error."""
    monkeypatch.setattr(_following, "ALIAS", 0)
    old = visitor.cookie
    await in_thread(visitor, lambda session: session.rotate())

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if when == "before":
            await load(scope)
        await send({"type": "websocket.accept"})
        session = await load(scope)
        session["b"] = session["a"]
        assert await session.save()

    (accept,) = await connect(app, store, old, lazy=True)
    cookies = [value for name, value in accept.get("headers", ()) if name == b"set-cookie"]
    assert [visitor.cookie in cookie.decode() for cookie in cookies] == [True] * (when == "before")
    assert await in_thread(visitor, dict) == {"a": 1, "b": 1}


async def test_what_is_set_before_the_accept_is_saved_with_it(store: MemoryStore) -> None:
    """A new visitor's session is stored before the handshake is answered, which carries the cookie."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"] = 1
        await send({"type": "websocket.accept", "headers": [(b"x", b"1")]})
        assert store.count() == 1

    (accept,) = await connect(app, store)
    assert accept["headers"][0] == (b"x", b"1")
    assert [name for name, _ in accept["headers"]] == [b"x", b"set-cookie"]
    cookie = accept["headers"][1][1].decode().split(";")[0].removeprefix("session=")
    assert await in_thread(Visitor(ASGIShell(store), cookie), dict) == {"a": 1}


async def test_no_id_after_the_accept(store: MemoryStore) -> None:
    """After the handshake no cookie can follow: a first change is an error, and stores nothing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        with pytest.raises(SessionCommitted, match=r"was accepted.*before accept\(\)"):
            scope["session"]["a"] = 1

    await connect(app, store)
    assert store.count() == 0


async def test_no_new_id_after_the_accept(store: MemoryStore, visitor: Visitor) -> None:
    """Neither can an id change then."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        with pytest.raises(SessionCommitted):
            scope["session"].login("ann")

    await connect(app, store, visitor.cookie)
    assert await in_thread(visitor, dict) == {"a": 1}


async def test_unsaved_changes_are_an_error(store: MemoryStore, visitor: Visitor) -> None:
    """A change that nobody saved is reported when the WebSocket ends."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        scope["session"]["a"] = 2

    with pytest.raises(SessionCommitted):
        await connect(app, store, visitor.cookie)


async def test_a_save_after_the_session_ended(store: MemoryStore, visitor: Visitor) -> None:
    """A WebSocket that outlives the log-out cannot bring the session back."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await in_thread(visitor, lambda session: session.logout())
        scope["session"]["a"] = 2
        assert await scope["session"].save() is False

    await connect(app, store, visitor.cookie)
    assert store.count() == 0


async def test_a_denial_response_is_a_response(store: MemoryStore) -> None:
    """A handshake that is refused with a response of its own saves and sends the cookie like HTTP."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["tries"] = 1
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})

    start, _ = await connect(app, store)
    assert {b"set-cookie", b"vary", b"cache-control"} == {name for name, _ in start["headers"]}
    assert store.count() == 1


class Down(MemoryStore):
    """A store that does not answer."""

    def fail(self, *args: Any, **options: Any) -> Any:
        raise BackendUnavailable("down", backend="tests")

    load = save = create = destroy = fail


async def test_a_store_that_is_down_closes_the_socket(visitor: Visitor) -> None:
    """27. Who needs the session is told to try again later: 503, or 1013 where a handshake cannot be answered
    by a response; who does not is served.
    """

    async def needs(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"]

    async def saves(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"] = 1
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "never seen"})

    async def ignores(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})

    assert await connect(needs, Down(), visitor.cookie) == [{"type": "websocket.close", "code": 1013}]
    assert await connect(saves, Down()) == [{"type": "websocket.close", "code": 1013}]
    assert await connect(ignores, Down(), visitor.cookie) == [{"type": "websocket.accept"}]
    for app in (needs, saves):
        start, body = await connect(app, Down(), visitor.cookie, denial=True)
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
        assert (b"retry-after", b"1") in start["headers"]
        assert body == {"type": "websocket.http.response.body", "body": b"Service Unavailable\n"}
    assert await connect(ignores, Down(), visitor.cookie, denial=True) == [{"type": "websocket.accept"}]


async def test_a_handshake_that_fails_after_a_save(store: MemoryStore) -> None:
    """10. The cookie of an explicit `save()` reaches the visitor with the 500, where servers can send one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"] = 1
        await scope["session"].save()
        raise ZeroDivisionError

    middleware = SessionMiddleware(app, store=store, secret_key=SECRET)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = make_scope(None, scheme="ws", type="websocket")
    with pytest.raises(ZeroDivisionError):
        await middleware(scope | {"extensions": {"websocket.http.response": {}}}, send, send)
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 500)
    assert b"set-cookie" in dict(sent[0]["headers"])
    sent.clear()
    with pytest.raises(ZeroDivisionError):
        await middleware(scope | {"extensions": None}, send, send)
    assert sent == []


async def test_a_server_answers_503_to_the_handshake(visitor: Visitor) -> None:
    """27. A real server: a client sees that it may try again, and no 403."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"]

    middleware = SessionMiddleware(app, store=Down(), secret_key=SECRET)
    config = uvicorn.Config(middleware, port=0, ws="websockets-sansio", lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(30):
            while not server.started:
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            assert (await handshake(port, visitor.cookie)).startswith(b"HTTP/1.1 503 ")
    finally:
        server.should_exit = True
        await serving


async def handshake(port: int, cookie: str | None) -> bytes:
    """The first line of what a server answers to a browser that opens a WebSocket."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        + f"Cookie: session={cookie}\r\n\r\n".encode()
    )
    try:
        return await reader.readline()
    finally:
        writer.close()


class Flaky(MemoryStore):
    """A store that is down from time to time."""

    down = False

    def load(self, *args: Any, **options: Any) -> Any:
        return self.answer(MemoryStore.load, *args, **options)

    def save(self, *args: Any, **options: Any) -> Any:
        return self.answer(MemoryStore.save, *args, **options)

    def answer(self, operation: Any, *args: Any, **options: Any) -> Any:
        if self.down:
            raise BackendUnavailable("down", backend="tests")
        return operation(self, *args, **options)


@pytest.fixture
def flaky() -> Flaky:
    return Flaky()


async def test_a_save_that_failed_can_be_tried_again(flaky: Flaky) -> None:
    """While the store is away the session can be read and changed; once it is back, `save()` saves it all."""
    visitor = ASGIShell(flaky).visitor()
    await in_thread(visitor, lambda session: session.update(a=1))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        await send({"type": "websocket.accept"})
        session["a"] = 2
        flaky.down = True
        with pytest.raises(BackendUnavailable):
            await session.save()
        assert session["a"] == 2
        session["b"] = [1]
        flaky.down = False
        assert await session.save()

    await connect(app, flaky, visitor.cookie)
    assert await in_thread(visitor, dict) == {"a": 2, "b": [1]}


async def test_a_load_that_failed_can_be_tried_again(flaky: Flaky) -> None:
    """A WebSocket that was opened while the store was away gets its session by `load` later."""
    visitor = ASGIShell(flaky).visitor()
    await in_thread(visitor, lambda session: session.update(a=1))
    flaky.down = True

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        with pytest.raises(BackendUnavailable):
            scope["session"]["a"]
        with pytest.raises(BackendUnavailable):
            await load(scope)
        flaky.down = False
        assert (await load(scope))["a"] == 1
        scope["session"]["a"] = 2
        await scope["session"].save()

    await connect(app, flaky, visitor.cookie)
    assert await in_thread(visitor, dict) == {"a": 2}


async def test_in_starlette(store: MemoryStore, visitor: Visitor) -> None:
    """`websocket.session` is the session."""

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        websocket.session.setdefault("visits", []).append("chat")
        await websocket.session.save()  # type: ignore[attr-defined]
        await websocket.send_json(dict(websocket.session))
        await websocket.close()

    sent = await connect(Starlette(routes=[WebSocketRoute("/", chat)]), store, visitor.cookie)
    assert json.loads(sent[1]["text"]) == {"a": 1, "visits": ["chat"]}
    assert await in_thread(visitor, dict) == {"a": 1, "visits": ["chat"]}
