"""What a request brings and its response takes along: tokens, and who visits. No server needed."""

import logging
import time
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.database import Cluster, Cookie, Token, TokenSigner, by_client, by_cookie
from scalekit.database.report import Report
from scalekit.database.scope import Seen
from scalekit.database.scopes import Scopes
from scalekit.database.starts import Starts
from scalekit.database.tokens import Reached
from scalekit.database.visits import Visit, Visits
from scalekit.errors import ConfigurationError
from scalekit.types import Headers
from tests.database._tokens import token

SECRET = "a secret that is long enough"
signer = TokenSigner(SECRET)


def visits(**options: Any) -> Visits:
    return Visits(Scopes(), secret_key=SECRET, **options)


def begin(
    made: Visits, *headers: tuple[bytes, bytes], address: str | None = "10.0.0.1", **options: Any
) -> Visit:
    options = {"method": "GET", "path": "/", "https": False, **options}
    return made.begin(list(headers), address=address, **options)


def answer(made: Visits, visit: Visit, *headers: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    found: Headers = list(headers)
    made.answer(visit, found, https=False)
    assert len(dict(found)) == len(found)
    return dict(found)


def cookie(wanted: Token | str) -> tuple[bytes, bytes]:
    text = wanted if isinstance(wanted, str) else signer.dumps(wanted)
    return b"cookie", f"theme=dark; rw={text}".encode()


def header(wanted: Token | str) -> tuple[bytes, bytes]:
    return b"x-rw", (wanted if isinstance(wanted, str) else signer.dumps(wanted)).encode()


def shows(position: int) -> Seen:
    """A replica that had come as far as that when its probe asked, and not when the connection was opened."""
    then, now = (
        Mock(Report, reached=Reached("pg:1", {"1": at}), epoch=1, server="one") for at in (1, position)
    )
    return Seen(Mock(health=Mock(report=now)), then, 0, 0)


def test_pages_that_only_read_set_no_cookie() -> None:
    """4. Not even for a visitor who holds a token and has read more than that: the page stays cacheable."""
    made = visits()
    for sent in ((), (cookie(token(1, 5)),)):
        visit = begin(made, *sent)
        visit.saw(shows(9))
        public = (b"cache-control", b"public, max-age=60")
        assert answer(made, visit, public) == dict([public])
    visit = begin(made, cookie(token(1, 5)))
    visit.advance(token(1, 7))
    written = answer(made, visit)
    assert signer.loads(written[b"set-cookie"].decode().partition("=")[2].partition(";")[0]) == token(1, 7)
    assert written[b"cache-control"] == b"private"


def test_a_client_without_cookies() -> None:
    """4. A header carries the token: in each answer to whoever sent one, and in the answer to a write. What
    was only read advances it for those who hold one, and for nobody else."""
    made = visits(header="X-RW", cookie=None)
    assert answer(made, begin(made)) == {}
    reader = begin(made)
    reader.saw(shows(9))
    assert answer(made, reader) == {}
    writer = begin(made, method="POST")
    writer.advance(token(1, 5))
    first = answer(made, writer)
    assert set(first) == {b"x-rw", b"cache-control"}
    holder = begin(made, header(first[b"x-rw"].decode()))
    assert holder.token == token(1, 5)
    again = answer(made, holder)
    assert again[b"cache-control"] == b"private"
    assert signer.loads(again[b"x-rw"].decode()) == token(1, 5)
    for shown, promised in ((9, 9), (2, 5)):
        reading = begin(made, header(token(1, 5)))
        reading.saw(shows(shown))
        assert signer.loads(answer(made, reading)[b"x-rw"].decode()) == token(1, promised)


def test_both_ways_at_once() -> None:
    """4. A page and its scripts: the later of both counts, and a write is told to both."""
    made = visits(header="X-RW")
    visit = begin(made, cookie(token(1, 5)), header(token(1, 3)))
    assert visit.token == token(1, 5)
    assert begin(made, cookie(token(1, 3)), header(token(1, 5))).token == token(1, 5)
    visit.advance(token(1, 8))
    assert set(answer(made, visit)) == {b"x-rw", b"set-cookie", b"cache-control"}
    assert begin(visits(), header(token(1, 5))).token is None, "a header that nobody asked for"


def test_a_position_that_nobody_knows_expires() -> None:
    """21. Its header goes back as it came: asking for new ones keeps no client on the primary for ever."""
    made = visits(header="X-RW")
    text = signer.dumps(Token.unknown("pg:1", 1))
    visit = begin(made, header(text))
    visit.saw(shows(9))
    assert answer(made, visit)[b"x-rw"] == text.encode()


@given(st.one_of(st.binary(max_size=60), st.integers(640, 2_000).map(lambda size: b"2." * size)))
def test_forged_and_huge_tokens(text: bytes) -> None:
    """21. In the cookie or in the header, they pin nobody, and are not sent back."""
    made = visits(header="X-RW")
    visit = begin(made, (b"cookie", b"rw=" + text), (b"x-rw", text))
    assert visit.token is None
    assert not visit.writes
    assert answer(made, visit) == {}


def test_a_cookie_that_somebody_planted_hides_nothing() -> None:
    """21. Another host of the domain, or a longer path, may set a cookie of that name, which comes first."""
    made = visits()
    planted = b"rw=forged; rw=" + signer.dumps(token(1, 5)).encode() + b"; rw=2.0"
    assert begin(made, (b"cookie", planted)).token == token(1, 5)


def test_clocks_that_differ(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """21. A server whose clock is ahead, or behind by less than max_age, loses nobody's writes. By more it
    does, and the log says so, once: a browser would have dropped the cookie in time."""
    now = time.time()
    made = visits()

    def signed_at(offset: float) -> tuple[bytes, bytes]:
        with monkeypatch.context() as patch:
            patch.setattr("scalekit.database.tokens.time.time", lambda: now + offset)
            return cookie(token(1, 5))

    for offset in (-590, -60, 0, 60, 86_400):
        assert begin(made, signed_at(offset)).token == token(1, 5), offset
    with caplog.at_level(logging.WARNING, "scalekit.database"):
        assert begin(made, signed_at(-605)).token is None
        assert not caplog.messages, "on its way when it expired"
        for _ in range(2):
            assert begin(made, signed_at(-700)).token is None
        assert (
            begin(visits(header="X-RW"), header(signed_at(-700)[1].decode().partition("rw=")[2])).token
            is None
        )
    (message,) = caplog.messages
    assert "100 s after it expired" in message
    assert "clocks" in message


def test_a_visitor_is_the_same_on_every_server() -> None:
    """4. By the address and the browser, or by what authorises them; the same for all who share the code."""
    here, there = visits(), visits(max_age=60)
    browser = (b"user-agent", b"a browser")
    behind_proxy = (b"x-forwarded-for", b"10.0.0.1, 192.168.0.7")
    key = (b"authorization", b"Bearer one")
    first = begin(here, browser).visitor
    assert begin(there, browser).visitor == first
    assert begin(there, browser, behind_proxy, address="192.168.0.9").visitor == first
    assert begin(here, browser, address="10.0.0.2").visitor != first
    assert begin(here, (b"user-agent", b"another")).visitor != first
    assert begin(here, browser, key).visitor == begin(there, key, address=None).visitor != first
    strangers = {begin(here, browser, address=None).visitor for _ in range(5)}
    assert len(strangers) == 5, "of whom nothing is known, each request is somebody else"


def test_visitors_by_cookie() -> None:
    """4. The application's own cookie, with or without the prefix; without it, the client."""
    made = visits(visitor=by_cookie("session"))
    plain, secure = (b"cookie", b"session=abc"), (b"cookie", b"__Host-session=abc")
    assert begin(made, plain).visitor == begin(made, secure, address="10.0.0.2").visitor
    assert begin(made, (b"cookie", b"session=xyz")).visitor != begin(made, plain).visitor
    assert begin(made).visitor == begin(visits(visitor=by_client)).visitor
    assert begin(visits(visitor=lambda headers, address: "all alike"), plain).visitor is not None


def test_what_is_no_visitor_and_no_token() -> None:
    """21. A number of a user, or a token as it was signed: told where they are passed, without repeating
    them."""
    made = visits(visitor=lambda headers, address: 7)
    with pytest.raises(TypeError, match=r"such as str\(user.id\), not by int"):
        begin(made)
    with Cluster("sqlite://") as cluster:
        with (
            pytest.raises(TypeError, match=r"not str; read one by TokenSigner.loads\(text\)"),
            cluster.scope("2.x"),
        ):
            pass
        with pytest.raises(TypeError, match="not by int"), cluster.scope(visitor=7):  # type: ignore[arg-type]
            pass


def test_where_requests_start() -> None:
    """26. Safe methods on the replicas, others on the primary; exceptions by method and path."""
    starts = Starts(
        {"GET", "QUERY"},
        {
            "POST /search": "reads",
            "/login/*": "writes",
            "POST /login/status/*": "reads",
            "/login/status/*": "writes",
            "GET /login/help": "reads",
            "/*": "reads",
            "delete /*": "writes",
            "/orders/{id}": "writes",
            "/orders/{order_id:int}/items/{item}": "writes",
            "GET /orders/new": "reads",
            "/carts/{id}/*": "writes",
            "/a+*": "writes",
        },
    )
    expected = {
        "POST /search": False, "POST /search/": False, "DELETE /search": True, "GET /login/callback": True,
        "POST /login/status/now": False, "GET /login/status/now": True, "GET /login/help": False,
        "GET /login": False, "PUT /": False, "DELETE /": True,
        "GET /orders/7": True, "GET /orders/7/": False, "GET /orders/": False, "GET /orders/7/items/8": True,
        "GET /orders/7/items/8/9": False, "GET /orders/new": False, "GET /orders/a\nb": True,
        "GET /carts/7": False, "GET /carts/7/": True, "GET /carts/7/a/b": True, "GET /carts//a": False,
        "GET /a+b": True, "GET /aab": False,
    }  # fmt: skip
    found = {request: starts.on_primary(*request.split(" ")) for request in expected}
    assert found == expected
    plain = Starts({"GET", "QUERY"}, {})
    assert [plain.on_primary(method, "/") for method in ("GET", "QUERY", "HEAD", "POST")] == [
        False, False, True, True,
    ]  # fmt: skip


def test_a_request_starts_where_its_route_says() -> None:
    """26. And a scope inside of it starts there too."""
    made = visits(routes={"POST /search": "reads", "/callback": "writes"})
    assert begin(made, method="POST", path="/").writes
    assert not begin(made, method="POST", path="/search").writes
    assert begin(made, path="/callback").writes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cookie": None}, "nothing would carry"),
        ({"cookie": "rw"}, "a Cookie, such as"),
        ({"header": "X RW"}, "no name of an HTTP header"),
        ({"header": 1}, "no name of an HTTP header"),
        ({"visitor": "session"}, r"or by_cookie\(\.\.\.\)"),
        ({"routes": ["/search"]}, "must be a mapping"),
        ({"routes": {"/search": "read"}}, "says 'read' of '/search'; use 'reads' or 'writes'"),
        ({"routes": {"search": "reads"}}, r"has 'search'; write '/path'"),
        ({"routes": {"/a*b": "reads"}}, r"has '/a\*b'"),
        ({"routes": {" /a": "reads"}}, "has ' /a'"),
        ({"routes": {"POST  /a": "reads"}}, "has 'POST  /a'; .* one space after the method"),
        ({"routes": {"POTS /a": "reads"}}, r"POTS is no HTTP method; did you mean POST\?$"),
        ({"routes": {"FOO /a": "reads"}}, "FOO is no HTTP method$"),
        ({"routes": {("POST", "/a"): "reads"}}, "has a tuple as a route; write '/path'"),
        ({"routes": {"/a/<id>": "reads"}}, r"has '/a/<id>'; .*'/orders/{id}'"),
        ({"routes": {"/a/{id": "reads"}}, "has '/a/{id'; write"),
        ({"routes": {"/a/{p:path}": "reads"}}, "has '/a/{p:path}'; .*'/below/\\*'"),
        ({"routes": {"/a/{id}.json": "reads"}}, "has '/a/{id}.json'"),
        ({"safe_methods": "GET"}, "must be a list"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    """26. Found when the middleware is made, in the words of its caller."""
    with pytest.raises(ConfigurationError, match=message):
        visits(**options)
    with pytest.raises(ConfigurationError, match="name of a cookie"):
        by_cookie(Cookie(name="session"))  # type: ignore[arg-type]


def test_a_header_that_came_twice() -> None:
    """1. A proxy's beside the client's, each in a line or in one as WSGI joins them: the later token of those
    that count, and of one that nobody knows the text goes back."""
    made = visits(header="X-RW")
    first, second = header(token(1, 5)), header(token(1, 8))
    joined = (b"x-rw", b"what? ," + second[1] + b",," + first[1])
    for sent in ([first, second], [second, first], [header("forged"), second], [joined], [first, joined]):
        assert begin(made, *sent).token == token(1, 8)
    text = signer.dumps(Token.unknown("pg:1", 1))
    for sent in ([first, header(text)], [header(text), first]):
        visit = begin(made, *sent)
        assert visit.token == token(1, 5).merge(Token.unknown("pg:1", 1))
        assert answer(made, visit)[b"x-rw"] == text.encode()
    many = (b"x-rw", b"," * 60_000 + first[1])
    assert begin(made, many).token is None, "work without end for one who forges"
