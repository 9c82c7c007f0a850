"""Cache policies: what a CDN is told of a response, and what never leaves for one."""

import asyncio
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from scalekit.cdn import Assets, CachePolicy, Manifest, Shield, add_tags, asgi, wsgi
from scalekit.cdn._query import location
from scalekit.cdn.asgi import AssetMiddleware
from scalekit.errors import ConfigurationError
from tests.cdn.sites import Answer, Site, _asgi, _wsgi

NEWS = CachePolicy(max_age=60, shared_max_age=600)
EDGE = CachePolicy(max_age=10, cdn_max_age=3600, stale_while_revalidate=30, stale_if_error=timedelta(days=1))


@pytest.fixture(params=["asgi", "wsgi"])
def site(request: pytest.FixtureRequest) -> Site:
    return Site(request.param)


def said(headers: Any) -> dict[str, str]:
    """What there is about caches in them."""
    return {
        name: value for name, value in headers.items() if "control" in name or name in ("vary", "expires")
    }


def test_a_page_that_is_opted_in(site: Site) -> None:
    """Browsers, shared caches and the CDN are told apart."""
    assert said(site.ask(policies={"/": NEWS}).headers) == {
        "cache-control": "public, max-age=60, s-maxage=600"
    }
    assert said(site.ask(policies={"/": EDGE}).headers) == {
        "cache-control": "public, max-age=10",
        "cdn-cache-control": "max-age=3600, stale-while-revalidate=30, stale-if-error=86400",
    }


def test_what_is_said_of_stale_responses(site: Site) -> None:
    """In Cache-Control where the CDN has no header of its own; browsers are told otherwise only there."""
    policy = CachePolicy(shared_max_age=60, stale_while_revalidate=5, stale_if_error=50)
    expected = "public, max-age=0, s-maxage=60, stale-while-revalidate=5, stale-if-error=50"
    assert said(site.ask(policies={"/": policy}).headers) == {"cache-control": expected}


def test_other_headers_for_other_cdns(site: Site) -> None:
    """Surrogate-Control only if it is asked for."""
    names = ["CDN-Cache-Control", "Surrogate-Control", "Cloudflare-CDN-Cache-Control"]
    headers = site.ask(policies={"/": EDGE}, cdn_headers=names).headers
    assert {headers[name] for name in names} == {
        "max-age=3600, stale-while-revalidate=30, stale-if-error=86400"
    }
    assert said(site.ask(policies={"/": EDGE}, cdn_headers=[]).headers) == {
        "cache-control": "public, max-age=10, stale-while-revalidate=30, stale-if-error=86400"
    }


def test_what_is_not_opted_in_is_left(site: Site) -> None:
    """As it is; or private, if that is asked for and the application says nothing itself."""
    assert said(site.ask("/other", policies={"/news": NEWS}).headers) == {}
    kept = [("Cache-Control", "public, max-age=5")]
    assert said(site.ask("/other", Answer(kept), policies={"/news": NEWS}).headers) == {
        "cache-control": "public, max-age=5"
    }
    for answer, expected in ((Answer(), "private, no-store"), (Answer(kept), "public, max-age=5")):
        assert said(site.ask("/other", answer, others="private").headers) == {"cache-control": expected}


PERSONAL: list[tuple[str, dict[str, str], Answer]] = [
    ("Set-Cookie", {}, Answer([("Set-Cookie", "theme=dark")])),
    ("Authorization", {"Authorization": "Bearer x"}, Answer()),
    ("Vary", {}, Answer([("Vary", "Accept, cookie")])),
    ("Vary: Authorization", {}, Answer([("Vary", "Authorization")])),
    ("a session that was read", {}, Answer(session=SimpleNamespace(accessed=True))),
    ("a session that does not know", {}, Answer(session={"user": 1})),
]


