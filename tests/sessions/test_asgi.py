"""What is particular to ASGI: streams, background tasks, lazy loading (issue 3, lines 3, 24, 25)."""

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from scalekit.errors import ConfigurationError, SessionCommitted, SessionError, WrongColour
from scalekit.sessions import MemoryStore
from scalekit.sessions.asgi import AsyncSession, SessionMiddleware, get_session, load
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.tokens import Tokens
from tests.sessions.shells import SECRET, Reply, drive_asgi, make_scope


def middleware(app: Any, store: MemoryStore | None = None, **options: Any) -> SessionMiddleware:
    return SessionMiddleware(app, store=store or MemoryStore(), secret_key=SECRET, **options)


def starlette(endpoint: Any, store: MemoryStore | None = None, **options: Any) -> Starlette:
    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(SessionMiddleware, store=store or MemoryStore(), secret_key=SECRET, **options)
    return app


async def get(app: Any, cookie: str | None = None) -> Reply:
    return await drive_asgi(app, make_scope(f"session={cookie}".encode() if cookie else None))


def cookie_of(reply: Reply) -> str:
    (line,) = reply.set_cookies
    return line.split(";")[0].removeprefix("session=")


async def start_session(store: MemoryStore, **data: Any) -> str:
    """The cookie of a new session."""

    async def endpoint(request: Request) -> PlainTextResponse:
        request.session.update(data)
        return PlainTextResponse()

    return cookie_of(await get(starlette(endpoint, store)))


async def read(store: MemoryStore, cookie: str) -> Any:
    """What the next request of this visitor sees."""

    async def endpoint(request: Request) -> JSONResponse:
        return JSONResponse(dict(request.session))

    return (await get(starlette(endpoint, store), cookie)).json


async def respond(send: Any, *, more: bool = False) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": more})


