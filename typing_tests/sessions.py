"""The public types of scalekit.sessions, as a type checker sees them."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, assert_type
from uuid import UUID

import httpx
from fastapi import Depends, FastAPI
from flask import Flask
from flask.testing import FlaskClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.types import ASGIApp as StarletteApp
from starlette.websockets import WebSocket

from scalekit.sessions import BoundStore, Cookie, Loaded, MemoryStore, Options, Session, SessionData, Store
from scalekit.sessions.asgi import AsyncSession, load
from scalekit.sessions.asgi import SessionMiddleware as ASGISessionMiddleware
from scalekit.sessions.asgi import get_session as get_async_session
from scalekit.sessions.cookie import CookieStore
from scalekit.sessions.encryption import EncryptedStore
from scalekit.sessions.flask import FlaskSession, ServerSessionInterface
from scalekit.sessions.flask import session as flask_session
from scalekit.sessions.memcached import MemcachedStore
from scalekit.sessions.migration import FlaskCookie, StarletteCookie
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.wsgi import SessionMiddleware as WSGISessionMiddleware
from scalekit.sessions.wsgi import SyncSession, get_session
from scalekit.testing import check_store, check_store_async, login, login_async, session_of
from scalekit.types import Environ, Scope, WSGIApplication

SECRET = "the same long secret on every server"  # noqa: S105 (no secret)

memory: Store = MemoryStore()
store: Store = RedisStore.from_url("redis://localhost:6379/0", prefix="s:", timeout=0.5)
RedisStore.from_url("redis://localhost", time_out=0.5)  # type: ignore[call-arg]
MemcachedStore.from_url("memcached://localhost", max_connections="many")  # type: ignore[arg-type]
bound: BoundStore = store.using("sync")
sealed: Store = EncryptedStore(store, keys=["an old key of 16", "a new key of 16 b"], plain="read")
in_cookies: Store = CookieStore(encrypt=True, keys=b"a key of 16 bytes")
EncryptedStore(store, keys="a key of 16 bytes", plain="never")  # type: ignore[arg-type]

app = FastAPI()
app.add_middleware(
    ASGISessionMiddleware,
    store=store,
    secret_key=["the old secret", SECRET],
    cookie=Cookie(name="id", same_site="strict"),
    idle_timeout=timedelta(hours=1),
    lifetime=3600,
    max_size=1000,
    on_error="anonymous",
    lazy=True,
    migrate=[
        StarletteCookie(
            secret_key=SECRET, max_age=timedelta(days=14), user=lambda data: data.get("_user_id")
        ),
        FlaskCookie(secret_key=[b"old", b"new"], salt="shop", until=datetime.now(UTC), keep=True),
    ],
)
StarletteCookie(secret_key=SECRET, max_age=None)  # type: ignore[arg-type]
FlaskCookie(secret_key=SECRET, until="2027-01-31")  # type: ignore[arg-type]
Starlette(middleware=[Middleware(ASGISessionMiddleware, store=memory, secret_key=SECRET)])


def wrap(inner: StarletteApp, wsgi: WSGIApplication) -> None:
    outer: StarletteApp = ASGISessionMiddleware(inner, store=store, secret_key=SECRET)
    other: WSGIApplication = WSGISessionMiddleware(wsgi, store=store, secret_key=SECRET, lifetime=60.0)
    ASGISessionMiddleware(inner, store=store, secret_key=SECRET, lifetme=60)  # type: ignore[call-arg]
    print(outer, other)


async def endpoint(request: Request) -> None:
    session = await load(request)
    assert_type(session, AsyncSession)
    assert_type(await session.save(), bool)
    mapping: MutableMapping[str, Any] = session
    assert_type(session.user_id, str | int | UUID | None)
    assert_type(session.is_new, bool)
    session.login("ann")
    session.login(1.5)  # type: ignore[arg-type]
    session.setdefault("cart", []).append("tea")
    assert_type(session.csrf_token(), str)
    assert_type(session.check_csrf((await request.form()).get("csrf_token")), bool)
    print(mapping)
    await check_store_async(store)


def current(request: Request) -> AsyncSession:
    return get_async_session(request)


async def depends(session: Annotated[AsyncSession, Depends(current)]) -> str | int | UUID | None:
    session.login("ann")
    return session.user_id


async def chat(websocket: WebSocket, scope: Scope) -> None:
    assert_type(get_async_session(websocket), AsyncSession)
    assert_type(get_async_session(scope), AsyncSession)


def handler(environ: Environ) -> None:
    session = get_session(environ)
    assert_type(session, SyncSession)
    assert_type(session.save(), bool)
    base: Session = session
    print(base)


flask_app = Flask("shop")
flask_app.session_interface = ServerSessionInterface(store, secret_key=SECRET, cookie=None, max_size=10)
ServerSessionInterface(store, secret_key=SECRET, lazy=True)  # type: ignore[call-arg]


assert_type(flask_session, FlaskSession)
flask_session.login("ann")


async def clients(client: TestClient, browser: httpx.AsyncClient, flask_client: FlaskClient) -> None:
    assert_type(login(client, "ann", cart=["tea"]), TestClient)
    assert_type(login(flask_client, 7), FlaskClient)
    assert_type(await login_async(browser, "ann"), httpx.AsyncClient)
    with session_of(client) as session:
        assert_type(session, Session)
    async with session_of(browser, base_url="https://shop") as other:
        assert_type(other, AsyncSession)
    login(client)  # type: ignore[call-arg]


def permanent(session: FlaskSession) -> None:
    session.permanent = True
    session.modified = True
    session.rotate()
    session.logout()


assert_type(MemoryStore().load("id", idle=1, step=1), Loaded | None)
check_store(memory)


class Size(Enum):
    SMALL = "s"


@dataclass
class Address:
    street: str


class Shop(SessionData):
    cart: list[str] = field(default_factory=list)
    theme: str = "light"
    address: Address | None = None
    sizes: dict[str, Size] = field(default_factory=dict)
    nickname: str
    limit: ClassVar[int] = 5


class Branch(Shop, prefix="branch."):
    theme = "dark"
    town: Literal["Berlin", "Delhi"] = "Berlin"
    wrong: int = "five"  # type: ignore[assignment]
    worse: list[int] = field(default_factory=str)  # type: ignore[arg-type]


app.add_middleware(ASGISessionMiddleware, store=store, secret_key=SECRET, types=[Address, Size])
named: Options = {"types": {"Home": Address}}
ServerSessionInterface(store, secret_key=SECRET, types=(Address,))
ServerSessionInterface(store, secret_key=SECRET, types=["Address"])  # type: ignore[list-item]


def typed(request: Request, environ: Environ, session: AsyncSession) -> None:
    shop = Shop.of(request.session)
    assert_type(shop, Shop)
    assert_type(Shop.of(session), Shop)
    assert_type(Shop.of(get_session(environ)), Shop)
    assert_type(Branch.of(flask_session), Branch)
    assert_type(shop.cart, list[str])
    assert_type(shop.theme, str)
    assert_type(shop.address, Address | None)
    assert_type(shop.sizes["tea"], Size)
    assert_type(shop.nickname, str)
    assert_type(Branch.of(session).town, Literal["Berlin", "Delhi"])
    shop.cart.append("tea")
    shop.theme = "dark"
    shop.address = Address("Main St")
    del shop.address
    shop.cart.append(5)  # type: ignore[arg-type]
    shop.theme = 5  # type: ignore[assignment]
    Shop.of(session).address.street  # type: ignore[union-attr]  # noqa: B018
    shop.thme = "dark"  # type: ignore[attr-defined]
    shop.limit = 6  # type: ignore[misc]
    Shop.of(5)  # type: ignore[arg-type]
