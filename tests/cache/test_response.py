"""Pages: what is kept, for whom, and how it is answered."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import blake2b
from typing import Annotated, Any

import flask
import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Query, Request, Response, Security
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from fastapi.security import APIKeyHeader
from flask.views import MethodView
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit.cache import Cache
from scalekit.cache import asgi as cache_asgi
from scalekit.cache import wsgi as cache_wsgi
from scalekit.cache.backend import Backend
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.response import Rules, answer, keep, objection, refusal
from scalekit.errors import ConfigurationError
from scalekit.sessions import asgi as session_asgi
from scalekit.sessions import wsgi as session_wsgi
from scalekit.sessions.memory import MemoryStore

RULES = Rules(vary=(b"accept-language",), ignore_cookies=("_ga*", "theme"))


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop")


def wsgi(app: Any) -> httpx.Client:
    return httpx.Client(transport=httpx.WSGITransport(app), base_url="http://shop")


@pytest.fixture
def cache() -> Cache:
    return Cache(MemoryBackend())


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", [], True),
        ("HEAD", [], True),
        ("POST", [], False),
        ("GET", [(b"authorization", b"Bearer x")], False),
        ("GET", [(b"range", b"bytes=0-1")], False),
        ("GET", [(b"cookie", b"session=1")], False),
        ("GET", [(b"cookie", b"_ga=1; _ga_X=2; theme=dark")], True),
        ("GET", [(b"cookie", b"theme=dark"), (b"cookie", b"themes=1")], False),
        ("GET", [(b"content-length", b"0")], True),
        ("GET", [(b"content-length", b"4")], False),
        ("GET", [(b"transfer-encoding", b"chunked")], False),
    ],
)
def test_requests_that_may_be_ones_own_take_no_part(method: str, headers: Any, expected: bool) -> None:
    """30. Neither Authorization nor a cookie, unless it is ignored, is answered with a page for everybody;
    nor a body, which no key has."""
    assert (objection(method, headers, RULES) is None) is expected


@pytest.mark.parametrize(
    ("status", "headers", "kept"),
    [
        (200, [], True),
        (404, [(b"cache-control", b"public, max-age=60")], True),
        (301, [(b"vary", b"Accept-Language")], True),
        (500, [], False),
        (302, [], False),
        (206, [], False),
        (200, [(b"Set-Cookie", b"a=1")], False),
        (200, [(b"cache-control", b"max-age=60, Private")], False),
        (200, [(b"cache-control", b'no-cache="x"')], False),
        (200, [(b"cdn-cache-control", b"no-store")], False),
        (200, [(b"vary", b"*")], False),
        (200, [(b"vary", b"Accept-Language, Cookie")], False),
        (200, [(b"vary", b"Origin")], False),
    ],
)
def test_responses_that_may_be_ones_own_are_not_kept(status: int, headers: Any, kept: bool) -> None:
    """30. Set-Cookie, private, no-store, Vary by what is not in the key, and errors are refused."""
    assert (refusal(status, headers, RULES) is None) is kept


def test_a_page_says_what_it_depends_on_and_how_old_it_is() -> None:
    """30. Vary and Cache-Control are added, Age is told, what the application said stays."""
    kept = keep(
        200, [(b"Vary", b"Accept-Language"), (b"date", b"x"), (b"x-a", b"1")], b"body", RULES, now=100.0
    )
    status, headers, body = answer(kept, [], now=107.9)
    assert (status, body) == (200, b"body")
    assert dict(headers) == {
        b"vary": b"Accept-Language",
        b"x-a": b"1",
        b"cache-control": b"no-cache",
        b"etag": b'"%s"' % blake2b(b"body", digest_size=16).hexdigest().encode(),
        b"age": b"7",
        b"content-length": b"4",
    }
    told = keep(200, [(b"cache-control", b"max-age=9"), (b"etag", b'W/"own"')], b"", RULES, now=0)
    assert told.headers == (
        (b"cache-control", b"max-age=9"),
        (b"etag", b'W/"own"'),
        (b"vary", b"accept-language"),
    )
    assert (
        dict(keep(200, [], b"", Rules(max_age=60), now=0).headers)[b"cache-control"] == b"public, max-age=60"
    )


def test_a_page_from_another_cache_is_as_old_as_it_says() -> None:
    """30. Age goes on from there, or a CDN would keep the page for longer than its max-age."""
    for said, expected in ((b"250", b"257"), (b"x", b"7"), (b"-1", b"7"), (b"9" * 5000, b"7")):
        kept = keep(200, [(b"Age", said)], b"", Rules(), now=100.0)
        assert [value for name, value in answer(kept, [], now=107.0)[1] if name == b"age"] == [expected]


@pytest.mark.parametrize("asked", [b'"own"', b'W/"own"', b'"x", W/"own"', b"*"])
def test_who_has_the_page_is_told_so(asked: bytes) -> None:
    """30. 304 by If-None-Match, compared weakly, without what describes a body."""
    headers = [(b"etag", b'W/"own"'), (b"content-type", b"text/html"), (b"x-a", b"1")]
    kept = keep(200, headers, b"body", Rules(), now=0)
    status, sent, body = answer(kept, [(b"if-none-match", asked)], now=0)
    assert (status, body) == (304, b"")
    assert dict(sent) == {b"etag": b'W/"own"', b"x-a": b"1", b"cache-control": b"no-cache"}
    assert answer(kept, [(b"if-none-match", b'"other"')], now=0)[0] == 200


@pytest.mark.parametrize(
    "options", [{"vary": ["cookie"]}, {"vary": ["Authorization"]}, {"vary": ["*"]}, {"max_size": 0}]
)
def test_options_that_would_keep_what_is_ones_own_are_refused(cache: Cache, options: dict[str, Any]) -> None:
    """30. A key with a person in it is no key of a public page."""
    with pytest.raises(ConfigurationError):
        cache.response(ttl=60, **options)


def test_entity_tags_are_the_same_in_every_process() -> None:
    """30. ETag from content: two processes with other hash seeds, the same page."""
    code = (
        "from scalekit.cache.response import *\n"
        "print(dict(keep(200, [], b'<h1>shop</h1>', Rules(vary=(b'b', b'a')), now=1.0).headers)[b'etag'])"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1
    assert len(seen.pop()) > 30


class Row(BaseModel):
    id: int
    name: str
    secret: str = "hidden"


class Out(BaseModel):
    id: int
    name: str


Runs = list[str]


def fastapi_app(cache: Cache, runs: Runs) -> FastAPI:
    app, router = FastAPI(), APIRouter(prefix="/shop", default_response_class=HTMLResponse)
    page = cache.response(ttl=60, vary=["accept-language"])

    def guard(request: Request, response: Response) -> None:
        runs.append("guard")
        response.headers["x-request"] = request.headers.get("x-request", "")
        if request.headers.get("x-key") == "none":
            response.set_cookie("visitor", "1")
        if request.headers.get("x-key") == "session":
            request.session.get("user")
        if request.headers.get("x-key") == "vary":
            response.headers["vary"] = "x-key"

    @app.get("/rows/{number}", response_model=Out, dependencies=[Depends(guard)])
    @page
    async def row(number: int, response: Response) -> Any:
        runs.append(f"row {number}")
        response.headers["x-own"] = "yes"
        response.status_code = 404 if number == 0 else 200
        return Row(id=number, name="Emma")

    @app.get("/plain/{number}")
    @cache.response(ttl=60)
    def plain(number: int) -> Out:
        runs.append("plain")
        return Out(id=number, name="Emma")

    @router.get("/page")
    @page
    async def html() -> str:
        runs.append("html")
        return "<p>Emma"

    @app.get("/given")
    @page
    async def given(
        request: Annotated[Request, "used"], tasks: BackgroundTasks, kind: str = "json"
    ) -> Response:
        runs.append(kind)
        if kind == "tasks":
            tasks.add_task(runs.append, "task done")
        if kind == "stream":
            return StreamingResponse(iter([b"a", b"b"]))
        if kind == "task":
            return JSONResponse("", background=BackgroundTask(runs.append, "task done"))
        if kind == "session":
            request.session.get("user")
        if kind == "cookie":
            return PlainTextResponse("yours", headers={"set-cookie": "a=1"})
        if kind == "large":
            return PlainTextResponse("x" * 1_100_000)
        return JSONResponse({"for": str(request.url)}, headers={"vary": "Accept-Language"})

    app.include_router(router)
    app.add_middleware(SessionMiddleware, secret_key="k")
    return app


async def test_fastapi_makes_the_very_response_it_would_make(cache: Cache) -> None:
    """30. Response model, the included router's class, status, headers; dependencies run every time."""
    runs: Runs = []
    async with client(fastapi_app(cache, runs)) as browser:
        first = await browser.get("/rows/7", headers={"x-request": "a"})
        again = await browser.get("/rows/7", headers={"x-request": "b"})
        assert first.json() == again.json() == {"id": 7, "name": "Emma"}
        assert runs == ["guard", "row 7", "guard"]
        assert (again.headers["x-own"], again.headers["x-request"]) == ("yes", "b")
        assert again.headers["content-type"] == "application/json"
        missing = [(await browser.get("/rows/0")).status_code for _ in range(2)]
        pages = [await browser.get("/shop/page") for _ in range(2)]
        assert missing == [404, 404]
        assert [page.headers["content-type"] for page in pages] == ["text/html; charset=utf-8"] * 2
        assert [(await browser.get("/plain/1")).json() for _ in range(2)] == [{"id": 1, "name": "Emma"}] * 2
        assert [runs.count(name) for name in ("row 0", "html", "plain")] == [1, 1, 1]
        known = await browser.get("/rows/7", headers={"if-none-match": first.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")


async def test_pages_differ_by_what_their_key_has(cache: Cache) -> None:
    """30. Host, query and the headers in vary make pages of their own; Vary says so to other caches."""
    runs: Runs = []
    async with client(fastapi_app(cache, runs)) as browser:
        for _ in range(2):
            german = await browser.get("/given?kind=a", headers={"accept-language": "de"})
            await browser.get("/given?kind=a", headers={"accept-language": "en"})
            await browser.get("/given?kind=b")
            other = await browser.get("/given?kind=b", headers={"host": "other"})
        assert sorted(runs) == ["a", "a", "b", "b"]
        assert other.json()["for"].startswith("http://other/")
        assert german.headers["vary"].lower() == "accept-language"


@pytest.mark.parametrize("kind", ["stream", "task", "tasks", "session", "cookie", "large"])
async def test_what_is_ones_own_runs_each_time(cache: Cache, kind: str) -> None:
    """30. Session read, Set-Cookie, streams, tasks for afterwards and large bodies: as without a cache."""
    runs: Runs = []
    async with client(fastapi_app(cache, runs)) as browser:
        answers = [await browser.get("/given", params={"kind": kind}) for _ in range(2)]
    assert runs.count(kind) == 2
    assert runs.count("task done") == (2 if kind in ("task", "tasks") else 0)
    assert answers[0].content == answers[1].content
    assert "etag" not in answers[0].headers
    assert (cache.stats().passes, cache.stats().fills) == (2, 0)


async def test_visitors_who_are_known_get_what_is_theirs(cache: Cache) -> None:
    """30. A cookie, Authorization, what a dependency has read or set: neither from the cache nor into it."""
    runs: Runs = []
    async with client(fastapi_app(cache, runs)) as browser:
        await browser.get("/rows/1")
        known = [{"cookie": "a=x"}, {"authorization": "Basic x"}]
        known += [{"x-key": key} for key in ("none", "vary", "session")]
        for headers in known * 2:
            await browser.get("/rows/1", headers=headers)
            browser.cookies.clear()
    assert runs.count("row 1") == 11
    assert cache.stats().passes == 10


class Catalogue:
    """As a dependency makes one for each request."""

    rows = ("Emma",)


class Filter(BaseModel):
    limit: int = 10


async def test_what_an_endpoint_is_given_enters_the_key(cache: Cache) -> None:
    """30. Whom a key in a header stands for gets a page of their own, although no header is in `vary`."""
    app, runs = FastAPI(), []
    key = APIKeyHeader(name="x-api-key")

    @app.get("/mine/{number}")
    @cache.response(ttl=60)
    async def mine(
        number: int, user: Annotated[str, Security(key)], wanted: Annotated[Filter, Query()]
    ) -> dict[str, Any]:
        runs.append(user)
        return {"for": user, "number": number, "limit": wanted.limit}

    async with client(app) as browser:
        for user in ("ann", "bob", "ann", "bob"):
            got = await browser.get("/mine/1?limit=3", headers={"x-api-key": user})
            assert got.json() == {"for": user, "number": 1, "limit": 3}
    assert runs == ["ann", "bob"]


async def test_what_cannot_enter_the_key_is_told(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    """30. Nothing is kept then, which is said once with the cure: `ignore`, if the page is the same."""
    app, runs = FastAPI(), []

    @app.get("/all")
    @cache.response(ttl=60)
    async def all_rows(rows: Annotated[Catalogue, Depends()]) -> list[str]:
        runs.append("all")
        return list(rows.rows)

    @app.get("/known")
    @cache.response(ttl=60, ignore=["rows"])
    async def known(rows: Annotated[Catalogue, Depends()]) -> list[str]:
        runs.append("known")
        return list(rows.rows)

    async with client(app) as browser:
        for path in ("/all", "/all", "/known", "/known"):
            assert (await browser.get(path)).json() == ["Emma"]
    assert runs == ["all", "all", "known"]
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "it is given rows, a tests.cache.test_response.Catalogue, which cannot enter a key" in told
    assert "ignore=[...]" in told
    with pytest.raises(ConfigurationError, match=r"ignore=\['row'\]: .*known has no such parameter"):
        cache.response(ttl=60, ignore=["row"])(known.__wrapped__)


async def test_view_classes(cache: Cache) -> None:
    """30. What a method is called on is no part of the key; what a dependency gives for it is."""
    runs: Runs = []
    key = APIKeyHeader(name="x-api-key")

    class Home(HTTPEndpoint):
        @cache.response(ttl=60)
        async def get(self, request: Request) -> PlainTextResponse:
            runs.append("starlette")
            return PlainTextResponse("home")

    class Book(MethodView):
        @cache.response(ttl=60)
        def get(self, number: int) -> str:
            runs.append(f"flask {number}")
            return str(number)

    app, plain = FastAPI(routes=[Route("/home", Home)]), flask.Flask(__name__)
    plain.add_url_rule("/<int:number>", view_func=Book.as_view("book"))

    class Account:
        @app.get("/account")
        @cache.response(ttl=60)
        async def page(self: Annotated[str, Security(key)]) -> str:  # type: ignore[misc]
            runs.append(self)
            return self

    async with client(app) as browser:
        for _ in range(2):
            assert (await browser.get("/home")).text == "home"
            for user in ("ann", "bob"):
                assert (await browser.get("/account", headers={"x-api-key": user})).json() == user
    with plain.test_client() as visitor:
        assert [visitor.get(f"/{number}").text for number in (1, 2, 1, 2)] == ["1", "2", "1", "2"]
    assert runs == ["starlette", "ann", "bob", "flask 1", "flask 2"]


BEFORE = """
import sys
from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend

cache = Cache(MemoryBackend())

@cache.response(ttl=60)
def home(request):
    return PlainTextResponse("home")

assert "starlette" not in sys.modules
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

with TestClient(Starlette(routes=[Route("/", home)])) as browser:
    assert [browser.get("/").text for _ in range(2)] == ["home", "home"]
assert (cache.stats().fills, cache.stats().hits) == (1, 1), cache.stats()
"""


def test_a_page_may_be_defined_before_its_framework_is_imported() -> None:
    """30. As in a module of views that needs nothing of it."""
    subprocess.run([sys.executable, "-c", BEFORE], check=True, timeout=60)


def test_what_a_decorator_gives_by_place_has_its_parameters_name(cache: Cache) -> None:
    """30. So it can be named in `ignore`; what is not enters the key, also beyond the parameters."""
    app, runs = flask.Flask(__name__), []

    @cache.response(ttl=60, ignore=["catalogue"])
    def page(catalogue: object, *words: str) -> str:
        runs.append(words)
        return " ".join(words)

    with app.test_request_context("/"):
        made = [page(object(), *words) for words in (["a"], ["a", "b"], ["a"], ["a", "b"])]
    assert [one.get_data(as_text=True) for one in made] == ["a", "a b", "a", "a b"]  # type: ignore[attr-defined]
    assert runs == [("a",), ("a", "b")]


async def test_one_visitors_response_never_reaches_those_who_waited(cache: Cache) -> None:
    """30. Ten come at once; what the first is given sets a cookie: the other nine run for themselves."""
    given: list[int] = []

    async def page(request: Request) -> Response:
        number = len(given)
        given.append(number)
        await asyncio.sleep(0.01)
        return PlainTextResponse(str(number), headers={"set-cookie": f"visitor={number}"})

    app = Starlette(routes=[Route("/", cache.response(ttl=60)(page))])
    async with client(app) as browser:
        answers = await asyncio.gather(*(browser.get("/") for _ in range(10)))
    assert sorted(int(one.text) for one in answers) == list(range(10))
    assert all(one.headers["set-cookie"] == f"visitor={one.text}" for one in answers)


async def test_an_error_with_a_response_is_not_shared(cache: Cache) -> None:
    """30. Whatever a handler makes its answer of: the cookie in it is its visitor's."""

    class Stop(Exception):
        def __init__(self, response: Response) -> None:
            self.answer = response

    runs = iter(range(10))

    async def page(request: Request) -> Response:
        number = next(runs)
        await asyncio.sleep(0.01)
        raise Stop(PlainTextResponse(str(number), 403, {"set-cookie": f"visitor={number}"}))

    async def handler(request: Request, error: Any) -> Response:
        answer: Response = error.answer
        return answer

    app = Starlette(routes=[Route("/", cache.response(ttl=60)(page))], exception_handlers={Stop: handler})
    async with client(app) as browser:
        answers = await asyncio.gather(*(browser.get("/") for _ in range(10)))
    assert len({one.headers["set-cookie"] for one in answers}) == 10


@pytest.mark.parametrize("way", ["decorator", "middleware"])
async def test_a_path_that_was_rewritten(cache: Cache, way: str) -> None:
    """30. What a middleware outside makes of a path is a page of its own: two tenants, one address."""
    app = FastAPI()

    async def page(tenant: str) -> str:
        return tenant

    if way == "decorator":
        app.get("/{tenant}/page")(cache.response(ttl=60)(page))
    else:
        app.get("/{tenant}/page")(page)
        app.add_middleware(cache_asgi.ResponseMiddleware, cache=cache, ttl=60, paths=["/"])

    async def rewriting(scope: Any, receive: Any, send: Any) -> None:
        tenant = dict(scope["headers"])[b"x-tenant"].decode()
        await app({**scope, "path": f"/{tenant}/page"}, receive, send)

    async with client(rewriting) as browser:
        pages = [
            (await browser.get("/page", headers={"x-tenant": tenant})).json() for tenant in ("a", "b", "a")
        ]
    assert pages == ["a", "b", "a"]
    assert cache.stats().computes == 2


async def test_a_page_is_dropped_however_its_path_is_spelled(cache: Cache) -> None:
    """30. A visitor who writes %62 for b has no page that outlives the others'."""
    app, runs = FastAPI(), list[str]()

    @app.get("/pages/{name}")
    @cache.response(ttl=60)
    async def page(name: str) -> int:
        runs.append(name)
        return len(runs)

    spellings = ["/pages/b\u00fccher", "/pages/%62%C3%BCcher", "/pages/b%c3%bccher"]
    async with client(app) as browser:
        for dropped in spellings:
            first = [(await browser.get(path)).json() for path in spellings * 2]
            assert len(runs) == max(first)
            await page.invalidate(dropped)
            again = [(await browser.get(path)).json() for path in spellings]
            assert not set(first).intersection(again)
            await cache.clear()


async def test_a_dependencys_status_is_its_requests_own(cache: Cache) -> None:
    """30. One that says 410 to a visitor does not say so to all; what the endpoint sets is kept."""
    app = FastAPI()

    def guard(request: Request, response: Response) -> None:
        if "x-old" in request.headers:
            response.status_code = 410

    @app.get("/", dependencies=[Depends(guard)])
    @cache.response(ttl=60)
    async def page(response: Response) -> str:
        response.status_code = 404
        return "page"

    @app.get("/plain", dependencies=[Depends(guard)])
    @cache.response(ttl=60)
    async def plain() -> str:
        return "page"

    async with client(app) as browser:
        codes = [
            (await browser.get(path, headers=headers)).status_code
            for path in ("/plain", "/")
            for headers in ({"x-old": "1"}, {}, {}, {"x-old": "1"})
        ]
    assert codes == [410, 200, 200, 410, 404, 404, 404, 404]
    assert cache.stats().hits == 2


@pytest.mark.parametrize(("headers", "expected"), [({"set-cookie": "a=1"}, 10), (None, 1)])
async def test_an_error_with_headers_is_not_shared(
    cache: Cache, headers: dict[str, str] | None, expected: int
) -> None:
    """30. One that sets a cookie is its visitor's; any other is raised for all who wait, as of a query."""
    given: list[int] = []

    async def page(request: Request) -> Response:
        given.append(1)
        await asyncio.sleep(0.01)
        raise HTTPException(403, headers=headers)

    app = Starlette(routes=[Route("/", cache.response(ttl=60)(page))])
    async with client(app) as browser:
        answers = await asyncio.gather(*(browser.get("/") for _ in range(10)))
    assert {one.status_code for one in answers} == {403}
    assert len(given) == expected
    assert cache.stats().fills == 0


async def test_a_burst_makes_a_page_once(cache: Cache) -> None:
    """30. A hundred visitors of a cold page: the endpoint runs once."""
    runs: Runs = []

    async def page(request: Request) -> Response:
        runs.append("run")
        await asyncio.sleep(0.01)
        return PlainTextResponse("page")

    app = Starlette(routes=[Route("/", cache.response(ttl=60)(page))])
    async with client(app) as browser:
        answers = await asyncio.gather(*(browser.get("/") for _ in range(100)))
    assert {one.text for one in answers} == {"page"}
    assert runs == ["run"]


async def test_pages_are_dropped_with_their_data(backend: Backend) -> None:
    """30. By a tag, by a table, and by their path, in whatever variant."""
    cache, runs = Cache(backend), []

    @cache.response(ttl=60, reads=["product"], tags=["prices"], vary=["accept-language"], name="page")
    async def page(request: Request) -> Response:
        runs.append(request.url.path)
        return PlainTextResponse(str(len(runs)))

    app = Starlette(routes=[Route("/a/{x}", page)])
    async with client(app) as browser:

        async def seen() -> list[str]:
            return [
                (await browser.get(path, headers={"accept-language": language})).text
                for path in ("/a/1", "/a/1?q=1", "/a/2")
                for language in ("de", "en")
            ]

        assert await seen() == await seen() == list("123456")
        await page.invalidate("/a/1")
        assert await seen() == ["7", "8", "9", "10", "5", "6"]
        await cache.invalidate_tags("prices")
        assert await seen() == ["11", "12", "13", "14", "15", "16"]
        await cache.invalidate_tags("product")
        assert await seen() == ["17", "18", "19", "20", "21", "22"]
    await cache.close()


def flask_app(cache: Cache, runs: Runs) -> flask.Flask:
    app = flask.Flask(__name__)
    app.secret_key = "k"

    @app.get("/rows/<int:number>")
    @cache.response(ttl=60, ignore_cookies=["_ga"])
    def row(number: int) -> Any:
        runs.append(f"row {number}")
        return {"id": number}, 404 if number == 0 else 200, {"X-Own": "yes"}

    @app.get("/given/<kind>")
    @cache.response(ttl=60)
    def given(kind: str) -> Any:
        runs.append(kind)
        if kind == "session":
            flask.session.get("user")
        if kind == "stream":
            return iter(["a", "b"])
        if kind == "private":
            return "yours", {"Cache-Control": "private"}
        return flask.render_template_string("<p>{{ request.path }}")

    @app.get("/guarded")
    def guarded() -> Any:
        if "user" not in flask.session:
            return cached()
        return "never"

    @cache.response(ttl=60, name="guarded")
    def cached() -> str:
        runs.append("guarded")
        return "page"

    return app


def test_flask_views(cache: Cache) -> None:
    """30. What Flask makes of a view's result is kept, but not if the session was read, before or in it."""
    runs: Runs = []
    with wsgi(flask_app(cache, runs)) as browser:
        for _ in range(2):
            assert browser.get("/rows/7", headers={"cookie": "_ga=1"}).json() == {"id": 7}
            missing = browser.get("/rows/0")
            template = browser.get("/given/template")
            for kind in ("session", "stream", "private"):
                assert "etag" not in browser.get(f"/given/{kind}").headers
            browser.get("/guarded")
        assert (missing.status_code, missing.headers["x-own"]) == (404, "yes")
        assert template.text == "<p>/given/template"
        counts = {name: runs.count(name) for name in runs}
        assert counts == {
            "row 7": 1, "row 0": 1, "template": 1, "session": 2, "stream": 2, "private": 2, "guarded": 2,
        }  # fmt: skip
        known = browser.get("/rows/7", headers={"if-none-match": browser.get("/rows/7").headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")


@pytest.mark.parametrize(("name", "kept"), [("session", True), ("_session", True), ("other", False)])
def test_a_session_of_flask_that_nobody_can_see_keeps_nothing(cache: Cache, name: str, kept: bool) -> None:
    """30. Versions of Flask keep it under two names; under a third a page is nobody's to give to others."""

    class Session(dict[str, Any]):
        accessed = False

    app, runs = flask.Flask(__name__), 0

    @cache.response(ttl=60)
    def view() -> str:
        nonlocal runs
        runs += 1
        return "page"

    for _ in range(2):
        with app.test_request_context("/") as context:
            context.__dict__.pop("_session", None)
            context.__dict__[name] = Session()
            view()
    assert runs == (1 if kept else 2)


def test_a_function_called_outside_of_a_request_is_just_called(cache: Cache) -> None:
    """30. As from a shell or a test."""
    runs: Runs = []

    @cache.response(ttl=60)
    def view(number: int) -> int:
        runs.append("run")
        return number

    assert [view(1), view(1)] == [1, 1]
    assert runs == ["run", "run"]


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"tick"
        await asyncio.sleep(0)


@pytest.mark.parametrize("outside", [True, False], ids=["session outside", "session inside"])
async def test_any_asgi_application(cache: Cache, outside: bool) -> None:
    """30. The middleware keeps whole pages, and lets through what is not one, wherever the session stands."""
    runs: Runs = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        runs.append(scope["path"])
        headers = [(b"content-type", b"text/plain")]
        if scope["path"] == "/pages/session":
            scope["session"].get("user")
        if scope["path"] == "/pages/chunks":
            headers.append((b"content-length", b"2"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] in ("/pages/chunks", "/pages/stream"):
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            await send({"type": "http.response.body", "body": b"b"})
        else:
            await send({"type": "http.response.body", "body": scope["path"].encode()})

    def sessions(inner: Any) -> Any:
        return session_asgi.SessionMiddleware(inner, store=MemoryStore(), secret_key="k" * 32)

    def pages(inner: Any) -> Any:
        return cache_asgi.ResponseMiddleware(inner, cache=cache, ttl=60, paths=["/pages/", "/one"])

    whole = sessions(pages(app)) if outside else pages(sessions(app))
    async with client(whole) as browser:
        for path in ("/pages/a", "/one", "/one/more", "/pages/session", "/pages/chunks", "/pages/stream"):
            answers = [await browser.get(path) for _ in range(2)]
            assert answers[0].content == answers[1].content
            kept = path in ("/pages/a", "/one", "/pages/chunks")
            assert runs.count(path) == (1 if kept else 2), path
            assert ("etag" in answers[0].headers) is kept
        assert answers[0].text == "ab"
        assert (await browser.post("/one")).text == "/one"


SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "headers": [],
    "scheme": "http",
    "root_path": "",
}


async def never() -> Any:
    await asyncio.Event().wait()


async def test_an_endless_stream_goes_on_as_it_comes(cache: Cache) -> None:
    """30. Nothing waits for its end: neither its visitor nor the next one."""
    app = Starlette(routes=[Route("/", lambda request: StreamingResponse(_endless()))])
    whole = cache_asgi.ResponseMiddleware(app, cache=cache, ttl=60, paths=["/"])
    for _ in range(2):
        got = asyncio.Event()

        async def send(message: Any, got: asyncio.Event = got) -> None:
            if message.get("body"):
                got.set()

        task = asyncio.ensure_future(whole(dict(SCOPE), never, send))
        await asyncio.wait_for(got.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_visitor_who_leaves_takes_the_application_along(cache: Cache) -> None:
    """30. Cancelled while the page is sent, it ends what the application still does, and waits for that."""
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"page"})
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    whole = cache_asgi.ResponseMiddleware(app, cache=cache, ttl=60, paths=["/"])
    sending = asyncio.Event()

    async def send(message: Any) -> None:
        sending.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(whole(dict(SCOPE), never, send))
    await asyncio.wait_for(sending.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 30)
    assert ended.is_set()
    assert cache.stats().fills == 1


@pytest.mark.parametrize("around", [False, True], ids=["alone", "inside-a-middleware"])
async def test_a_page_that_nobody_waited_for_is_not_kept_empty(cache: Cache, around: bool) -> None:
    """30. What streams its body ends when its visitor leaves, before the first part of it perhaps."""
    begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        yield b"page"

    app: Any = Starlette(routes=[Route("/", lambda request: StreamingResponse(body()))])
    if around:  # it ends the response that broke off
        app.add_middleware(BaseHTTPMiddleware, dispatch=lambda request, call_next: call_next(request))
    whole = cache_asgi.ResponseMiddleware(app, cache=cache, ttl=60, paths=["/"])
    received = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        for message in received:
            return message
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    await asyncio.wait_for(whole(dict(SCOPE), receive, send), 30)
    assert cache.stats().fills == 0
    async with client(whole) as browser:
        assert (await browser.get("/")).text == "page"


async def test_an_application_that_only_begins_a_response_leaves_no_page(cache: Cache) -> None:
    """30. A start without a body is no page, whatever its application was about."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    whole = cache_asgi.ResponseMiddleware(app, cache=cache, ttl=60, paths=["/"])
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await whole(dict(SCOPE), never, send)
    assert (sent, cache.stats().fills) == (["http.response.start"], 0)


def test_any_wsgi_application(cache: Cache) -> None:
    """30. The same for WSGI: lists are pages, iterators without a length are streams."""
    runs: Runs = []

    def app(environ: Any, start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        runs.append(path)
        if path == "/pages/session":
            environ["scalekit.session"].get("user")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"a", b"b"]) if path == "/pages/stream" else [path.encode()]

    def generator(environ: Any, start_response: Callable[..., Any]) -> Iterator[bytes]:
        runs.append("generator")
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"a"
        yield b"b"

    def pages(inner: Any) -> Any:
        return cache_wsgi.ResponseMiddleware(
            inner, cache=cache, ttl=60, paths=["/pages/"], name=inner.__name__
        )

    whole = session_wsgi.SessionMiddleware(pages(app), store=MemoryStore(), secret_key="k" * 32)
    with wsgi(whole) as browser:
        for path in ("/pages/a", "/other", "/pages/session", "/pages/stream"):
            answers = [browser.get(path) for _ in range(2)]
            assert answers[0].content == answers[1].content
            assert runs.count(path) == (1 if path == "/pages/a" else 2), path
        assert answers[0].content == b"ab"
    with wsgi(pages(generator)) as browser:
        assert [browser.get("/pages/a").content for _ in range(2)] == [b"ab", b"ab"]
    assert runs.count("generator") == 2


def test_half_a_body_is_no_page(cache: Cache) -> None:
    """30. What broke off goes to its visitor as it is, who sees that by its length, and is not kept."""
    runs: Runs = []

    def application(environ: Any, start: Any) -> Any:
        runs.append(environ["PATH_INFO"])
        start("200 OK", [("Content-Length", "10")])
        return iter([b"half" if environ["PATH_INFO"] == "/half" else b"0123456789"])

    pages = cache_wsgi.ResponseMiddleware(application, cache=cache, ttl=60, paths=["/"])
    with wsgi(pages) as browser:
        for path in ("/half", "/whole") * 2:
            assert browser.get(path).headers["content-length"] == "10"
    assert runs == ["/half", "/whole", "/half"]


@pytest.mark.parametrize("starts", [True, False], ids=["started", "as-it-is-read"])
def test_a_body_that_fails_is_closed(cache: Cache, starts: bool) -> None:
    """30. As PEP 3333 asks for, whether it has begun its response before or not."""
    closed: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            raise LookupError("no such book")

        def close(self) -> None:
            closed.append("closed")

    def application(environ: Any, start_response: Any) -> Any:
        if starts:
            start_response("200 OK", [("Content-Length", "4")])
        return Body()

    pages = cache_wsgi.ResponseMiddleware(application, cache=cache, ttl=60, paths=["/"])
    with wsgi(pages) as browser, pytest.raises(LookupError):
        browser.get("/")
    assert closed == ["closed"]


def test_an_error_in_the_middle_of_a_stream_is_not_swallowed(cache: Cache) -> None:
    """30. What is on its way cannot become another response: the server is told, as PEP 3333 has it."""

    def application(environ: Any, start: Any) -> Any:
        start("200 OK", [])
        yield b"half"
        try:
            raise ValueError("broken")
        except ValueError:
            start("500 Internal Server Error", [], sys.exc_info())
        yield b"an error page"

    pages = cache_wsgi.ResponseMiddleware(application, cache=cache, ttl=60, paths=["/"])
    with wsgi(pages) as browser, pytest.raises(ValueError, match="broken"):
        browser.get("/")


async def test_the_log_says_why_a_page_is_not_kept(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    """30. Whatever the reason is, at the level DEBUG, with the page and with no secret."""
    app = fastapi_app(cache, [])

    @app.get("/fails")
    @cache.response(ttl=60)
    async def fails() -> str:
        raise HTTPException(404)

    @app.post("/posted")
    @cache.response(ttl=60)
    async def posted() -> str:
        return ""

    with caplog.at_level(logging.DEBUG, logger="scalekit.cache"):
        async with client(app) as browser:
            await browser.get("/given", headers={"cookie": "user=a-secret"})
            await browser.get("/given", headers={"authorization": "Basic a-secret"})
            await browser.get("/given?kind=stream")
            await browser.get("/given?kind=tasks")
            await browser.get("/given?kind=task")
            await browser.get("/rows/1", headers={"x-key": "none"})
            browser.cookies.clear()
            await browser.get("/fails")
            await browser.post("/posted")
        await posted()
    assert [message.partition("the response to ")[2] for message in caplog.messages] == [
        "/given is not kept: the request has the cookie 'user', which is not in ignore_cookies=",
        "/given is not kept: the request has Authorization",
        "/given is not kept: it is a StreamingResponse, which has no body at hand",
        "/given is not kept: it has a background task",
        "/given is not kept: it has a background task",
        "/rows/1 is not kept: it sets a cookie",
        "/fails is not kept: it raised HTTPException",
        "/posted is not kept: the method is POST",
        "a call is not kept: it was made outside of a request",
    ]
    assert "a-secret" not in caplog.text


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
async def test_the_middlewares_say_why_too(
    cache: Cache, interface: str, caplog: pytest.LogCaptureFixture
) -> None:
    """30. With what the application did to it: a failure, a stream, a body that is too large."""
    answers: dict[str, tuple[int, list[bytes], bool]] = {
        "/fails": (500, [b"a"], True),
        "/stream": (200, [b"a", b"b"], False),
        "/large": (200, [b"a" * 20], True),
        "/kept": (200, [b"a"], True),
    }

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        status, chunks, known = answers[scope["path"]]
        headers = [(b"content-length", b"%d" % len(b"".join(chunks)))] if known else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def wsgi_app(environ: Any, start_response: Callable[..., Any]) -> Any:
        status, chunks, known = answers[environ["PATH_INFO"]]
        start_response(f"{status} X", [("Content-Length", str(len(b"".join(chunks))))] if known else [])
        return iter(chunks)

    options: dict[str, Any] = {"cache": cache, "ttl": 60, "paths": list(answers), "max_size": 10}
    with caplog.at_level(logging.DEBUG, logger="scalekit.cache"):
        if interface == "asgi":
            async with client(cache_asgi.ResponseMiddleware(asgi, **options)) as browser:
                for path in answers:
                    await browser.get(path)
                await browser.head("/kept")
        else:
            with wsgi(cache_wsgi.ResponseMiddleware(wsgi_app, **options)) as plain:
                for path in answers:
                    plain.get(path)
                plain.head("/kept")
    told = [message.partition("the response to ")[2] for message in caplog.messages]
    assert [line.partition(" is not kept: ")[0] for line in told] == ["/fails", "/stream", "/large", "/kept"]
    for line, why in zip(told, ["its status is 500", "it is streamed", "max_size=10", "HEAD"], strict=True):
        assert why in line


def test_what_would_drop_no_page_is_an_error(cache: Cache) -> None:
    """30. It names what was given, and what to give: a page that was not dropped is served on."""

    @cache.response(ttl=60)
    def view(name: str) -> str:
        return name

    wrong: list[tuple[Any, str]] = [
        ("about", r"'about'.*a path begins with '/'"),
        ("http://shop/about", r"'http://shop/about'.*without scheme and host"),
        ("/about?lang=de", r"'/about\?lang=de'.*invalidate\('/about'\)"),
        (["/about"], r"\['/about'\].*invalidate\(\*paths\)"),
    ]
    for path, words in wrong:
        with pytest.raises(ConfigurationError, match=words):
            view.invalidate(path)
    with pytest.raises(TypeError, match=r"view.*wants the paths of pages, such as invalidate\('/about'\)"):
        view.invalidate()
    view.invalidate("/about", "/über uns")