@pytest.mark.parametrize(
    ("request_headers", "answer"), [case[1:] for case in PERSONAL], ids=[c[0] for c in PERSONAL]
)
@pytest.mark.parametrize("path", ["/news", "/other"])
def test_what_is_one_visitors_is_private(
    site: Site, path: str, request_headers: dict[str, str], answer: Answer
) -> None:
    """Whatever the application and the policy say, opted in or not, and nothing for a CDN is left."""
    loud = [
        ("Cache-Control", "public, s-maxage=600, max-age=60"),
        ("CDN-Cache-Control", "max-age=600"),
        ("Surrogate-Control", "max-age=600"),
        ("X-Accel-Expires", "600"),
    ]
    policies = {"/news": CachePolicy(cdn_max_age=60, tags=["news"])}
    for given, expected in (([], "private"), (loud, "max-age=60, private")):
        headers = [*given, *answer.headers]
        made = Answer(headers, session=answer.session)
        reply = site.ask(path, made, headers=request_headers, policies=policies)
        assert reply.headers["cache-control"] == expected
        shared = ("cdn-cache-control", "surrogate-control", "x-accel-expires", "surrogate-key", "cache-tag")
        assert not any(name in reply.headers for name in shared)


def test_a_session_below_a_scope_that_was_copied() -> None:
    """Where headers of the request are changed on the way in, the answer is one visitor's all the same."""
    endpoint = _asgi(Answer([("Content-Type", "text/html")], session={"user": 1}))
    conditional = AssetMiddleware(endpoint, assets=Assets.from_manifest(Manifest([])))
    shielded = asgi.ShieldMiddleware(endpoint, shield=Shield(secret="the-secret-of-this-year", exempt=["/"]))
    for app in (conditional, shielded):
        policy = CachePolicy(max_age=60, ignore_cookies=["session"])
        around = asgi.PolicyMiddleware(app, policies={"/": policy})
        scope = {
            "type": "http", "method": "GET", "path": "/", "query_string": b"",
            "headers": [(b"cookie", b"session=1"), (b"if-none-match", b'"a"')],
        }  # fmt: skip
        messages: list[Any] = []

        async def send(message: Any, messages: list[Any] = messages) -> None:
            messages.append(message)

        asyncio.run(around(scope, send, send))
        assert dict(messages[0]["headers"])[b"cache-control"] == b"private"


def test_a_session_that_nobody_looked_at(site: Site) -> None:
    """It may be there: in Starlette it always is."""
    for session in (SimpleNamespace(accessed=False), {}):
        reply = site.ask("/", Answer(session=session), policies={"/": NEWS})
        assert reply.headers["cache-control"] == "public, max-age=60, s-maxage=600"


@pytest.mark.parametrize(
    ("cookies", "ignored", "private"),
    [
        ("session=1", (), True),
        ("session=1", ("session",), False),
        ("_ga=1; _ga_X=2; theme=dark", ("_ga*",), True),
        ("_ga=1; _ga_X=2; theme=dark", ("_ga*", "theme"), False),
        ("", (), False),
        ("anything", ("*",), False),
    ],
)
def test_a_request_with_cookies(site: Site, cookies: str, ignored: tuple[str, ...], private: bool) -> None:
    """Its answer may be this visitor's, unless the policy says that these cookies change nothing."""
    policy = CachePolicy(max_age=60, ignore_cookies=ignored)
    reply = site.ask("/", headers={"Cookie": cookies}, policies={"/": policy})
    assert reply.headers["cache-control"] == ("private" if private else "public, max-age=60")
    # The application speaks for what is not opted in: its files, for instance.
    left = Answer([("Cache-Control", "public, max-age=9")])
    reply = site.ask("/file", left, headers={"Cookie": cookies}, policies={"/about": policy})
    assert reply.headers["cache-control"] == "public, max-age=9"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("max-age=30", "public, max-age=30"),
        ("max-age=6000", "public, max-age=60, s-maxage=600"),
        ("s-maxage=30", "public, max-age=60, s-maxage=30"),
        ("max-age=30, s-maxage=6000", "public, max-age=30, s-maxage=600"),
        ("max-age=0, must-revalidate", "public, max-age=0, must-revalidate"),
        ("max-age=never", "public, max-age=0"),
        ('max-age="30"', "public, max-age=30"),
        ("Max-Age=30, max-age=99", "public, max-age=30"),
        ("no-transform", "public, max-age=60, s-maxage=600, no-transform"),
        ("public, immutable, max-age=99999999999999999999", "public, max-age=0, immutable"),
        ('ext="a, max-age=5", max-age=20', 'public, max-age=20, ext="a, max-age=5"'),
        ("no-cache", "no-cache"),
        ("private, max-age=30", "private, max-age=30"),
        ('private="set-cookie"', 'private="set-cookie"'),
        ("no-store", "no-store"),
    ],
)
def test_the_stricter_one_wins(site: Site, own: str, expected: str) -> None:
    """The shorter of two lifetimes; the rest stays as the application said it."""
    assert (
        site.ask("/", Answer([("Cache-Control", own)]), policies={"/": NEWS}).headers["cache-control"]
        == expected
    )


