"""The origin shield: who gets in, what is believed of them, and what nobody ever sees."""

import asyncio
import json
import logging
import re
from typing import Any

import pytest

from scalekit.cdn import Shield, asgi, wsgi
from scalekit.errors import ConfigurationError
from tests.cdn.drivers import Reply, call_asgi, call_wsgi

OLD, NEW = "the-secret-of-last-year-0123", "the-secret-of-this-year-4567"


class Origin:
    """An application behind either middleware, which answers what it sees."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def ask(self, shield: Shield, path: str = "/", *, method: str = "GET", **headers: str) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.name == "wsgi":
            return call_wsgi(wsgi.ShieldMiddleware(_wsgi, shield=shield), path, method=method, headers=sent)
        app = asgi.ShieldMiddleware(_asgi, shield=shield)
        return asyncio.run(call_asgi(app, path, method=method, headers=sent))


def _wsgi(environ: Any, start_response: Any) -> list[bytes]:
    seen = {
        "client": environ.get("REMOTE_ADDR"),
        "scheme": environ["wsgi.url_scheme"],
        "host": environ.get("HTTP_HOST"),
        "headers": [key[5:].lower().replace("_", "-") for key in environ if key.startswith("HTTP_")],
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]


async def _asgi(scope: Any, receive: Any, send: Any) -> None:
    headers = dict(scope["headers"])
    seen = {
        "client": scope["client"][0] if "client" in scope else None,
        "scheme": scope.get("scheme", "http"),
        "host": headers[b"host"].decode() if b"host" in headers else None,
        "headers": [name.decode() for name in headers],
    }
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"application/json")],
    }
    await send(start)
    await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


@pytest.fixture(params=["asgi", "wsgi"])
def origin(request: pytest.FixtureRequest) -> Origin:
    return Origin(request.param)


@pytest.mark.parametrize("said", [{}, {"x_origin_secret": "a guess"}, {"x_origin_secret": ""}])
def test_only_the_cdn_gets_in(origin: Origin, said: dict[str, str]) -> None:
    """Without the secret, or with a wrong one: 403 in plain text that nobody keeps."""
    shield = Shield(secret=NEW)
    reply = origin.ask(shield, **said)
    assert (reply.status, reply.body) == (403, b"Forbidden\n")
    assert reply.headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": "10",
        "cache-control": "no-store",
    }
    assert origin.ask(shield, method="HEAD", **said).body == b""
    assert origin.ask(shield, x_origin_secret=NEW).status == 200


@pytest.mark.parametrize("secret", [NEW, NEW[:-1], NEW + "x", NEW.upper(), NEW + ", " + NEW, "é" * 20])
def test_only_the_whole_secret_will_do(origin: Origin, secret: str) -> None:
    """Neither a part of it nor more; neither in other letters nor twice."""
    wire = secret.encode().decode("latin-1") if origin.name == "wsgi" else secret
    assert origin.ask(Shield(secret=NEW), x_origin_secret=wire).status == (200 if secret == NEW else 403)


def test_a_secret_that_came_twice_is_none() -> None:
    """A visitor may have added one; a CDN puts its own in the place of that."""
    shield = Shield(secret=NEW)
    one = (b"x-origin-secret", NEW.encode())
    assert shield.admits("/", [one]) is True
    assert shield.admits("/", [one, one]) is shield.admits("/", [(one[0], b"guess"), one]) is False


def test_two_secrets_are_valid_while_one_takes_over(origin: Origin) -> None:
    """Each as good as the other; the counts say when nobody says the old one any more."""
    shield = Shield(secret=[OLD, NEW], header="X-Edge")
    assert [origin.ask(shield, x_edge=secret).status for secret in (OLD, NEW, NEW, "neither")] == [
        200
    ] * 3 + [403]
    assert shield.counts.as_dict() == {"secret 1": 1, "secret 2": 2, "wrong": 1}


def test_the_application_never_sees_the_secret(origin: Origin) -> None:
    """Nor does what it logs or passes on: the header is gone, on exempt paths and when it is wrong, too."""
    shield = Shield(secret=NEW)
    assert json.loads(origin.ask(shield, x_origin_secret=NEW, x_other="1").body)["headers"] == ["x-other"]
    for secret in (NEW, "wrong"):
        assert json.loads(origin.ask(shield, "/health/live", x_origin_secret=secret).body)["headers"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health/live", 200),
        ("/health/ready", 200),
        ("/health/", 200),
        ("/health", 403),
        ("/healthy", 403),
        ("/", 403),
        ("/health/../admin", 403),
        ("/health/%2e%2e/admin", 403),
        ("/health/./live", 403),
        ("/health//admin", 403),
        ("/health/x/..", 403),
    ],
)
def test_health_paths_are_exempt(origin: Origin, path: str, status: int) -> None:
    """The balancer is no CDN. What climbs out of such a path is not below it."""
    assert origin.ask(Shield(secret=NEW), path).status == status


def test_paths_of_ones_own_are_exempt(origin: Origin) -> None:
    """One, all below one, or one with a place in it; none, if that is what is given."""
    shield = Shield(secret=NEW, exempt=["/ping", "/hooks/{name}"])
    asked = ["/ping", "/ping/", "/hooks/pay", "/hooks/", "/hooks/pay/x", "/health/live"]
    assert [origin.ask(shield, path).status for path in asked] == [200, 403, 200, 403, 403, 403]
    assert origin.ask(Shield(secret=NEW, exempt=()), "/health/live").status == 403


@pytest.mark.parametrize(
    ("header", "hops", "value", "client"),
    [
        ("X-Forwarded-For", 1, "198.51.100.7", "198.51.100.7"),
        ("X-Forwarded-For", 1, "1.1.1.1, 198.51.100.7", "198.51.100.7"),
        ("X-Forwarded-For", 2, "1.1.1.1, 198.51.100.7, 10.0.0.1", "198.51.100.7"),
        ("X-Forwarded-For", 2, "198.51.100.7", None),
        ("X-Forwarded-For", 1, "198.51.100.7, unknown", None),
        ("X-Forwarded-For", 1, "198.51.100.7,", None),
        ("X-Forwarded-For", 1, "198.51.100.7:41234", "198.51.100.7"),
        ("X-Forwarded-For", 1, "2001:db8::1", "2001:db8::1"),
        ("X-Forwarded-For", 1, "[2001:db8::1]:41234", "2001:db8::1"),
        ("X-Forwarded-For", 1, "[2001:db8::1]", "2001:db8::1"),
        ("X-Forwarded-For", 1, "::ffff:198.51.100.7", "198.51.100.7"),
        ("X-Forwarded-For", 1, "fe80::1%eth0", None),
        ("X-Forwarded-For", 1, "198.51.100.7:99999", None),
        ("CloudFront-Viewer-Address", 1, "198.51.100.7:46532", "198.51.100.7"),
        ("CloudFront-Viewer-Address", 1, "2001:db8::1:46532", "2001:db8::1"),
        ("CloudFront-Viewer-Address", 1, "2001:0db8:0000:0000:0000:0000:0000:0001:443", "2001:db8::1"),
        ("CloudFront-Viewer-Address", 1, "198.51.100.7", None),
        ("CloudFront-Viewer-Address", 1, "1.1.1.1:1, 198.51.100.7:46532", None),
        ("Fastly-Client-IP", 1, "198.51.100.7", "198.51.100.7"),
        ("Fastly-Client-IP", 1, "1.1.1.1, 198.51.100.7", None),
        ("True-Client-IP", 1, "2001:DB8::1", "2001:db8::1"),
        ("True-Client-IP", 1, "' or 1=1", None),
        ("CF-Connecting-IP", 1, "", None),
    ],
)
def test_the_visitors_address(origin: Origin, header: str, hops: int, value: str, client: str | None) -> None:
    """From the CDN's header, in each of the forms that there are. What is no address changes nothing."""
    shield = Shield(secret=NEW, client=header, hops=hops)
    said = {header.lower().replace("-", "_"): value}
    assert json.loads(origin.ask(shield, x_origin_secret=NEW, **said).body)["client"] == client
    assert shield.counts["no address"] == (client is None)


