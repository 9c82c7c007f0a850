"""The HTTP rules that pieces share: cookies, Vary, Cache-Control, and the border of WSGI."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit._http import (
    Cookie,
    from_wsgi,
    get,
    make_private,
    matches_etag,
    read_cookie,
    replace,
    request_headers,
    to_wsgi,
    vary_on,
)
from scalekit.errors import ConfigurationError
from scalekit.types import Headers


def test_a_cookie_under_https_is_secure_and_bound_to_its_host() -> None:
    """`__Host-`, Secure, HttpOnly and SameSite=Lax are the defaults under HTTPS."""
    value = Cookie().set("abc", https=True, max_age=60)
    assert value == b"__Host-session=abc; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax"


def test_a_cookie_under_plain_http() -> None:
    """Without HTTPS a browser would refuse `__Host-` and Secure; the cookie works without, in development."""
    assert Cookie().set("abc", https=False) == b"session=abc; Path=/; HttpOnly; SameSite=Lax"


def test_secure_can_be_forced() -> None:
    """`secure=True` holds behind a proxy that ends TLS; `secure=False` wins over the scheme."""
    assert Cookie(secure=True).set("a", https=False).startswith(b"__Host-session=a; Path=/; Secure")
    assert Cookie(secure=False).set("a", https=True).startswith(b"session=a; Path=/; HttpOnly")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "__Host-session"),
        ({"host_prefix": False}, "session"),
        ({"path": "/app"}, "session"),
        ({"domain": "example.com"}, "session"),
        ({"name": "__Secure-id", "secure": True}, "__Secure-id"),
        ({"name": "__Host-id", "secure": True}, "__Host-id"),
    ],
)
def test_the_host_prefix_is_added_where_it_may_be(options: dict[str, Any], name: str) -> None:
    """The prefix is added under HTTPS unless a Path, a Domain, another prefix or the user forbids it."""
    assert Cookie(**options).name_for(https=True) == name


def test_all_attributes() -> None:
    """Domain, SameSite=None and Partitioned are written as browsers read them."""
    cookie = Cookie(domain="example.com", secure=True, same_site="none", partitioned=True, http_only=False)
    assert cookie.set("a", https=True) == (
        b"session=a; Path=/; Domain=example.com; Secure; SameSite=None; Partitioned"
    )


@pytest.mark.parametrize(
    "cookie",
    [
        Cookie(),
        Cookie(domain="example.com", path="/app", secure=True, same_site="none", partitioned=True),
        Cookie(http_only=False, same_site="strict"),
    ],
)
def test_a_deletion_repeats_every_attribute(cookie: Cookie) -> None:
    """A cookie is deleted by one of the same name and attributes, empty and expired."""
    parts = cookie.set("value", https=True).split(b"; ")
    deletion = cookie.delete(https=True).split(b"; ")
    assert deletion[0] == parts[0].removesuffix(b"value")
    assert set(parts[1:]) <= set(deletion)
    assert b"Max-Age=0" in deletion
    assert b"Expires=Thu, 01 Jan 1970 00:00:00 GMT" in deletion


@pytest.mark.parametrize(
    "options",
    [
        {"name": "__Host-id"},
        {"name": "__Host-id", "secure": True, "domain": "example.com"},
        {"name": "__Host-id", "secure": True, "path": "/app"},
        {"name": "__host-id"},
        {"name": "__Secure-id"},
        {"name": "__SECURE-id", "secure": False},
        {"same_site": "none"},
        {"same_site": "Lax"},
        {"partitioned": True},
        {"name": ""},
        {"name": "a b"},
        {"name": "a=b"},
        {"name": "schlüssel"},
        {"path": "app"},
        {"path": "/; Domain=evil.example"},
        {"domain": "example.com; Secure"},
        {"domain": "exämple.com"},
        {"domain": ""},
        {"domain": "a\r\nSet-Cookie: b"},
    ],
)
def test_an_impossible_cookie_fails_at_start_up(options: dict[str, Any]) -> None:
    """What browsers refuse, and what could smuggle an attribute or a header, is an error when built."""
    with pytest.raises(ConfigurationError):
        Cookie(**options)


@pytest.mark.parametrize("value", ["a;b", 'a"b', "a b", "a,b", "a\\b", "a\nb", "ä", "a\x00"])
def test_a_value_that_is_no_cookie_value_is_refused(value: str) -> None:
    """A value that could end the cookie or the header is never written."""
    with pytest.raises(ValueError, match="RFC 6265"):
        Cookie().set(value, https=True)


@given(st.text("!#$%&'()*+-./0123456789:<=>?@ABCXYZ[]^_`abcxyz{|}~"))
def test_what_is_set_can_be_read(value: str) -> None:
    """A value comes back as it was set, among others."""
    pair = Cookie().set(value, https=False).split(b"; ")[0]
    assert read_cookie([(b"cookie", b"a=1; " + pair + b"; b=2")], "session") == value


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (b"session=1", "1"),
        (b"session=1; session=2", "1"),
        (b"other=session=5; session=1", "1"),
        (b"xsession=5; session=1", "1"),
        (b'session="quoted"', "quoted"),
        (b" session = spaced ", "spaced"),
        (b"session=a=b", "a=b"),
        (b"session=", ""),
        (b"session=\xff\xfe", "\xff\xfe"),
        (b"session", None),
        (b"SESSION=1", None),
        (b"", None),
        (b";;;", None),
    ],
)
def test_reading_cookies(header: bytes, value: str | None) -> None:
    """The first of a name counts, names match exactly, and no bytes are an error."""
    assert read_cookie([(b"host", b"session=9"), (b"cookie", header)], "session") == value


def test_cookies_may_come_in_several_headers() -> None:
    """HTTP/2 may split the Cookie header."""
    assert read_cookie([(b"cookie", b"a=1"), (b"cookie", b"session=2")], "session") == "2"


@given(st.binary())
def test_no_header_is_an_error(header: bytes) -> None:
    """Whatever a client sends, reading a cookie gives a string or nothing."""
    assert isinstance(read_cookie([(b"cookie", header)], "a"), str | None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], b"cookie"),
        ([(b"vary", b"Accept")], b"Accept, cookie"),
        ([(b"Vary", b"accept"), (b"vary", b"Origin")], b"accept, Origin, cookie"),
        ([(b"vary", b"Accept, Cookie")], b"Accept, Cookie"),
        ([(b"vary", b"*")], b"*"),
    ],
)
def test_vary_is_merged(before: Headers, after: bytes) -> None:
    """A field is added to what the application varies on, once, and not where everything varies."""
    headers = [*before, (b"x", b"1")]
    vary_on(headers, b"cookie")
    assert get(headers, b"vary") == after
    assert get(headers, b"x") == b"1"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], b"private"),
        ([(b"cache-control", b"max-age=60")], b"max-age=60, private"),
        ([(b"Cache-Control", b"public, max-age=60")], b"max-age=60, private"),
        ([(b"cache-control", b"max-age=60, s-maxage=600")], b"max-age=60, private"),
        ([(b"cache-control", b"Public"), (b"cache-control", b"max-age=1")], b"max-age=1, private"),
        ([(b"cache-control", b"private, max-age=60")], b"private, max-age=60"),
        ([(b"cache-control", b"no-store")], b"no-store"),
        ([(b"cache-control", b"no-cache")], b"no-cache, private"),
        ([(b"cache-control", b'private="x-user"')], b'private="x-user", private'),
    ],
)
def test_cache_control_is_never_weakened(before: Headers, after: bytes) -> None:
    """What shared caches may store becomes private; what the application forbids stays forbidden."""
    headers = [*before, (b"x", b"1")]
    make_private(headers)
    assert get(headers, b"cache-control") == after
    assert get(headers, b"x") == b"1"


@pytest.mark.parametrize(
    ("name", "value", "stays"),
    [
        (b"CDN-Cache-Control", b"public, max-age=60", False),
        (b"cloudflare-cdn-cache-control", b"max-age=60", False),
        (b"Surrogate-Control", b"max-age=60", False),
        (b"Edge-Control", b"!no-store, max-age=1d", False),
        (b"x-accel-expires", b"60", False),
        (b"access-control-max-age", b"60", True),
    ],
)
def test_no_cache_is_told_otherwise(name: bytes, value: bytes, stays: bool) -> None:
    """A header that overrides Cache-Control for a CDN would let it store what is private."""
    headers = [(name, value)]
    make_private(headers)
    assert ((name, value) in headers, get(headers, b"cache-control")) == (stays, b"private")


def test_replace_drops_every_earlier_value() -> None:
    """A header that is replaced appears once, whatever its case was."""
    headers = [(b"Vary", b"a"), (b"x", b"1"), (b"vary", b"b")]
    replace(headers, b"vary", b"c")
    assert headers == [(b"x", b"1"), (b"vary", b"c")]


def test_wsgi_headers_and_back() -> None:
    """A WSGI header list survives the way to ASGI's shape and back, latin-1 included."""
    headers = [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=ÿ")]
    assert from_wsgi(headers)[2] == (b"set-cookie", b"b=\xff")
    assert to_wsgi(from_wsgi(headers)) == headers


def test_request_headers_of_an_environ() -> None:
    """A WSGI environ holds the request's headers; nothing else of it is one."""
    environ = {"HTTP_COOKIE": "a=1", "HTTP_X_FORWARDED_FOR": "x", "CONTENT_TYPE": "text/plain", "PATH": "/"}
    assert sorted(request_headers({**environ, "CONTENT_LENGTH": ""})) == [
        (b"content-type", b"text/plain"),
        (b"cookie", b"a=1"),
        (b"x-forwarded-for", b"x"),
    ]


@pytest.mark.parametrize(
    ("asked", "etag", "expected"),
    [
        (None, b'"a"', False),
        (b'"a"', b'"a"', True),
        (b'W/"a"', b'"a"', True),
        (b'"a"', b'W/"a"', True),
        (b'"b" , "a"', b'"a"', True),
        (b"*", b'"a"', True),
        (b'"b"', b'"a"', False),
        (b"", b'"a"', False),
    ],
)
def test_an_entity_tag_that_is_known_is_found(asked: bytes | None, etag: bytes, expected: bool) -> None:
    """If-None-Match is a list, or anything; weak tags and strong ones are compared alike."""
    assert matches_etag(asked, etag) is expected
