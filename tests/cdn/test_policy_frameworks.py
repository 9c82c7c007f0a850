"""Cache policies on endpoints of FastAPI, Starlette and Flask, and beside each way to keep a session."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from flask import Flask, abort, session
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.sessions import SessionMiddleware as StarletteSessions
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starsessions import InMemoryStore, SessionAutoloadMiddleware
from starsessions import SessionMiddleware as Starsessions

from scalekit.cdn import CachePolicy, _exchange, add_tags
from scalekit.cdn.asgi import PolicyMiddleware
from scalekit.cdn.wsgi import PolicyMiddleware as WSGIPolicyMiddleware
from scalekit.errors import ConfigurationError
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.flask import ServerSessionInterface
from scalekit.sessions.memory import MemoryStore

ROOT = Path(__file__).parents[2]
SECRET = "a secret of the tests, long enough"
PRODUCT = CachePolicy(max_age=60, tags=["products", "product:{sku}"])
PAGE = CachePolicy(max_age=60)
PUBLIC = "public, max-age=60"


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop")


async def control(app: Any, path: str, **request: Any) -> str | None:
    async with client(app) as browser:
        return (await browser.get(path, **request)).headers.get("cache-control")


def shop() -> FastAPI:
    app = FastAPI()

    def guard(key: str = "right") -> None:
        if key != "right":
            raise HTTPException(403)

    @app.get("/products/{sku}", dependencies=[Depends(guard)])
    @PRODUCT
    async def product(sku: int, detail: str = "short") -> dict[str, Any]:
        if sku == 0:
            raise HTTPException(404)
        add_tags(f"detail:{detail}")
        return {"sku": sku}

    @app.get("/threaded/{sku}")
    @PRODUCT
    def threaded(sku: int) -> int:
        return sku

    @app.get("/streamed/{sku}")
    @PRODUCT
    async def streamed(sku: int) -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            yield str(sku)

        return StreamingResponse(lines())

    @app.get("/other")
    async def other() -> int:
        return 1

    return app


@pytest.mark.parametrize("path", ["/products/7", "/threaded/7", "/streamed/7"])
async def test_an_endpoint_of_fastapi(path: str) -> None:
    """Tags are filled in from its parameters, as FastAPI has read them; in a thread and in a stream, too."""
    app = shop()
    app.add_middleware(PolicyMiddleware)
    async with client(app) as browser:
        reply = await browser.get(path)
    assert reply.headers["cache-control"] == PUBLIC
    assert reply.headers["surrogate-key"].split()[:2] == ["products", "product:7"]
    assert await control(app, "/other") is None


async def test_what_the_endpoint_adds() -> None:
    """Tags that only it knows. A visitor who asks for something odd breaks nothing."""
    app = shop()
    app.add_middleware(PolicyMiddleware)
    async with client(app) as browser:
        reply = await browser.get("/products/7?detail=long")
        odd = await browser.get("/products/7?detail=très, 100%25 long")
    assert reply.headers["cache-tag"] == "products,product:7,detail:long"
    assert odd.headers["cache-tag"] == "products,product:7,detail:tr%C3%A8s%2C%20100%25%20long"


@pytest.mark.parametrize("path", ["/products/0", "/products/7?key=wrong", "/products/none", "/products/7/x"])
async def test_what_raises_is_not_opted_in(path: str) -> None:
    """Neither an error of the endpoint nor a guard's in front of it."""
    app = shop()
    app.add_middleware(PolicyMiddleware)
    assert await control(app, path) is None


async def test_through_middleware_that_runs_the_application_in_a_task() -> None:
    """As Starlette's function middleware does."""
    app = shop()

    async def through(request: Request, call_next: Callable[..., Any]) -> Response:
        response: Response = await call_next(request)
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=through)
    app.add_middleware(PolicyMiddleware)
    assert await control(app, "/threaded/7") == await control(app, "/products/7") == PUBLIC


async def test_both_hold_where_there_are_two() -> None:
    """That of the endpoint and that of its path: the shorter lifetime, the tags of both."""
    app = shop()
    app.add_middleware(PolicyMiddleware, policies={"/products/": CachePolicy(max_age=5, tags=["shop"])})
    async with client(app) as browser:
        reply = await browser.get("/products/7")
    assert reply.headers["cache-control"] == "public, max-age=5"
    assert reply.headers["cache-tag"] == "shop,products,product:7,detail:short"


