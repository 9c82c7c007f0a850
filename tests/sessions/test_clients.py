"""`scalekit.testing.login` and `session_of`: a test client with a ready session in one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import flask
import httpx
import pytest
import werkzeug.test
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from scalekit.errors import BackendUnavailable, ConfigurationError, SessionError, SessionValueError
from scalekit.sessions import Cookie, MemoryStore, Store
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.cookie import CookieStore
from scalekit.sessions.flask import ServerSessionInterface
from scalekit.sessions.migration import FlaskCookie
from scalekit.sessions.wsgi import SessionMiddleware as WSGIMiddleware
from scalekit.sessions.wsgi import get_session
from scalekit.testing import login, login_async, session_of
from tests.sessions.legacy import flask_value
from tests.sessions.shells import SECRET

OLD = "what the old application signs with"

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")


async def show(request: Request) -> JSONResponse:
    session: Any = request.session
    if "add" in request.query_params:
        session.setdefault("cart", []).append(request.query_params["add"])
    if "leave" in request.query_params:
        session.logout()
    return JSONResponse({"user": session.user_id, **session})


def starlette(store: Store, **options: Any) -> Starlette:
    app = Starlette(routes=[Route("/", show)])
    app.add_middleware(SessionMiddleware, store=store, secret_key=SECRET, **options)
    return app


def fastapi(store: Store, **options: Any) -> FastAPI:
    app = FastAPI()
    app.add_api_route("/", show, methods=["GET"])
    app.add_middleware(SessionMiddleware, store=store, secret_key=SECRET, **options)
    return app


def wsgi(store: Store, **options: Any) -> WSGIMiddleware:
    @werkzeug.Request.application
    def app(request: werkzeug.Request) -> werkzeug.Response:
        session = get_session(request.environ)
        if "add" in request.args:
            session.setdefault("cart", []).append(request.args["add"])
        if "leave" in request.args:
            session.logout()
        body = json.dumps({"user": session.user_id, **session})
        return werkzeug.Response(body, content_type="application/json")

    return WSGIMiddleware(app, store=store, secret_key=SECRET, **options)


def flask_app(store: Store, **options: Any) -> flask.Flask:
    app = flask.Flask("tests")
    app.session_interface = ServerSessionInterface(store, secret_key=SECRET, **options)

    @app.get("/")
    def show() -> Any:
        session: Any = flask.session
        if "add" in flask.request.args:
            session.setdefault("cart", []).append(flask.request.args["add"])
        if "leave" in flask.request.args:
            session.logout()
        return {"user": session.user_id, **session}

    return app


def test_client(app: Any, **options: Any) -> Any:
    from starlette.testclient import TestClient

    return TestClient(app, **options)


test_client.__test__ = False  # type: ignore[attr-defined]

MAKERS: dict[str, Callable[..., Any]] = {
    "starlette": lambda store, **options: test_client(starlette(store, **options)),
    "fastapi": lambda store, **options: test_client(fastapi(store, **options)),
    "asgi": lambda store, **options: test_client(
        SessionMiddleware(Starlette(routes=[Route("/", show)]), store=store, secret_key=SECRET, **options)
    ),
    "httpx": lambda store, **options: httpx.Client(
        transport=httpx.WSGITransport(wsgi(store, **options)), base_url="http://shop"
    ),
    "werkzeug": lambda store, **options: werkzeug.test.Client(wsgi(store, **options)),
    "flask": lambda store, **options: flask_app(store, **options).test_client(),
}


def ask(client: Any, path: str = "/", **options: Any) -> Any:
    response = client.get(path, **options)
    assert response.status_code == 200, response.status_code
    return response.json() if callable(response.json) else response.json


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A client of each kind, over an application of its framework."""
    return MAKERS[request.param]


def test_a_client_with_a_ready_session_in_one_line(make: Callable[..., Any], store: Store) -> None:
    """`login(client, user, **values)` is a log-in: the application finds the user and the values, and goes on
    with them; the client has one cookie, signed with the application's key.
    """
    client = login(make(store), "ada", cart=["tea"])
    assert ask(client) == {"user": "ada", "cart": ["tea"]}
    assert ask(client, "/?add=cup") == {"user": "ada", "cart": ["tea", "cup"]}
    with session_of(client) as session:
        assert (session.user_id, dict(session)) == ("ada", {"cart": ["tea", "cup"]})


def test_a_session_without_a_user(make: Callable[..., Any], store: Store) -> None:
    """`session_of` makes a session of a stranger, changes it, nested too, and keeps it over a log-in."""
    client = make(store)
    with session_of(client) as session:
        assert session.is_new
        session["cart"] = ["tea"]
    with session_of(client) as session:
        session["cart"].append("cup")
    assert ask(client) == {"user": None, "cart": ["tea", "cup"]}
    assert ask(login(client, 7)) == {"user": 7, "cart": ["tea", "cup"]}