def test_an_address_that_came_in_two_lines_of_a_list() -> None:
    """Lines of one list are one list; two lines of another header are none."""
    shield = Shield(secret=NEW, client="X-Forwarded-For")
    lines = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"198.51.100.7")]
    assert shield.visitor(lines).client == ("198.51.100.7", 0)
    shield = Shield(secret=NEW, client="True-Client-IP")
    assert shield.visitor([(b"true-client-ip", b"1.1.1.1"), (b"true-client-ip", b"1.1.1.2")]).client is None


def test_scheme_and_host(origin: Origin) -> None:
    """Taken over where that is asked for, if they are such."""
    shield = Shield(secret=NEW, scheme="X-Forwarded-Proto", host="X-Forwarded-Host")
    said = {"x_origin_secret": NEW, "host": "origin"}
    good = origin.ask(shield, **said, x_forwarded_proto="https", x_forwarded_host="shop.example:8443")
    assert json.loads(good.body) | {"headers": []} == {
        "client": None,
        "scheme": "https",
        "host": "shop.example:8443",
        "headers": [],
    }
    for proto, host in (("javascript", "a b"), ("https, http", "a.example, b.example"), ("", "a/b@c")):
        seen = json.loads(origin.ask(shield, **said, x_forwarded_proto=proto, x_forwarded_host=host).body)
        assert (seen["scheme"], seen["host"]) == ("http", "origin")
    assert (
        json.loads(origin.ask(Shield(secret=NEW), **said, x_forwarded_proto="https").body)["scheme"] == "http"
    )


def test_nothing_is_believed_of_others(origin: Origin) -> None:
    """On a path that is exempt anybody may ask: they cannot choose their address, scheme or host there."""
    shield = Shield(secret=NEW, client="True-Client-IP", scheme="X-Proto", host="X-Host")
    said = {"true_client_ip": "127.0.0.1", "x_proto": "https", "x_host": "admin.example", "host": "origin"}
    seen = json.loads(origin.ask(shield, "/health/live", **said).body)
    assert (seen["client"], seen["scheme"], seen["host"]) == (None, "http", "origin")
    seen = json.loads(origin.ask(shield, "/health/live", x_origin_secret=NEW, **said).body)
    assert (seen["client"], seen["scheme"], seen["host"]) == ("127.0.0.1", "https", "admin.example")