async def test_other_scopes_pass_untouched() -> None:
    """Lifespan and whatever else comes goes straight through."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    scope, receive, send = {"type": "lifespan"}, object(), object()
    await middleware(app)(scope, receive, send)  # type: ignore[arg-type]
    assert seen == [({"type": "lifespan"}, receive, send)]


async def test_a_streamed_response_is_saved_before_its_first_byte() -> None:
    """24. What was set before a stream started is stored while the stream still runs."""
    store, seen = MemoryStore(), []

    async def endpoint(request: Request) -> StreamingResponse:
        request.session["a"] = 1

        async def stream() -> Any:
            yield "first"
            seen.append(store.count())
            yield "second"

        return StreamingResponse(stream())

    reply = await get(starlette(endpoint, store))
    assert (reply.body, seen) == (b"firstsecond", [1])
    assert await read(store, cookie_of(reply)) == {"a": 1}


@pytest.mark.parametrize("change", [lambda s: s.update(b=2), lambda s: s["a"].append(2), lambda s: s.clear()])
async def test_a_change_after_the_headers_is_an_error(change: Any) -> None:
    """25. A change, nested ones too, that nobody saves after the headers have left is reported, not lost."""
    store = MemoryStore()
    cookie = await start_session(store, a=[1])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, more=True)
        change(scope["session"])
        await send({"type": "http.response.body", "body": b""})

    with pytest.raises(SessionCommitted, match=r"save\(\)"):
        await get(middleware(app, store), cookie)
    assert await read(store, cookie) == {"a": [1]}


async def test_a_change_after_the_headers_can_be_saved() -> None:
    """25. `await session.save()` saves, as often as wanted, and only what changed since."""
    store = MemoryStore()
    cookie = await start_session(store, a=[1])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        session["early"] = 1
        await respond(send, more=True)
        for number in (2, 3):
            session["a"].append(number)
            assert await session.save() is True
            assert await read(store, cookie) == {"a": [1, 2, 3][:number], "early": 1}
        await send({"type": "http.response.body", "body": b""})

    assert (await get(middleware(app, store), cookie)).set_cookies == []


async def test_server_sent_events_and_background_tasks_can_save() -> None:
    """25. A Starlette stream and a background task of a response save what they change."""
    store = MemoryStore()
    cookie = await start_session(store, events=0)

    async def endpoint(request: Request) -> StreamingResponse:
        async def events() -> Any:
            for number in range(3):
                request.session["events"] += 1
                await request.session.save()
                yield f"data: {number}\n\n"

        async def afterwards() -> None:
            request.session["done"] = True
            await request.session.save()

        return StreamingResponse(
            events(), media_type="text/event-stream", background=BackgroundTask(afterwards)
        )

    await get(starlette(endpoint, store), cookie)
    assert await read(store, cookie) == {"events": 3, "done": True}


async def test_a_visitor_without_a_session_cannot_get_one_after_the_headers() -> None:
    """25. No cookie can follow, so the first change is an error where it is made, and stores nothing."""
    store = MemoryStore()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)
        with pytest.raises(SessionCommitted, match="before the response starts"):
            scope["session"]["a"] = 1

    assert (await get(middleware(app, store))).set_cookies == []
    assert store.count() == 0


@pytest.mark.parametrize("turn", [lambda s: s.rotate(), lambda s: s.login("ann")])
async def test_the_id_cannot_change_after_the_headers(turn: Any) -> None:
    """25. A new id needs a cookie: too late is an error at the call, and the session lives on as it was."""
    store = MemoryStore()
    cookie = await start_session(store, a=1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)
        with pytest.raises(SessionCommitted, match="too late"):
            turn(scope["session"])

    await get(middleware(app, store), cookie)
    assert await read(store, cookie) == {"a": 1}


async def test_logging_out_after_the_headers_ends_the_session() -> None:
    """25. Ending needs no cookie; but nothing can be kept for the visitor then."""
    store = MemoryStore()
    cookie = await start_session(store, a=1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)
        scope["session"].logout()
        with pytest.raises(SessionCommitted):
            scope["session"]["farewell"] = 1
        await scope["session"].save()

    await get(middleware(app, store), cookie)
    assert (await read(store, cookie), store.count()) == ({}, 0)


async def test_saving_early_gives_the_cookie_with_the_response() -> None:
    """A save before the headers stores at once; its cookie goes out with the response, a failed one too."""
    store = MemoryStore()

    async def endpoint(request: Request) -> PlainTextResponse:
        request.session["a"] = 1
        await request.session.save()
        assert store.count() == 1
        request.session["b"] = 2
        return PlainTextResponse(
            status_code=503, background=BackgroundTask(lambda: seen.append(dict(request.session)))
        )

    seen: list[Any] = []
    reply = await get(starlette(endpoint, store))
    assert seen == [{"a": 1}]
    assert await read(store, cookie_of(reply)) == {"a": 1}


async def test_a_save_says_when_the_session_was_ended() -> None:
    """`save()` gives `False` when another request has ended the session; nothing is stored."""
    store = MemoryStore()
    cookie = await start_session(store, a=1)

    async def leave(request: Request) -> PlainTextResponse:
        request.session.logout()
        return PlainTextResponse()

    async def endpoint(request: Request) -> PlainTextResponse:
        request.session["a"] = 2
        await get(starlette(leave, store), cookie)
        assert await request.session.save() is False
        assert dict(request.session) == {}
        return PlainTextResponse()

    assert (await get(starlette(endpoint, store), cookie)).set_cookies == []
    assert store.count() == 0


async def test_the_session_with_its_type() -> None:
    """32. `get_session(request)` is `request.session`, also from a WebSocket or a scope; without our
    middleware, or with the one of Starlette, the error says which to add.
    """
    from starlette.middleware.sessions import SessionMiddleware as StarletteSessions

    seen: list[Any] = []

    async def endpoint(request: Request) -> PlainTextResponse:
        seen.append((get_session(request), get_session(request.scope), request.session))
        return PlainTextResponse()

    await get(starlette(endpoint))
    assert isinstance(seen[0][0], AsyncSession)
    assert seen[0][0] is seen[0][1] is seen[0][2]
    app = Starlette(routes=[Route("/", endpoint)])
    with pytest.raises(ConfigurationError, match=r"no session .*add_middleware\(SessionMiddleware"):
        await get(app)
    with pytest.raises(ConfigurationError, match=r"the session of starlette\.middleware"):
        await get(StarletteSessions(app, secret_key=SECRET))
    with pytest.raises(ConfigurationError):
        await load(make_scope(None))


async def test_a_lazy_session_looks_at_no_cookie_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """3. With `lazy=True` a request that asks for nothing has its cookie not even verified."""
    verified: list[str] = []
    verify = Tokens.verify
    monkeypatch.setattr(
        Tokens, "verify", lambda self, cookie: verified.append(cookie) or verify(self, cookie)
    )

    async def endpoint(request: Request) -> JSONResponse:
        if request.url.query == "load":
            for _ in range(2):
                await load(request)
            return JSONResponse(dict(request.session))
        return JSONResponse(None)

    store = MemoryStore()
    cookie = await start_session(store, a=1)
    app = starlette(endpoint, store, lazy=True)
    assert (await get(app, cookie)).json is None
    assert verified == []
    scope = make_scope(f"session={cookie}".encode()) | {"query_string": b"load"}
    assert (await drive_asgi(app, scope)).json == {"a": 1}
    assert verified == [cookie]


async def test_lazy_sessions_must_be_loaded() -> None:
    """3. With `lazy=True` a look before `await load(request)` is an error that says so, for everybody."""
    store = MemoryStore()
    cookie = await start_session(store, a=1)

    async def endpoint(request: Request) -> JSONResponse:
        if request.query_params:
            with pytest.raises(SessionError, match=r"await load\(request\)"):
                request.session["a"]
            return JSONResponse({})
        session = await load(request)
        assert isinstance(session, AsyncSession)
        session["b"] = 2
        return JSONResponse(dict(request.session))

    app = starlette(endpoint, store, lazy=True)
    assert (await get(app, cookie)).json == {"a": 1, "b": 2}
    for header in (f"session={cookie}".encode(), None):
        await drive_asgi(app, make_scope(header) | {"query_string": b"early=1"})
    assert await read(store, cookie) == {"a": 1, "b": 2}


async def test_one_response_sent_twice_is_not_changed() -> None:
    """An application that sends the same header list many times never has our headers in it."""
    headers: list[Any] = [(b"x", b"1")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"].get("a")
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    for _ in range(2):
        reply = await get(middleware(app))
        assert reply.header("vary") == "cookie"
    assert headers == [(b"x", b"1")]


async def test_a_response_without_headers() -> None:
    """`headers` may be left out of a message, or be any iterable."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["a"] = 1
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    assert len((await get(middleware(app))).set_cookies) == 1