async def test_starlette_endpoints_and_mounts() -> None:
    """A function, a method of a class, and what is mounted below a path, which is as in the address bar."""

    @PAGE
    async def page(request: Request) -> Response:
        return PlainTextResponse("page")

    class View(HTTPEndpoint):
        @PAGE
        async def get(self, request: Request) -> Response:
            return PlainTextResponse("view")

    async def plain(request: Request) -> Response:
        return PlainTextResponse("plain")

    app = Starlette(
        routes=[Route("/page", page), Route("/view", View), Mount("/in", routes=[Route("/plain", plain)])]
    )
    app.add_middleware(PolicyMiddleware, policies={"/in/plain": PAGE})
    for path in ("/page", "/view", "/in/plain"):
        assert await control(app, path) == PUBLIC, path


async def test_one_request_is_not_anothers() -> None:
    """Nor is a request that an endpoint makes to the same application."""
    app = Starlette()
    app.add_middleware(PolicyMiddleware)
    around = PolicyMiddleware(app)

    @PAGE
    async def page(request: Request) -> Response:
        return PlainTextResponse("page")

    async def plain(request: Request) -> Response:
        async with client(around) as browser:
            return PlainTextResponse((await browser.get("/page")).headers["cache-control"])

    app.router.routes += [Route("/page", page), Route("/plain", plain)]
    async with client(app) as browser:
        reply = await browser.get("/plain")
    assert (reply.text, reply.headers.get("cache-control")) == (PUBLIC, None)


def flask_site(**options: Any) -> Flask:
    app = Flask(__name__)
    app.secret_key = SECRET

    @app.get("/products/<int:sku>")
    @PRODUCT
    def product(sku: int) -> str:
        if sku == 0:
            abort(404)
        return str(sku)

    @app.get("/read")
    @PAGE
    def read() -> str:
        return str(session.get("user"))

    @app.get("/write")
    @PAGE
    def write() -> str:
        session["user"] = 1
        return ""

    app.wsgi_app = WSGIPolicyMiddleware(app.wsgi_app, **options)  # type: ignore[method-assign]
    return app


def test_an_endpoint_of_flask() -> None:
    """As in FastAPI."""
    browser = flask_site().test_client()
    reply = browser.get("/products/7")
    assert reply.headers["Cache-Control"] == PUBLIC
    assert reply.headers["Surrogate-Key"] == "products product:7"
    assert "Cache-Control" not in browser.get("/products/0").headers
    assert browser.head("/products/7").headers["Cache-Control"] == PUBLIC


@pytest.mark.parametrize("store", ["cookie", "server"])
def test_flask_sessions(store: str) -> None:
    """Read or written: private. Flask's own, and ours."""
    app = flask_site()
    if store == "server":
        app.session_interface = ServerSessionInterface(MemoryStore(), secret_key=SECRET)
    browser = app.test_client()
    for path in ("/read", "/write", "/read"):
        assert browser.get(path).headers["Cache-Control"] == "private", path
    assert app.test_client().get("/products/7").headers["Cache-Control"] == PUBLIC


def session_site() -> Starlette:
    @CachePolicy(max_age=60, ignore_cookies=["*"])
    async def page(request: Request) -> Response:
        return PlainTextResponse("the same for all")

    @CachePolicy(max_age=60, ignore_cookies=["*"])
    async def read(request: Request) -> Response:
        return PlainTextResponse(str(request.session.get("user")))

    @CachePolicy(max_age=60, ignore_cookies=["*"])
    async def write(request: Request) -> Response:
        request.session["user"] = "Emma"
        return PlainTextResponse("", headers={"cache-control": "public, max-age=600"})

    @CachePolicy(max_age=60, ignore_cookies=["*"])
    async def direct(request: Request) -> Response:
        return PlainTextResponse(str(request.scope["session"].get("user")))

    return Starlette(routes=[Route(f"/{view.__name__}", view) for view in (page, read, write, direct)])


def ours(app: Starlette) -> None:
    app.add_middleware(SessionMiddleware, store=MemoryStore(), secret_key=SECRET)


def starlettes(app: Starlette) -> None:
    app.add_middleware(StarletteSessions, secret_key=SECRET)


def starsessions(app: Starlette) -> None:
    app.add_middleware(SessionAutoloadMiddleware)
    app.add_middleware(Starsessions, store=InMemoryStore(), lifetime=600, cookie_https_only=False)