@pytest.mark.parametrize(
    ("own", "cdn"),
    [
        ([("Cache-Control", "max-age=30")], "max-age=30, stale-while-revalidate=30, stale-if-error=86400"),
        (
            [("Cache-Control", "max-age=5, s-maxage=99")],
            "max-age=99, stale-while-revalidate=30, stale-if-error=86400",
        ),
        (
            [("CDN-Cache-Control", "max-age=9, stale-if-error=1")],
            "max-age=9, stale-if-error=1, stale-while-revalidate=30",
        ),
        ([("CDN-Cache-Control", "no-store")], "no-store"),
        ([("Cache-Control", "max-age=99, must-revalidate")], "max-age=99, must-revalidate"),
        ([("Cache-Control", "private")], None),
        ([("Cache-Control", "no-store")], None),
        ([("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")], None),
        ([("Pragma", "no-cache")], None),
        ([("Vary", "*")], None),
    ],
)
def test_the_cdns_header_is_never_weaker(site: Site, own: list[tuple[str, str]], cdn: str | None) -> None:
    """It overrides Cache-Control: what that says holds in it, too, and where that forbids, it is not sent."""
    reply = site.ask("/", Answer(own), policies={"/": EDGE})
    assert reply.headers.get("cdn-cache-control") == cdn
    if cdn is None:
        assert {name.lower(): value for name, value in own}.items() <= dict(reply.headers).items()
        assert reply.headers.get("cache-control") == dict(own).get("Cache-Control")


def test_the_shorter_lifetime_holds_for_the_cdn(site: Site) -> None:
    """Whoever has given the CDN a header: a decorator without a lifetime for it speaks of shared caches."""
    long = CachePolicy(max_age=10, cdn_max_age=3600)
    for short in (CachePolicy(max_age=60), CachePolicy(max_age=600, shared_max_age=60)):
        answer = Answer(run=short(lambda: None))
        assert site.ask("/", answer, policies={"/": long}).headers["cdn-cache-control"] == "max-age=60"
        answer.headers.append(("CDN-Cache-Control", "max-age=600"))
        assert site.ask("/", answer).headers["cdn-cache-control"] == "max-age=60"


@pytest.mark.parametrize("status", [200, 206, 301, 304, 308, 404, 410])
def test_statuses_that_are_kept(site: Site, status: int) -> None:
    """Pages, lasting redirects, and that there is none."""
    assert (
        site.ask("/", Answer(status=status), policies={"/": NEWS})
        .headers["cache-control"]
        .startswith("public")
    )


@pytest.mark.parametrize("status", [302, 303, 307, 400, 401, 403, 429, 500, 502, 503])
def test_statuses_that_nobody_keeps(site: Site, status: int) -> None:
    """What passes is not kept, unless the application says so itself."""
    assert said(site.ask("/", Answer(status=status), policies={"/": EDGE}).headers) == {
        "cache-control": "no-store"
    }
    own = Answer([("Cache-Control", "max-age=5")], status=status)
    assert said(site.ask("/", own, policies={"/": EDGE}).headers) == {"cache-control": "max-age=5"}


