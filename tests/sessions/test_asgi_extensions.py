"""Messages of ASGI beyond start and body: early hints, debug, pathsend, trailers (issue 3, lines 24, 27)."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit.errors import BackendUnavailable
from scalekit.sessions import MemoryStore
from scalekit.sessions.asgi import SessionMiddleware
from tests.sessions.shells import SECRET, make_scope

HINT = {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload; as=style"]}
DEBUG = {"type": "http.response.debug", "info": {"template": "page.html"}}
FILE = {"type": "http.response.pathsend", "path": "/page.html"}
DESCRIPTOR = {"type": "http.response.zerocopysend", "file": 7, "more_body": False}
BODY = {"type": "http.response.body", "body": b"page"}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False}


class Flaky(MemoryStore):
    down = False

    def create(self, *args: Any, **options: Any) -> Any:
        if self.down:
            raise BackendUnavailable("down", backend="tests")
        return super().create(*args, **options)


async def drive(app: Any, scope: Any = None) -> list[Any]:
    """What the server is sent."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(make_scope(None) if scope is None else scope, receive, send)
    return sent


def application(store: MemoryStore, before: list[Any], after: list[Any], **start: Any) -> SessionMiddleware:
    """Sends ``before``, sets a value, starts, and sends ``after``."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in before:
            await send(message)
        assert store.count() == 0
        scope["session"]["a"] = 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"1")], **start})
        assert store.count() == (0 if isinstance(store, Flaky) and store.down else 1)
        for message in after:
            await send(message)

    return SessionMiddleware(app, store=store, secret_key=SECRET)


@pytest.mark.parametrize("before", [[HINT], [DEBUG], [HINT, HINT, DEBUG]])
async def test_what_comes_before_the_headers_does_not_end_the_time_to_change(before: list[Any]) -> None:
    """24. Early hints (103) and debug messages go through as they are; the response itself comes later, and
    with it the session, which may be made until then.
    """
    sent = await drive(application(MemoryStore(), before, [BODY]))
    *first, start, body = sent
    assert (first, body) == (before, BODY)
    assert [name for name, _ in start["headers"]] == [b"x", b"set-cookie", b"vary", b"cache-control"]


@pytest.mark.parametrize("after", [[FILE], [DESCRIPTOR], [BODY, TRAILERS]])
async def test_whatever_is_sent_as_the_body_follows_the_save(after: list[Any]) -> None:
    """24. A file that the server sends itself, and trailers, follow a start that was sent after the save."""
    start, *rest = await drive(application(MemoryStore(), [], after, trailers=TRAILERS in after))
    assert (start["type"], start["trailers"], rest) == ("http.response.start", TRAILERS in after, after)


@pytest.mark.parametrize("after", [[FILE], [DESCRIPTOR], [BODY, TRAILERS]])
async def test_nothing_of_a_response_that_could_not_be_saved_leaves(after: list[Any]) -> None:
    """27. A failed write is a 503 of its own: no file, no trailer and no header of the other leaves."""
    store = Flaky()
    store.down = True
    hint, start, body = await drive(application(store, [HINT], after, trailers=True))
    assert (hint, start["status"], body) == (HINT, 503, {**BODY, "body": b"Service Unavailable\n"})
    assert "trailers" not in start
    assert b"x" not in dict(start["headers"])


async def test_an_error_after_a_hint_is_still_answered() -> None:
    """27. An early hint is no response: what the session raises after it is a 503."""

    class Down(MemoryStore):
        def load(self, *args: Any, **options: Any) -> Any:
            raise BackendUnavailable("down", backend="tests")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(HINT)
        scope["session"]["a"]

    from scalekit.sessions.tokens import Tokens

    tokens = Tokens(SECRET)
    scope = make_scope(f"session={tokens.sign(tokens.mint())}".encode())
    hint, start, _ = await drive(SessionMiddleware(app, store=Down(), secret_key=SECRET), scope)
    assert (hint, start["status"]) == (HINT, 503)


async def test_the_early_hints_of_starlette() -> None:
    """`await request.send_early_hints(...)`, and a session that is made afterwards."""

    async def endpoint(request: Request) -> PlainTextResponse:
        await request.send_early_hints("</style.css>; rel=preload; as=style")
        request.session["a"] = 1
        return PlainTextResponse("page")

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(SessionMiddleware, store=MemoryStore(), secret_key=SECRET)
    scope = make_scope(None) | {"extensions": {"http.response.early_hint": {}}}
    types = [message["type"] for message in await drive(app, scope)]
    assert types == ["http.response.early_hint", "http.response.start", "http.response.body"]
