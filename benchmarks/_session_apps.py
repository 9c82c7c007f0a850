"""The contenders of the session benchmarks under ASGI: one bare application behind each one's middleware.

The application answers ``/untouched``, ``/read``, ``/modify`` and ``/fill``, which starts a session of 20
keys and 1 KB. Each peer is given what makes it as fast as it can be here: one redis-py client with enough
connections (its default of 100 raises above 100 concurrent requests), no framework around it, no look-up of
its store. Litestar and fastapi-redis-sdk load every session before the application runs, as ours does;
starsessions is asked to.

``python -m benchmarks._session_apps NAME PORT REDIS_URL`` serves one of them with uvicorn.
"""

import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, cast

import litestar.middleware.session.base
import litestar.middleware.session.server_side
import litestar.stores.redis
import msgspec
import redis.asyncio
import redis_fastapi
import redis_fastapi.sessions
import starlette.middleware.sessions
import starsessions
import starsessions.stores.redis
import uvicorn
from starlette.requests import HTTPConnection

from scalekit.sessions._recent import Recent, Seen
from scalekit.sessions.asgi import SessionMiddleware, load
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.redis_bound import BoundRedisStore

App = Callable[[Any, Any, Any], Awaitable[None]]

DATA = {f"key-{number:02}": f"{number:044}" for number in range(20)}  # 20 values, 1 KB in all
SECRET = "a secret of the benchmark"
WEEK = 7 * 24 * 60 * 60
START = {"type": "http.response.start", "status": 200}
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
BODY = {"type": "http.response.body", "body": b"ok"}


async def loaded(scope: Any) -> Any:
    return scope["session"]


async def starsession(scope: Any) -> Any:
    await starsessions.load_session(HTTPConnection(scope))
    return scope["session"]


def application(load: Callable[[Any], Awaitable[Any]] = loaded) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        if path == "/read":
            assert (await load(scope))["key-07"] == DATA["key-07"]
        elif path == "/modify":
            (await load(scope))["key-07"] = DATA["key-07"]
        elif path == "/fill":
            (await load(scope)).update(DATA)
        await send({**START, "headers": [*HEADERS]})
        await send(BODY)

    return app


def pooled(url: str) -> Any:
    return redis.asyncio.Redis.from_url(url, max_connections=1100)


def bare(url: str) -> App:
    """No session: what all of them stand on."""

    async def nothing(scope: Any) -> Any:
        return DATA

    return application(nothing)


def floor(url: str) -> App:
    """No session either, but one redis-py ``GET`` of 1 KB and its decoding in each request."""
    client = pooled(url)
    decode = msgspec.msgpack.Decoder(dict[str, str]).decode

    async def load(scope: Any) -> Any:
        value = await client.get("floor")
        return decode(value) if value is not None else {}

    async def get_only(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/fill":
            await client.set("floor", msgspec.msgpack.encode(DATA))
        await app(scope, receive, send)

    app = application(load)
    return get_only


def ours(url: str) -> App:
    return SessionMiddleware(application(), store=RedisStore.from_url(url), secret_key=SECRET)


def ours_lazy(url: str) -> App:
    app = application(load)
    return SessionMiddleware(app, store=RedisStore.from_url(url), secret_key=SECRET, lazy=True)


def ours_unseen(url: str) -> App:
    """Each request is the first of its session in this process, which has to be told all of it."""

    class Forgetful(Recent):
        def note(self, id: str, seen: Seen) -> None:
            pass

    app = SessionMiddleware(application(), store=RedisStore.from_url(url), secret_key=SECRET)
    cast(BoundRedisStore, app._core.store)._recent = Forgetful()
    return app


def with_starsessions(url: str) -> App:
    store = starsessions.stores.redis.RedisStore(connection=pooled(url))
    return starsessions.SessionMiddleware(
        application(starsession), store=store, lifetime=WEEK, cookie_https_only=False
    )


def with_litestar(url: str) -> App:
    stores = {"sessions": litestar.stores.redis.RedisStore(pooled(url))}
    config = litestar.middleware.session.server_side.ServerSideSessionConfig(max_age=WEEK)
    backend = litestar.middleware.session.server_side.ServerSideSessionBackend(config)
    middleware: Any = litestar.middleware.session.base.SessionMiddleware(application(), backend)
    host = litestar.Litestar([litestar.asgi("/")(application())], stores=stores)
    found = {"app": host, "litestar_app": host, "route_handler": host.routes[0].route_handler}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await middleware({**scope, **found, "state": {}}, receive, send)

    return app


def with_fastapi_redis_sdk(url: str) -> App:
    store = redis_fastapi.session_backend.RedisSessionStore(pooled(url))

    async def the_store(request: Any) -> Any:
        return store

    return redis_fastapi.sessions.SessionMiddleware(application(), store_factory=the_store)


def with_signed_cookie(url: str) -> App:
    """No store at all: the browser sends the 1 KB with each request."""
    return starlette.middleware.sessions.SessionMiddleware(application(), secret_key=SECRET)


CONTENDERS: dict[str, Callable[[str], App]] = {
    "bare": bare,
    "floor": floor,
    "ours": ours,
    "ours, lazy": ours_lazy,
    "ours, unseen": ours_unseen,
    f"starsessions {version('starsessions')}": with_starsessions,
    f"fastapi-redis-sdk {version('fastapi-redis-sdk')}": with_fastapi_redis_sdk,
    f"Litestar {version('litestar')}": with_litestar,
    f"Starlette {version('starlette')}'s signed cookie": with_signed_cookie,
}
SERVER_SIDE = [name for name in CONTENDERS if name.startswith(("starsessions", "fastapi", "Litestar"))]
SIGNED_COOKIE = list(CONTENDERS)[-1]


def cookies_of(headers: Any) -> str | None:
    """The ``Cookie`` header that a browser sends after a response with these headers."""
    pairs = [value.split(b";")[0] for name, value in headers if name.lower() == b"set-cookie"]
    return b"; ".join([b"theme=dark", *pairs]).decode() if pairs else None


if __name__ == "__main__":
    name, port, url = sys.argv[1:]
    uvicorn.run(CONTENDERS[name](url), port=int(port), log_level="warning", access_log=False)