@pytest.mark.parametrize(
    ("method", "kept"), [("GET", True), ("HEAD", True), ("POST", False), ("DELETE", False)]
)
def test_methods_that_are_kept(site: Site, method: str, kept: bool) -> None:
    """What changes something is not opted in."""
    assert ("cache-control" in site.ask(method=method, policies={"/": NEWS}).headers) is kept


@pytest.mark.parametrize(
    ("options", "own", "expected"),
    [
        ({"vary": ["Accept-Language"]}, None, "accept-language"),
        ({"vary": ["Accept-Language"]}, "Accept-Encoding", "Accept-Encoding, accept-language"),
        ({"vary": ["Accept-Language"]}, "Accept-Language", "Accept-Language"),
        ({}, "User-Agent, Accept-Encoding", "User-Agent, Accept-Encoding"),
        ({"drop_vary": ["User-Agent"]}, "User-Agent, Accept-Encoding", "Accept-Encoding"),
        ({"drop_vary": ["User-Agent", "Origin"]}, "user-agent,Origin", None),
    ],
)
def test_vary(site: Site, options: dict[str, Any], own: str | None, expected: str | None) -> None:
    """What the page depends on is added; what makes a copy for each browser goes if that is asked for."""
    answer = Answer([] if own is None else [("Vary", own)])
    reply = site.ask("/", answer, policies={"/": CachePolicy(max_age=60, **options)})
    assert reply.headers.get("vary") == expected


def test_tags(site: Site) -> None:
    """Of the policy, of the path, of the application and of what runs in it, each once, in both headers."""
    answer = Answer([("Surrogate-Key", "own news")], run=lambda: add_tags("author:3", "news"))
    policy = CachePolicy(max_age=60, tags=["news", "product:{sku}"])
    reply = site.ask("/products/caf%C3%A9%2C%201", answer, policies={"/products/{sku}": policy})
    assert reply.headers["surrogate-key"] == "own news product:caf%C3%A9%2C%201 author:3"
    assert reply.headers["cache-tag"] == "own,news,product:caf%C3%A9%2C%201,author:3"
    reply = site.ask("/products/1", policies={"/products/{sku}": policy}, tag_headers=["X-Tags"])
    assert (reply.headers["x-tags"], "cache-tag" in reply.headers) == ("news,product:1", False)
    assert "cache-tag" not in site.ask(policies={"/": NEWS}).headers


def test_more_tags_than_the_cdn_keeps(site: Site) -> None:
    """Who could not purge it is not to keep it."""
    answer = Answer(run=lambda: add_tags(*(f"row:{number}" for number in range(50))))
    policies = {"/": CachePolicy(max_age=60, tags=["rows"])}
    assert site.ask("/", answer, policies=policies).headers["cache-control"] == "private"
    assert site.ask("/", answer, policies=policies, max_tags=51).headers["cache-tag"].count(",") == 50


def test_paths_of_the_table(site: Site) -> None:
    """One page, all below one, or one segment of any text; the first that fits."""
    one, two, three = (CachePolicy(max_age=seconds) for seconds in (1, 2, 3))
    policies = {"/about": one, "/news/today/": two, "/news/{day}": three, "/archive/": one}
    asked = {
        "/about": 1,
        "/about/": None,
        "/aboutx": None,
        "/news/today/late": 2,
        "/news/monday": 3,
        "/news/monday/late": None,
        "/news/": None,
        "/archive/": 1,
        "/archive/2020/1": 1,
        "/archive/../admin": None,
        "/archive/%2e%2e/admin": None,
        "/archive//admin": None,
    }
    for path, seconds in asked.items():
        found = site.ask(f"http://shop{path}", policies=policies).headers.get("cache-control")
        assert found == (None if seconds is None else f"public, max-age={seconds}"), path


def test_a_path_that_ends_in_a_slash_alone(site: Site) -> None:
    """``{$}`` is the end: a home page, or one page of a framework whose paths all end in a slash."""
    policies = {"/{$}": NEWS, "/products/{sku}/{$}": CachePolicy(max_age=1, tags=["product:{sku}"])}
    for path, kept in {"/": True, "/about": False, "/products/7/": True, "/products/7/edit/": False}.items():
        headers = site.ask(path, policies=policies).headers
        assert ("cache-control" in headers) is kept, path
    assert site.ask("/products/7/", policies=policies).headers["cache-tag"] == "product:7"


