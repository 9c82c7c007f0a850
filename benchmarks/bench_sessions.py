"""Sessions: read and modify, one at a time and 32 at once, against starsessions on one Valkey.

Every contender is the same bare ASGI application behind its middleware, without a server around it, so that
what is measured is the session. The session has 20 keys and 1 KB. The floor is the application with one
redis-py ``GET`` of 1 KB and its decoding in each request, and no session at all; for the request that leaves
its session alone, the application itself.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from typing import Any

import msgspec
import redis.asyncio
import starsessions
from starlette.requests import HTTPConnection
from starsessions.stores.redis import RedisStore as TheirStore

from benchmarks.harness import Case
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.redis import RedisStore
from tests.servers import RedisServer

PEER = f"starsessions {version('starsessions')}"
DATA = {f"key-{number:02}": f"{number:044}" for number in range(20)}  # 20 values, 1 KB in all

App = Callable[[Any, Any, Any], Awaitable[None]]
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
BODY = {"type": "http.response.body", "body": b"ok"}


async def respond(send: Any) -> None:
    await send({**START})
    await send(BODY)


async def receive() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def discard(message: Any) -> None:
    pass


def scope(cookie: str | None) -> dict[str, Any]:
    headers = [(b"host", b"shop"), (b"accept", b"*/*"), (b"user-agent", b"bench")]
    if cookie is not None:
        headers.append((b"cookie", f"theme=dark; session={cookie}".encode()))
    return {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "root_path": "",
        "query_string": b"",
        "headers": headers,
    }


async def untouched(scope: Any, receive: Any, send: Any) -> None:
    await respond(send)


async def ours_reads(scope: Any, receive: Any, send: Any) -> None:
    assert scope["session"]["key-07"] == DATA["key-07"]
    await respond(send)


async def ours_modifies(scope: Any, receive: Any, send: Any) -> None:
    scope["session"]["key-07"] = DATA["key-07"]
    await respond(send)


async def theirs_reads(scope: Any, receive: Any, send: Any) -> None:
    await starsessions.load_session(HTTPConnection(scope))
    assert scope["session"]["key-07"] == DATA["key-07"]
    await respond(send)


async def theirs_modifies(scope: Any, receive: Any, send: Any) -> None:
    await starsessions.load_session(HTTPConnection(scope))
    scope["session"]["key-07"] = DATA["key-07"]
    await respond(send)


async def first_cookie(middleware: Callable[[App], App], *, load: bool = False) -> str:
    """Start a session with DATA; the cookie it gets."""
    cookies: list[str] = []

    async def fill(scope: Any, receive: Any, send: Any) -> None:
        if load:
            await starsessions.load_session(HTTPConnection(scope))
        scope["session"].update(DATA)
        await respond(send)

    async def note(message: Any) -> None:
        for name, value in message.get("headers", ()):
            if name == b"set-cookie":
                cookies.append(value.decode().split(";")[0].partition("=")[2])

    await middleware(fill)(scope(None), receive, note)
    return cookies[0]


def requests(app: App, cookie: str | None, *, at_once: int, units: int) -> Callable[[], Awaitable[None]]:
    """``units`` requests, ``at_once`` of them at a time."""
    request = scope(cookie)

    async def one() -> None:
        await app({**request}, receive, discard)

    async def run() -> None:
        for _ in range(units // at_once):
            if at_once == 1:
                await one()
            else:
                await asyncio.gather(*[one() for _ in range(at_once)])

    return run


async def cases() -> AsyncIterator[Case]:
    with RedisServer() as server:
        client = redis.asyncio.Redis.from_url(server.url)
        await client.set("floor", msgspec.msgpack.encode(DATA))
        decode = msgspec.msgpack.Decoder(dict[str, str]).decode
        store = RedisStore.from_url(server.url)

        def ours(app: App) -> App:
            return SessionMiddleware(app, store=store, secret_key="a secret of the benchmark")

        def theirs(app: App) -> App:
            return starsessions.SessionMiddleware(
                app, store=TheirStore(connection=client), lifetime=7 * 24 * 3600, cookie_https_only=False
            )

        async def floor(scope: Any, receive: Any, send: Any) -> None:
            assert decode(await client.get("floor"))["key-07"] == DATA["key-07"]
            await respond(send)

        def case(name: str, mine: App, peer: App, base: App, at_once: int, *, known: bool = True) -> Case:
            units = 128

            def contender(app: App, cookie: str) -> Any:
                return requests(app, cookie if known else None, at_once=at_once, units=units)

            return Case(
                piece="sessions",
                name=name,
                ours=contender(ours(mine), our_cookie),
                peer=PEER,
                theirs=contender(theirs(peer), their_cookie),
                floor=contender(base, our_cookie),
                units=units,
            )

        our_cookie, their_cookie = await first_cookie(ours), await first_cookie(theirs, load=True)
        yield case("no cookie, untouched, 1 at a time", untouched, untouched, untouched, 1, known=False)
        for at_once in (1, 32):
            how = "1 at a time" if at_once == 1 else f"{at_once} concurrent"
            yield case(f"read, {how}", ours_reads, theirs_reads, floor, at_once)
            yield case(f"modify one key, {how}", ours_modifies, theirs_modifies, floor, at_once)
        await client.aclose()