def test_sessions_in_the_cookie_itself(make: Callable[..., Any]) -> None:
    """With a `CookieStore` the client has the whole session, made and read with the application's keys."""
    client = login(make(CookieStore()), "ada", cart=["tea"])
    assert ask(client, "/?add=cup") == {"user": "ada", "cart": ["tea", "cup"]}
    with session_of(client) as session:
        assert (session.user_id, session["cart"]) == ("ada", ["tea", "cup"])
        session.logout()
    assert ask(client) == {"user": None}


def test_the_cookie_of_the_session_before(make: Callable[..., Any], store: Store) -> None:
    """33. With `migrate=` a client that has a cookie of Flask's own session has what that holds; it is saved
    under our cookie, and the old one is gone.
    """
    legacy = FlaskCookie(secret_key=OLD, name="old", user=lambda data: data["_user_id"])
    client, value = make(store, migrate=[legacy]), flask_value({"_user_id": "7"}, secret_key=OLD)
    if hasattr(client, "set_cookie"):
        client.set_cookie("old", value)
    else:
        client.cookies.set("old", value, domain=f"{client.base_url.host}.local")  # as http.cookiejar would
    with session_of(client) as session:
        assert session.user_id == "7"
        session["cart"] = ["tea"]
    assert ask(client) == {"user": "7", "_user_id": "7", "cart": ["tea"]}
    if hasattr(client, "set_cookie"):
        assert client.get_cookie("old") is None
    else:
        assert list(client.cookies) == ["session"]


def test_looking_changes_nothing(make: Callable[..., Any]) -> None:
    """A look makes neither a session nor a cookie."""
    store = MemoryStore()
    client = make(store)
    with session_of(client) as session:
        assert dict(session) == {}
    assert store.count() == 0


def test_logging_out_in_a_test(make: Callable[..., Any], store: Store) -> None:
    """A log-out in the block ends the session, and takes the cookie from the client."""
    client = login(make(store), "ada")
    with session_of(client) as session:
        session.logout()
    assert not client.cookies.jar if hasattr(client, "cookies") else client.get_cookie("session") is None
    assert ask(client) == {"user": None}


def test_the_application_ends_it_meanwhile(make: Callable[..., Any], store: Store) -> None:
    """What the block changes after the application has ended the session is reported, not lost silently."""
    client = login(make(store), "ada")
    with pytest.raises(SessionError, match="ended"), session_of(client) as session:
        session["a"] = ask(client, "/?leave=1")
    assert ask(client) == {"user": None}


def test_a_block_that_raises_saves_nothing(make: Callable[..., Any], store: Store) -> None:
    """Neither what was set before the error, nor a value that cannot be stored."""
    client = login(make(store), "ada")
    with pytest.raises(ZeroDivisionError), session_of(client) as session:
        session["a"] = 1 / 0
    with pytest.raises(SessionValueError, match="'a'"), session_of(client) as session:
        session.update(a=object(), b=1)
    assert ask(client) == {"user": "ada"}


def test_the_cookie_is_the_one_of_https() -> None:
    """19. Under an HTTPS base URL the cookie has its `__Host-` name, for each kind of client."""
    for name, make in MAKERS.items():
        client = make(MemoryStore())
        if name in ("werkzeug", "flask"):
            with session_of(client, base_url="https://shop.test/") as session:
                session["a"] = 1
            assert ask(client, base_url="https://shop.test/").get("a") == 1
            assert client.get_cookie("__Host-session", domain="shop.test") is not None
            assert ask(client) == {"user": None}
        else:
            client.base_url = "https://shop.test"
            login(client, "ada")
            assert list(client.cookies) == ["__Host-session"]
            assert ask(client) == {"user": "ada"}


def test_the_application_replaces_the_cookie(make: Callable[..., Any], store: Store) -> None:
    """The jar has one cookie for both: the one that the application sends replaces ours."""
    client = login(make(store, cookie=Cookie(name="id")), "ada")
    ask(client, "/?leave=1")
    ask(client, "/?add=tea")
    with session_of(client) as session:
        assert (session.user_id, session["cart"]) == (None, ["tea"])


@pytest.mark.parametrize("name", ["starlette", "httpx"])
def test_a_cookie_that_the_client_would_not_send(name: str) -> None:
    """A `Secure` cookie and an HTTP client: an error with the cure, or every later request would puzzle."""
    client = MAKERS[name](MemoryStore(), cookie=Cookie(secure=True))
    with pytest.raises(ConfigurationError, match=r"__Host-session .*https://"):
        login(client, "ada")