QUERY = CachePolicy(max_age=60, query=["page", "sort"])


@pytest.mark.parametrize(
    ("query", "normal"),
    [
        ("page=2", "page=2"),
        ("sort=a&page=2", "page=2&sort=a"),
        ("utm_source=x&page=2&fbclid=y", "page=2"),
        ("sort=b&sort=a", "sort=b&sort=a"),
        ("p%61ge=2&&sort", "p%61ge=2&sort"),
        ("utm_source=x", ""),
        ("page=%2F%C3%A9&x=1", "page=%2F%C3%A9"),
        ("pagex=1&Page=2", ""),
    ],
)
def test_the_query_in_its_normal_form(site: Site, query: str, normal: str) -> None:
    """The application sees what the page depends on, sorted; so it cannot depend on more."""
    answer = Answer()
    assert site.ask(f"/list?{query}", answer, policies={"/list": QUERY}).status_code == 200
    assert answer.query == normal
    for path, method, policy in (("/other", "GET", QUERY), ("/list", "POST", QUERY), ("/list", "GET", NEWS)):
        site.ask(f"{path}?{query}", answer, method=method, policies={"/list": policy})
        assert answer.query == query


def test_a_parameter_that_the_cdn_may_not_know(site: Site) -> None:
    """What a name in an unusual spelling leads to is kept by nobody: a CDN that leaves it out of its key
    would give it to all who ask for the page without it.
    """
    policies = {"/list": CachePolicy(max_age=60, query=["page", "sort[by]", "a b"])}
    for query in ("p%61ge=2", "sort=a&%70age", "sort%5bby%5d=x", "page=1&pag%65=2"):
        reply = site.ask(f"/list?{query}", policies=policies)
        assert (reply.status_code, reply.headers["cache-control"]) == (200, "private"), query
    for query in ("page=p%61ge", "sort[by]=x&sort%5Bby%5D=x", "a+b=1&a%20b=2", "other%61=1"):
        reply = site.ask(f"/list?{query}", policies=policies)
        assert reply.headers["cache-control"] == "public, max-age=60", query


def test_the_visitor_is_sent_to_the_normal_form(site: Site) -> None:
    """If that is asked for: by a lasting redirect that is kept no longer than the page."""
    policy = CachePolicy(max_age=60, query=["page"], query_redirect=True, tags=["lists"])
    places = {
        "/shop/list?utm_source=x&page=2": "/shop/list?page=2",
        "/shop/list?utm_source=x": "/shop/list",
        "/shop/?b=1&page=1": "/shop/?page=1",
        "/shop/caf%C3%A9:1?x": "/shop/caf%C3%A9:1",
    }
    for asked, target in places.items():
        reply = site.ask(asked, policies={"/shop/": policy})
        assert (reply.status_code, reply.headers["cache-control"]) == (308, "public, max-age=60")
        assert reply.headers["cache-tag"] == "lists"
        assert str(reply.url.join(reply.headers["location"])) == f"http://shop{target}"
        assert site.ask(target, policies={"/shop/": policy}).status_code == 200
    assert site.ask("/shop/list?x=1", method="POST", policies={"/shop/": policy}).status_code == 200