async def test_mounted_applications_and_base_http_middleware() -> None:
    """The session reaches applications below a mount, through Starlette's function middleware."""
    store = MemoryStore()

    async def endpoint(request: Request) -> PlainTextResponse:
        request.session["deep"] = True
        return PlainTextResponse()

    async def outer(request: Request, call_next: Any) -> Any:
        request.session["before"] = True
        response = await call_next(request)
        response.headers["x-seen"] = str(sorted(request.session))
        return response

    inner = Starlette(routes=[Route("/page", endpoint)])
    app = Starlette(routes=[Mount("/sub", inner)])
    app.add_middleware(BaseHTTPMiddleware, dispatch=outer)
    app.add_middleware(SessionMiddleware, store=store, secret_key=SECRET)
    reply = await drive_asgi(app, make_scope(None) | {"path": "/sub/page", "raw_path": b"/sub/page"})
    assert reply.header("x-seen") == "['before', 'deep']"
    assert await read(store, cookie_of(reply)) == {"before": True, "deep": True}


async def test_a_client_that_hangs_up_does_not_tear_a_save() -> None:
    """A request that is cancelled while it saves leaves the session whole: before or after, never half."""
    store = MemoryStore()
    cookie = await start_session(store, a=1, b=1)
    saving = asyncio.Event()

    class Slow:
        def using(self, colour: Any) -> Any:
            return self

        def load(self, *args: Any, **options: Any) -> Any:
            return store.load(*args, **options)

        async def save(self, *args: Any, **options: Any) -> Any:
            saving.set()
            await asyncio.Event().wait()

    async def endpoint(request: Request) -> PlainTextResponse:
        request.session.update(a=2, b=2)
        return PlainTextResponse()

    task = asyncio.create_task(get(starlette(endpoint, Slow()), cookie))  # type: ignore[arg-type]
    await saving.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await read(store, cookie) == {"a": 1, "b": 1}


async def test_a_synchronous_client_is_refused_at_start_up() -> None:
    """The middleware wants an asynchronous client, and says so before the first request."""
    import redis

    client = redis.Redis()
    message = "^the ASGI SessionMiddleware wants an asynchronous client.*redis.asyncio.Redis, or use from_url"
    with pytest.raises(WrongColour, match=message):
        middleware(lambda *_: None, RedisStore(client))  # type: ignore[arg-type]
    client.close()


async def test_the_session_middleware_of_starlette_can_be_replaced() -> None:
    """Code written for Starlette's session finds its protocol: accessed, modified and the marks."""
    seen: list[Any] = []

    async def endpoint(request: Request) -> PlainTextResponse:
        session: Any = request.scope["session"]
        seen.append((session.accessed, session.modified))
        assert request.session is session
        seen.append((session.accessed, session.modified))
        session.mark_modified()
        session |= {"a": 1}
        seen.append((session.accessed, session.modified))
        return PlainTextResponse()

    await get(starlette(endpoint))
    assert seen == [(False, False), (True, False), (True, True)]


@pytest.mark.parametrize("turn", ["login", "rotate"])
async def test_an_error_after_an_explicit_save_brings_the_cookie(turn: str) -> None:
    """15. The old id has ended by then: the answer to the error has the new cookie, and who reports errors
    gets it all the same."""
    store = MemoryStore()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        if scope["path"] == "/fail":
            session.login("ann") if turn == "login" else session.rotate()
            assert await session.save()
            raise LookupError("after the save")
        session.setdefault("cart", ["tea"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": repr(session["cart"]).encode()})

    wrapped = SessionMiddleware(app, store=store, secret_key=SECRET)
    first = await drive_asgi(wrapped, make_scope(None))
    cookie = first.set_cookies[0].split(";")[0]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = make_scope(cookie.encode()) | {"path": "/fail"}
    with pytest.raises(LookupError, match="after the save"):
        await wrapped(scope, None, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    (line,) = [value for name, value in sent[0]["headers"] if name == b"set-cookie"]
    assert (await drive_asgi(wrapped, make_scope(line.split(b";")[0]))).set_cookies == []
    assert store.count() == 1
