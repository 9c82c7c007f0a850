"""Read-only mode, in both shells: what it refuses and what it says. The switches are ones in memory."""

import json
from typing import Any

import httpx
import pytest

from scalekit.errors import ConfigurationError
from scalekit.ops import asgi, refusal, wsgi
from scalekit.ops.probes import Answer
from scalekit.types import Receive, Scope, Send
from tests.ops.test_wsgi import call
from tests.ops.test_wsgi import hello as wsgi_hello


class InMemory:
    """What the middleware asks of switches."""

    def __init__(self, on: bool = True, left: float | None = None) -> None:
        self.on, self.left, self.waited = on, left, 0

    def start(self, wait: float = 0.0) -> bool:
        self.waited += bool(wait)
        return bool(self.waited)

    def is_read_only(self) -> bool:
        return self.on

    def read_only_left(self) -> float | None:
        return self.left


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def read_only(switches: Any, **options: Any) -> httpx.AsyncClient:
    app = asgi.ReadOnlyMiddleware(hello, switches=switches, **options)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_what_may_change_something_is_refused(method: str) -> None:
    """Every method that is not safe by RFC 9110 gets 503 with Retry-After, and nobody keeps the answer."""
    async with read_only(InMemory()) as http:
        answer = await http.request(method, "/cart", headers={"Accept": "application/json"})
    assert answer.status_code == 503
    assert 60 <= int(answer.headers["retry-after"]) <= 75
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 503
    status, headers, body = call(wsgi.ReadOnlyMiddleware(wsgi_hello, switches=InMemory()), "/cart", method)  # type: ignore[arg-type]
    assert status == "503 Service Unavailable"
    assert 60 <= int(headers["Retry-After"]) <= 75
    assert json.loads(body) == answer.json()


async def test_reading_goes_on() -> None:
    """What is safe passes, and so does everything while the mode is off. No look is waited for in vain."""
    on, off = InMemory(), InMemory(on=False)
    async with read_only(on) as http:
        for method in ("GET", "HEAD", "OPTIONS", "TRACE"):
            assert (await http.request(method, "/cart")).status_code == 200
    assert not on.waited
    async with read_only(off) as http:
        assert (await http.post("/cart")).status_code == 200
    app = wsgi.ReadOnlyMiddleware(wsgi_hello, switches=off)  # type: ignore[arg-type]
    assert call(app, "/cart", "POST")[2] == b"hello"


async def test_what_is_allowed() -> None:
    """A path that is allowed goes on with all below it, below a mount too; its namesakes do not."""
    async with read_only(InMemory(), allow=["/login/"]) as http:
        for path, status in (("/login", 200), ("/login/otp", 200), ("/login2", 503), ("/x/login", 503)):
            assert (await http.post(path)).status_code == status
    app = asgi.ReadOnlyMiddleware(hello, switches=InMemory(), allow=["/login"])  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app=app, root_path="/shop")  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.post("/shop/login")).status_code == 200
    wrapped = wsgi.ReadOnlyMiddleware(wsgi_hello, switches=InMemory(), allow=["/login"])  # type: ignore[arg-type]
    assert call(wrapped, "/login/otp", "POST")[0] == "200 OK"
    assert call(wrapped, "/login2", "POST")[0] == "503 Service Unavailable"


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "x-method-override"])
@pytest.mark.parametrize("named", ["DELETE", "post", " PUT ", "GET, PATCH", "PURGE"])
async def test_a_header_that_names_another_method(header: str, named: str) -> None:
    """A safe request is refused if an application inside may take it for one that is not; the paths that are
    allowed go on."""
    extra = {header: named}
    async with read_only(InMemory(), allow=["/login"]) as http:
        for method in ("GET", "HEAD", "OPTIONS"):
            assert (await http.request(method, "/cart", headers=extra)).status_code == 503
        assert (await http.get("/login", headers=extra)).status_code == 200
    app = wsgi.ReadOnlyMiddleware(wsgi_hello, switches=InMemory(), allow=["/login"])  # type: ignore[arg-type]
    assert call(app, "/cart", "GET", extra)[0] == "503 Service Unavailable"
    assert call(app, "/login", "GET", extra)[0] == "200 OK"


@pytest.mark.parametrize("named", ["GET", "head", "", " , "])
async def test_a_header_that_names_a_safe_method(named: str) -> None:
    """Such a header lets nothing through that is refused, and refuses nothing."""
    extra = {"X-HTTP-Method-Override": named}
    app = wsgi.ReadOnlyMiddleware(wsgi_hello, switches=InMemory())  # type: ignore[arg-type]
    async with read_only(InMemory()) as http:
        for method, status in (("GET", 200), ("POST", 503)):
            assert (await http.request(method, "/cart", headers=extra)).status_code == status
            assert call(app, "/cart", method, extra)[0].startswith(str(status))


async def asked(target: str, *, method: str = "GET") -> int:
    """The status of such a request in both shells."""
    async with read_only(InMemory(), allow=["/login"]) as http:
        status = (await http.request(method, target)).status_code
    app = wsgi.ReadOnlyMiddleware(wsgi_hello, switches=InMemory(), allow=["/login"])  # type: ignore[arg-type]
    assert call(app, target, method)[0].startswith(str(status))
    return status