def test_a_redirect_stays_on_its_host() -> None:
    """Whatever the path looks like, and whatever is in the query."""
    for path in ("//evil.example/x", "//evil.example", "/a:b", "/%2F%2Fevil.example"):
        for query in ("", "a=//evil.example", "a=\r\nSet-Cookie: b"):
            target = location(path, query).decode()
            assert "\n" not in target
            joined = httpx.URL(f"http://shop{path}").join(target)
            assert (joined.host, joined.raw_path.partition(b"?")[0][-4:]) == ("shop", path.encode()[-4:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "lets nobody keep anything"),
        ({"max_age": 0, "cdn_max_age": 0.5}, "lets nobody keep anything"),
        ({"max_age": -1}, "max_age=-1"),
        ({"max_age": "60"}, "max_age='60'"),
        ({"max_age": 60, "stale_if_error": float("inf")}, "stale_if_error"),
        ({"max_age": 60, "tags": "news"}, "tags= must be a list"),
        ({"max_age": 60, "tags": ["two words"]}, "is no tag"),
        ({"max_age": 60, "tags": ["a,b"]}, "is no tag"),
        ({"max_age": 60, "tags": ["x" * 257]}, "is no tag"),
        ({"max_age": 60, "tags": ["{0}"]}, "braces hold a name"),
        ({"max_age": 60, "vary": ["Cookie"]}, "one visitor's"),
        ({"max_age": 60, "vary": ["*"]}, "one visitor's"),
        ({"max_age": 60, "drop_vary": ["Cookie"]}, "one visitor's"),
        ({"max_age": 60, "drop_vary": ["accept-encoding"]}, "Accept-Encoding"),
        ({"max_age": 60, "vary": ["X-A"], "drop_vary": ["x-a"]}, "vary="),
        ({"max_age": 60, "ignore_cookies": "session"}, "ignore_cookies= must be a list"),
        ({"max_age": 60, "query": "page"}, "query= must be a list"),
        ({"max_age": 60, "query_redirect": True}, "query_redirect=True needs query="),
    ],
)
def test_wrong_policies_are_refused_when_they_are_built(options: dict[str, Any], message: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigurationError) as refused:
        CachePolicy(**options)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"policies": {"about": NEWS}},
        {"policies": {"/about?x": NEWS}},
        {"policies": {"/about/{": NEWS}},
        {"policies": {"/{a}/{a}": NEWS}},
        {"policies": {"/about": 60}},
        {"policies": [NEWS]},
        {"policies": {"/about": CachePolicy(max_age=1, tags=["product:{sku}"])}},
        {"others": "public"},
        {"cdn_headers": ["Cache-Control"]},
        {"cdn_headers": "CDN-Cache-Control"},
        {"tag_headers": ["Two Words"]},
        {"max_tags": 0},
    ],
)
def test_wrong_options_are_refused_at_start_up(options: dict[str, Any]) -> None:
    """By both middlewares, with the option's name."""
    for middleware, app in (
        (asgi.PolicyMiddleware, _asgi(Answer())),
        (wsgi.PolicyMiddleware, _wsgi(Answer())),
    ):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            middleware(app, **options)  # type: ignore[operator]


def test_generators_are_refused() -> None:
    """What they do comes after the headers: nobody would notice that they read a session, or fail."""

    def generator() -> Any:
        yield ""

    async def asynchronous() -> Any:
        yield ""

    for endpoint in (generator, asynchronous):
        with pytest.raises(ConfigurationError, match="is a generator"):
            NEWS(endpoint)


def test_the_wrong_interface_is_told_at_start_up() -> None:
    """An application of the other kind."""
    with pytest.raises(ConfigurationError, match=r"scalekit\.cdn\.asgi"):
        wsgi.PolicyMiddleware(_asgi(Answer()))
    with pytest.raises(ConfigurationError, match=r"scalekit\.cdn\.wsgi"):
        asgi.PolicyMiddleware(_wsgi(Answer()))


def test_the_log_says_why(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """At the level DEBUG, for who wonders why nothing is kept; without what is in the cookie."""
    caplog.set_level(logging.DEBUG, "scalekit.cdn")
    site.ask("/a", Answer([("Set-Cookie", "token=hidden")]), policies={"/a": NEWS})
    site.ask("/b", headers={"Cookie": "token=hidden"}, policies={"/b": NEWS})
    site.ask("/c", Answer([("Cache-Control", "no-store")]), policies={"/c": NEWS})
    assert caplog.messages == [
        "'/a' is private: it sets a cookie",
        "'/b' is private: the request has the cookie 'token', which is not in ignore_cookies=",
        "'/c' is left as it is: its Cache-Control says no-store",
    ]