def test_a_header_that_servers_drop() -> None:
    """With an underscore it would never come under WSGI, and everybody would be locked out."""
    with pytest.raises(ConfigurationError, match=r"header='X_Origin_Secret' has a '_'.*write '-'"):
        Shield(secret=NEW, header="X_Origin_Secret")


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        ("short", "at least 16"),
        (["short", NEW], "secret number 1 has 5 bytes"),
        ([], "empty list"),
        (None, "secret is None"),
        ([NEW, NEW], "number 2 is an earlier one again"),
        ("abababababababababab", "different characters"),
        ("a secret with spaces in it", "cannot bring"),
        ("ein-geheimnis-für-uns-alle", "cannot bring"),
    ],
)
def test_weak_secrets_are_refused_at_start_up(secret: Any, message: str) -> None:
    """Short, repeated, or none that a header can bring; the message does not quote it."""
    with pytest.raises(ConfigurationError, match=re.escape(message)) as refused:
        Shield(secret=secret)
    assert NEW not in str(refused.value)
    assert "abab" not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        {"header": "X Secret"},
        {"header": "Authorization"},
        {"header": ""},
        {"client": "X-Origin-Secret"},
        {"client": "no:name"},
        {"scheme": "X", "host": "x"},
        {"hops": 0},
        {"exempt": "/health/"},
        {"exempt": ["health"]},
        {"exempt": ["/a/{b"]},
    ],
)
def test_wrong_options_are_refused_at_start_up(options: dict[str, Any]) -> None:
    """Each with a message that names it."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Shield(secret=NEW, **options)


def test_no_secret_is_ever_shown(origin: Origin, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in a repr nor in the log, be it right or wrong. The first refusal of a kind is a warning."""
    from starlette.middleware import Middleware

    caplog.set_level(logging.DEBUG)
    shield = Shield(secret=[OLD, NEW])
    for secret in (NEW, "a-wrong-one-of-a-visitor", "a-wrong-one-of-a-visitor"):
        origin.ask(shield, "/admin", x_origin_secret=secret)
    origin.ask(shield, "/admin")
    shown = [
        caplog.text,
        repr(shield),
        repr(Middleware(asgi.ShieldMiddleware, shield=shield)),
        repr(shield.counts),
    ]
    assert not any(secret in text for text in shown for secret in (OLD, NEW, "a-wrong-one"))
    told = [(record.levelname, "/admin" in record.getMessage()) for record in caplog.records]
    assert [one for one in told if one[1]] == [("WARNING", True), ("DEBUG", True), ("WARNING", True)]


def test_the_wrong_interface_is_told_at_start_up() -> None:
    """An application of the other kind, or no shield."""
    with pytest.raises(ConfigurationError, match=r"scalekit\.cdn\.asgi"):
        wsgi.ShieldMiddleware(_asgi, shield=Shield(secret=NEW))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"scalekit\.cdn\.wsgi"):
        asgi.ShieldMiddleware(_wsgi, shield=Shield(secret=NEW))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="shield= must be a Shield"):
        asgi.ShieldMiddleware(_asgi, shield=NEW)  # type: ignore[arg-type]


async def socket(extensions: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> list[Any]:
    """What is sent for a web socket, and what the application has seen."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept", "seen": (scope["client"], scope["scheme"], scope["headers"])})

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    shield = Shield(secret=NEW, client="True-Client-IP", scheme="X-Proto")
    scope = {"type": "websocket", "path": "/chat", "headers": headers, "extensions": extensions}
    await asgi.ShieldMiddleware(app, shield=shield)(
        scope | {"scheme": "ws", "client": ("10.0.0.1", 1)}, receive, send
    )
    return sent


async def test_web_sockets_are_refused_alike() -> None:
    """Closed before the handshake, of which servers make a 403; or a 403 where the server can send one."""
    assert await socket({}, []) == [{"type": "websocket.close", "code": 1008}]
    start, body = await socket({"websocket.http.response": {}}, [(b"x-origin-secret", b"guess")])
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
    assert body == {"type": "websocket.http.response.body", "body": b"Forbidden\n"}


async def test_web_sockets_through_the_cdn() -> None:
    """With the visitor's address, the secure scheme of theirs, and without the secret."""
    said = [(b"x-origin-secret", NEW.encode()), (b"true-client-ip", b"198.51.100.7"), (b"x-proto", b"https")]
    (message,) = await socket({}, said)
    assert message["seen"] == (("198.51.100.7", 0), "wss", said[1:])


async def test_the_server_may_start_behind_it() -> None:
    """The lifespan is no request."""
    kinds = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        kinds.append(scope["type"])

    await asgi.ShieldMiddleware(app, shield=Shield(secret=NEW))({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert kinds == ["lifespan"]