async def test_an_asynchronous_client(store: Store) -> None:
    """`await login_async(client, ...)` and `async with session_of(client)`, on the event loop of the test."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(starlette(store)), base_url="https://shop"
    ) as client:
        assert await login_async(client, "ada", cart=["tea"]) is client
        assert (await client.get("/?add=cup")).json() == {"user": "ada", "cart": ["tea", "cup"]}
        async with session_of(client) as session:
            assert session["cart"] == ["tea", "cup"]
            session["late"] = 1
            assert await session.save() is True
        assert (await client.get("/")).json()["late"] == 1
        with pytest.raises(TypeError, match="login_async"):
            login(client, "ada")


async def test_a_synchronous_client_in_an_asynchronous_test(store: Store) -> None:
    """`TestClient` in an `async def` test: its requests run on a loop of their own, and so does `login`."""
    client = login(test_client(starlette(store)), "ada")
    assert ask(client) == {"user": "ada"}


def test_inside_of_the_lifespan(redis_url: str, prefix: str) -> None:
    """In `with TestClient(app)` the session is loaded and saved on the application's event loop: a client of
    Redis that an application has made for that loop works.
    """
    import redis.asyncio

    from scalekit.sessions.redis import RedisStore

    server = redis.asyncio.Redis.from_url(redis_url)
    app = starlette(RedisStore(server, prefix=prefix))
    with test_client(app) as client:
        ask(client, "/?add=tea")
        assert ask(login(client, "ada")) == {"user": "ada", "cart": ["tea"]}
        client.portal.call(server.aclose)


def test_where_the_sessions_are_found() -> None:
    """Behind other middlewares, in a mounted application, and where `app=` says."""
    from starlette.middleware.gzip import GZipMiddleware
    from werkzeug.middleware.dispatcher import DispatcherMiddleware
    from werkzeug.middleware.proxy_fix import ProxyFix

    app = starlette(MemoryStore())
    wrapped = Starlette(routes=[Mount("/shop", GZipMiddleware(app))])
    assert ask(login(test_client(wrapped), "ada"), "/shop/") == {"user": "ada"}

    plain = flask.Flask("tests")
    plain.wsgi_app = WSGIMiddleware(plain.wsgi_app, store=MemoryStore(), secret_key=SECRET)  # type: ignore[method-assign]
    plain.add_url_rule("/", view_func=lambda: {"user": get_session(flask.request.environ).user_id})
    assert ask(login(plain.test_client(), "ada")) == {"user": "ada"}

    proxied = flask_app(MemoryStore())
    proxied.wsgi_app = ProxyFix(proxied.wsgi_app)  # type: ignore[method-assign]
    mounted = DispatcherMiddleware(flask.Flask("other"), {"/shop": proxied})
    assert ask(login(werkzeug.test.Client(mounted), "ada"), "/shop/") == {"user": "ada"}

    async def own(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    client = test_client(own)
    with pytest.raises(LookupError, match=r"session_of\(client, app=\.\.\.\)"):
        login(client, "ada")
    with session_of(client, app=app) as session:
        session.login("ada")
    assert ask(client) == {"user": "ada"}


def test_what_is_no_client_is_told() -> None:
    """A URL, a mock and Django's client, which has its own way, are errors that name the cure."""
    from django.test import Client

    for client, cure in (("http://shop", "TestClient"), (Client(), r"client\.force_login\(user\)")):
        with pytest.raises(TypeError, match=cure):
            session_of(client)
    with pytest.raises(LookupError):
        session_of(test_client(Mock()))
    with pytest.raises(TypeError, match="base_url"):
        session_of(httpx.Client(transport=httpx.WSGITransport(wsgi(MemoryStore()))))


def test_a_store_that_is_down_is_an_error_of_the_test(make: Callable[..., Any]) -> None:
    """An outage is raised in the test's own line, at the load and at the save."""

    class Down(MemoryStore):
        def load(self, *args: Any, **options: Any) -> Any:
            raise BackendUnavailable("down", backend="tests")

        def create(self, *args: Any, **options: Any) -> Any:
            if self.down:
                raise BackendUnavailable("down", backend="tests")
            return super().create(*args, **options)

        down = True

    store = Down()
    client = make(store)
    with pytest.raises(BackendUnavailable):
        login(client, "ada")
    store.down = False
    login(client, "ada")
    with pytest.raises(BackendUnavailable), session_of(client):
        pytest.fail("the session is not known")


def test_no_framework_is_imported() -> None:
    """`scalekit.testing` and its helpers work without Starlette, httpx, Flask and werkzeug installed."""
    code = """
import sys
for name in ("starlette", "httpx", "flask", "werkzeug", "django", "redis"):
    sys.modules[name] = None
from scalekit.testing import login, login_async, session_of
"""
    subprocess.run([sys.executable, "-c", code], check=True)