@pytest.mark.parametrize(
    "query",
    [
        "_method=DELETE",
        "a=1&_method=post&b=2",
        "a=1;_method=PUT",
        "__METHOD_OVERRIDE__=PATCH",
        "_method=GET&_method=DELETE",
        "%5Fm%65thod=%44ELETE",
        "_method=+delete",
    ],
)
async def test_a_query_that_names_another_method(query: str) -> None:
    """Some middlewares turn even a GET into what its query says; the paths that are allowed go on."""
    for method in ("GET", "HEAD"):
        assert await asked(f"/cart?{query}", method=method) == 503
    assert await asked(f"/login?{query}") == 200


@pytest.mark.parametrize(
    "query",
    ["", "_method=get", "_method=", "_method", "_method=stripe", "method=DELETE", "a=_method=DELETE",
     "payment_method=post", "q=%C3%A9t%C3%A9&method=post", "a=%5f_method%3DDELETE", "%ff%"],
)  # fmt: skip
async def test_a_query_that_names_none(query: str) -> None:
    """What is no method that writes, or stands elsewhere, refuses nothing."""
    assert await asked(f"/cart?{query}") == 200


@pytest.mark.parametrize("path", ["/login/../cart", "/login/..", "/login/./../cart", "/login/x/../../cart"])
async def test_no_way_leads_out_of_what_is_allowed(path: str) -> None:
    """Some applications and mounts resolve such a path themselves, and it is a write elsewhere then."""
    async with read_only(InMemory(), allow=["/login"]) as http:
        escaped = path.replace("/.", "/%2e")  # httpx resolves it otherwise; servers hand it on unescaped
        assert (await http.post(escaped)).status_code == 503
    wrapped = wsgi.ReadOnlyMiddleware(wsgi_hello, switches=InMemory(), allow=["/login"])  # type: ignore[arg-type]
    assert call(wrapped, path, "POST")[0] == "503 Service Unavailable"


async def test_a_page_for_browsers() -> None:
    """A browser gets the page that was given, a program the problem."""
    async with read_only(InMemory(), page="<h1>Back soon ☕</h1>") as http:
        page = await http.post("/cart", headers={"Accept": "text/html,*/*;q=0.8"})
        other = await http.post("/cart", headers={"Accept": "application/json"})
    assert page.text == "<h1>Back soon ☕</h1>"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["vary"] == other.headers["vary"] == "Accept"
    assert other.headers["content-type"] == "application/problem+json"


async def test_browsers_get_a_page_in_any_case() -> None:
    """Who sends a form sees no JSON, without `page=` either, and under WSGI as well."""
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with read_only(InMemory()) as http:
        page = await http.post("/cart", headers=browser)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>Nothing can be changed at the moment</h1>" in page.text
    app = wsgi.ReadOnlyMiddleware(wsgi_hello, switches=InMemory())  # type: ignore[arg-type]
    assert b"<h1>Nothing can be changed" in call(app, "/cart", "POST", browser)[-1]


async def test_it_says_when_it_ends() -> None:
    """Retry-After follows the end of the mode where it has one."""
    async with read_only(InMemory(left=900.0)) as http:
        assert 900 <= int((await http.post("/cart")).headers["retry-after"]) <= 1125


def test_nobody_comes_back_together() -> None:
    """Retry-After is spread over a quarter of its length, and is never 0."""

    def after(draw: float, seconds: float = 100.0) -> int:
        answer: Answer = refusal.refuse([], title="t", detail="d", after=seconds, page=b"", draw=lambda: draw)
        return int(dict(answer.headers)[b"retry-after"])

    assert [after(draw) for draw in (0.0, 0.5, 1.0)] == [100, 112, 125]
    assert after(0.0, 0.01) == 1


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        ({"allow": "/login"}, r"allow=\[\.\.\.\]"),
        ({"allow": ["login"]}, "such as '/login'"),
        ({"allow": ["/"]}, "not that of everything"),
        ({"page": 7}, "HTML as text or bytes"),
        ({"switches": 3}, r"such as Switches.from_url\(url\), not int"),
        ({"switches": None}, "not NoneType"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], cure: str) -> None:
    """A mistake is told at start-up, with what to write instead."""
    with pytest.raises(ConfigurationError, match=cure):
        asgi.ReadOnlyMiddleware(hello, **{"switches": InMemory()} | options)
    with pytest.raises(ConfigurationError, match=cure):
        wsgi.ReadOnlyMiddleware(wsgi_hello, **{"switches": InMemory()} | options)


async def test_other_scopes_pass() -> None:
    """WebSockets and lifespan are the application's; at start-up the switches are looked at."""
    switches, seen = InMemory(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    middleware: Any = asgi.ReadOnlyMiddleware(app, switches=switches)  # type: ignore[arg-type]
    for kind in ("lifespan", "websocket"):
        await middleware({"type": kind}, None, None)
    assert seen == ["lifespan", "websocket"]