@pytest.mark.parametrize("outermost", ["policy", "sessions"])
@pytest.mark.parametrize("sessions", [ours, starlettes, starsessions])
async def test_sessions(sessions: Callable[[Starlette], None], outermost: str) -> None:
    """Written or read: private, whichever middleware stands inside. Not looked at: for everybody.

    starsessions does not say whether it was: there, whoever has one gets pages of their own.
    """
    app = session_site()
    for add in (sessions, lambda app: app.add_middleware(PolicyMiddleware))[
        :: 1 if outermost == "policy" else -1
    ]:
        add(app)
    async with client(app) as browser:
        assert (await browser.get("/page")).headers["cache-control"] == PUBLIC
        written = await browser.get("/write")
        assert "private" in written.headers["cache-control"]
        assert "public" not in written.headers["cache-control"]
        read = await browser.get("/read")
        assert (read.text, read.headers["cache-control"]) == ("Emma", "private")
        again = (await browser.get("/page")).headers["cache-control"]
    assert again == ("private" if sessions is starsessions else PUBLIC)


@pytest.mark.parametrize(("sessions", "seen"), [(ours, True), (starsessions, True), (starlettes, False)])
async def test_a_session_that_is_read_past_the_request(
    sessions: Callable[[Starlette], None], seen: bool
) -> None:
    """``scope["session"]`` instead of ``request.session``: Starlette's own sessions do not notice that."""
    app = session_site()
    sessions(app)
    app.add_middleware(PolicyMiddleware)
    async with client(app) as browser:
        await browser.get("/write")
        reply = await browser.get("/direct")
    assert (reply.text, reply.headers["cache-control"]) == ("Emma", "private" if seen else PUBLIC)


async def test_above_the_route_a_policy_does_nothing() -> None:
    """The framework has taken the bare function by then: nobody may keep what it answers."""
    app = FastAPI()

    @PAGE
    @app.get("/page")
    async def page() -> str:
        return "page"

    app.add_middleware(PolicyMiddleware)
    assert await control(app, "/page") is None


@pytest.mark.parametrize("shell", ["asgi", "wsgi"])
async def test_where_the_application_is_mounted(shell: str) -> None:
    """Paths of policies do not have it, as those of the shield; a redirect is relative to it."""
    policies = {"/page": CachePolicy(max_age=60, query=["a"], query_redirect=True)}
    if shell == "asgi":

        async def page(request: Request) -> Response:
            return PlainTextResponse("page")

        inner = Starlette(routes=[Route("/page", page)])
        app = Starlette(routes=[Mount("/shop", app=PolicyMiddleware(inner, policies=policies))])
        async with client(app) as browser:
            replies = [await browser.get(path) for path in ("/shop/page", "/shop/page?b=1&a=2")]
        found = [(reply.status_code, dict(reply.headers)) for reply in replies]
    else:
        site = Flask(__name__)
        site.get("/page")(lambda: "page")
        site.wsgi_app = WSGIPolicyMiddleware(site.wsgi_app, policies=policies)  # type: ignore[method-assign]
        answers = [
            site.test_client().get("/page", query_string=query, environ_overrides={"SCRIPT_NAME": "/shop"})
            for query in ("", "b=1&a=2")
        ]
        found = [
            (reply.status_code, {name.lower(): value for name, value in reply.headers}) for reply in answers
        ]
    (status, headers), (moved, target) = found
    assert (status, headers["cache-control"]) == (200, PUBLIC)
    assert (moved, target["location"]) == (308, "./page?a=2")


def test_what_cannot_be_decorated() -> None:
    """It is told when the module is read, with what to do."""
    with pytest.raises(ConfigurationError, match="has no parameter sku; it has name"):
        PRODUCT(lambda name: name)
    with pytest.raises(ConfigurationError, match="not a type"):
        PAGE(HTTPEndpoint)
    with pytest.raises(ConfigurationError, match="query= comes too late"):
        CachePolicy(max_age=60, query=["page"])(lambda: None)
    with pytest.raises(ConfigurationError, match="tags must be texts"):
        add_tags(7)  # type: ignore[arg-type]


async def test_without_the_middleware(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is kept, and a warning says once what is missing. Outside of a request, tags go nowhere."""
    _exchange._told.clear()
    app = shop()
    with caplog.at_level(logging.WARNING, "scalekit.cdn"):
        assert await control(app, "/products/7") is await control(app, "/products/7") is None
    assert len(caplog.messages) == 1
    assert "without PolicyMiddleware" in caplog.messages[0]


def test_django() -> None:
    """A view, and its sessions, read or written: private. In a process of its own, whose settings it has."""
    command = [sys.executable, "-m", "tests.cdn.django_site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines() == [
        f"/page/about | {PUBLIC} | page:about",
        "/read | private | None",
        "/write | private | None",
    ], done.stderr
