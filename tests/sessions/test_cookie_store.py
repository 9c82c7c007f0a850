"""Sessions in the cookie itself: the same interface in every shell, an error for what a cookie cannot do."""

import asyncio
import base64
import datetime as dt
import hmac
import json
from collections.abc import Callable
from typing import Any

import flask
import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware.sessions import SessionMiddleware as StarletteSessions
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit.errors import ConfigurationError, SessionCommitted, SessionError, SessionTooLarge
from scalekit.sessions import Cookie, Loaded
from scalekit.sessions._cookie_format import Format
from scalekit.sessions.asgi import SessionMiddleware, load
from scalekit.sessions.cookie import CookieStore
from scalekit.sessions.events import Events, SessionEvent
from scalekit.sessions.flask import ServerSessionInterface
from scalekit.sessions.tokens import Tokens
from scalekit.sessions.users import UserSessions
from scalekit.sessions.wsgi import SessionMiddleware as WSGISessionMiddleware
from scalekit.testing import check_store
from scalekit.testing.clients import login_async
from tests.sessions.shells import (
    SECRET,
    Answer,
    ASGIShell,
    FlaskShell,
    Shell,
    Visitor,
    WSGIShell,
    drive_asgi,
    make_environ,
    make_scope,
    settled,
)

MINUTE, DAY = 60, 24 * 60 * 60
OTHER_SECRET = "another secret of the tests, long"

MakeShell = Callable[..., Shell]


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(shell_type: type[Shell], clock: Clock) -> MakeShell:
    """A shell of each framework with sessions in cookies."""
    return lambda **options: shell_type(CookieStore(clock=clock), **options)


@pytest.fixture
def visitor(make: MakeShell) -> Visitor:
    return make().visitor()


def test_values_come_back_as_they_were(visitor: Visitor) -> None:
    """18, 26. The same session as over a store: types, nested changes, removal."""
    data = {"n": 1, "when": dt.datetime(2026, 11, 26, tzinfo=dt.UTC), "raw": b"\xff", "ä": [()]}
    visitor(lambda session: session.update(data, tags={"a", "b"}))
    assert visitor(lambda session: [dict(session) == data | {"tags": {"a", "b"}}, session.is_new]) == [
        True,
        False,
    ]
    visitor(lambda session: session["ä"].append("nested"))
    visitor(lambda session: session.pop("tags") and None)
    assert visitor(lambda session: [sorted(session), session["ä"]]) == [
        ["n", "raw", "when", "ä"],
        [[], "nested"],
    ]


def test_another_server_reads_it(make: MakeShell) -> None:
    """Nothing is kept on the server that sent it."""
    visitor = make().visitor()
    visitor(lambda session: session.update(a=1))
    assert Visitor(make(), visitor.cookie)(dict) == {"a": 1}


def test_only_a_change_sends_the_cookie(visitor: Visitor) -> None:
    """1, 11. Neither who comes without a cookie, nor who only reads, is sent one."""
    for handler in (lambda session: None, dict, lambda session: session.user_id):
        assert visitor.visit(handler).set_cookies == []
    visitor(lambda session: session.update(a=[1]))
    for handler in (
        lambda session: None,
        dict,
        lambda session: session["a"],
        lambda session: session.user_id,
    ):
        assert visitor.visit(handler).set_cookies == []
    assert len(visitor.visit(lambda session: session["a"].append(2)).set_cookies) == 1


def test_shared_caches_keep_none_of_it(visitor: Visitor) -> None:
    """23. As over a store."""
    reply = visitor.visit(dict)
    assert ((reply.header("vary") or "").lower(), reply.header("cache-control")) == ("cookie", "private")


def test_logging_in_and_out(visitor: Visitor) -> None:
    """15. What a stranger has gathered stays, what belonged to another user does not; the cookie goes."""
    visitor(lambda session: session.update(cart=["tea"]))
    visitor(lambda session: session.login("ann"))
    who = lambda session: [session.user_id, dict(session)]  # noqa: E731
    assert visitor(who) == ["ann", {"cart": ["tea"]}]
    visitor(lambda session: session.login(7))
    assert visitor(who) == [7, {}]
    reply = visitor.visit(lambda session: session.logout())
    assert reply.set_cookies == [
        "session=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax"
    ]
    assert visitor.cookie is None

    def farewell(session: Any) -> None:
        session.logout()
        session["bye"] = "ann"

    visitor(lambda session: session.login("ann"))
    visitor(farewell)
    assert visitor(who) == [None, {"bye": "ann"}]
    visitor(lambda session: session.login("ann"))
    visitor(lambda session: session.clear())
    assert visitor(who) == [None, {}]
    assert visitor.visit(lambda session: session.logout()).set_cookies == []


def test_the_id_changes_with_the_principal(visitor: Visitor) -> None:
    """15. What is tied to the session's id (a CSRF token) is worth nothing after a log-in or a rotation."""

    def id(session: Any) -> str:
        len(session)
        found: str = session._id
        return found

    visitor(lambda session: session.update(a=1))
    first = visitor(id)
    visitor(lambda session: session.update(a=2))
    assert visitor(id) == first
    visitor(lambda session: session.rotate())
    second = visitor(id)
    visitor(lambda session: session.login("ann"))
    assert len({first, second, visitor(id)}) == 3
    assert visitor(dict) == {"a": 2}


def test_events_are_told(make: MakeShell) -> None:
    """31. As over a store; nobody can be told of a copy that lives on."""
    told: list[tuple[str, Any]] = []

    def note(what: str) -> Callable[[SessionEvent], None]:
        return lambda event: told.append((what, event.user_id))

    names = ("created", "rotated", "destroyed")
    visitor = make(events=Events(**{name: note(name) for name in names})).visitor()
    visitor(lambda session: session.logout())
    assert told == []
    visitor(lambda session: session.update(a=1))
    visitor(lambda session: session.update(a=2))
    visitor(lambda session: session.login("ann"))
    visitor(lambda session: session.rotate())
    visitor(lambda session: session.logout())
    assert told == [("created", None), ("rotated", "ann"), ("rotated", "ann"), ("destroyed", "ann")]


def test_https_has_the_prefix(make: MakeShell) -> None:
    """19. The cookie is as safe as that of any session."""
    visitor = make().visitor(scheme="https")
    reply = visitor.visit(lambda session: session.update(a=1))
    assert reply.set_cookies[0].startswith("__Host-session=")
    assert reply.set_cookies[0].endswith("; Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Lax") or (
        "Max-Age" not in reply.set_cookies[0]  # Flask's end with the browser unless they are permanent
    )
    assert visitor(dict) == {"a": 1}


def starlette_cookie() -> str:
    """What Starlette's own middleware makes with the same secret."""
    app = StarletteSessions(
        lambda scope, receive, send: endpoint(scope)(scope, receive, send), secret_key=SECRET
    )

    def endpoint(scope: Any) -> Any:
        scope["session"]["a"] = 1
        return PlainTextResponse("")

    reply = asyncio.run(drive_asgi(app, make_scope(None)))
    return reply.set_cookies[0].split(";")[0].partition("=")[2]


def forgeries(good: str) -> dict[str, str]:
    """Cookies that are none of ours, made of one that is."""
    payload, _, signature = good.partition(".")
    raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    changed = base64.urlsafe_b64encode(raw.replace(b"ann", b"bob")).rstrip(b"=").decode()
    tokens = Tokens(SECRET)
    return {
        "another user": f"{changed}.{signature}",
        "unsigned": payload,
        "empty signature": payload + ".",
        "cut": good[:-1],
        "longer": good + "A",
        "two": f"{good}.{signature}",
        "nothing": ".",
        "huge": "A" * 60_000,
        "huge and signed": f"{payload}{'A' * 60_000}.{signature}",
        "garbage": "\x80\xff%00;",
        "a token": tokens.sign(tokens.mint()),
        "of Starlette": starlette_cookie(),
    }


def test_what_we_did_not_sign_is_nobody(visitor: Visitor) -> None:
    """2, 14, Bad input. No part of a forged cookie is believed or sent back; the next change starts anew."""
    visitor(lambda session: session.login("ann"))
    assert visitor.cookie is not None
    for name, cookie in forgeries(visitor.cookie).items():
        forger = Visitor(visitor.shell, cookie)
        assert forger(lambda session: [session.user_id, dict(session)]) == [None, {}], name
        assert forger.visit(lambda session: session.logout()).set_cookies == [], name
        forger(lambda session: session.update(a=1))
        assert forger(lambda session: [session.user_id, dict(session)]) == [None, {"a": 1}], name


def test_a_cookie_is_for_its_name_and_its_ring(make: MakeShell) -> None:
    """14. Another application with the same secret, or this one with another, has not signed it."""
    visitor = make().visitor()
    visitor(lambda session: session.login("ann"))
    who = lambda session: session.user_id  # noqa: E731
    assert Visitor(make(), visitor.cookie)(who) == "ann"
    assert Visitor(make(secret_key=OTHER_SECRET), visitor.cookie)(who) is None
    admin = make(cookie=Cookie(name="admin")).visitor(extra=f"admin={visitor.cookie}".encode())
    assert admin(who) is None


def test_a_cookie_of_somebody_else_does_not_hide_ours(make: MakeShell) -> None:
    """Bad input. Of several with the name, the first that we have signed counts."""
    visitor = make().visitor()
    visitor(lambda session: session.login("ann"))
    for before in ("", "garbage", "A.B"):
        shadowed = Visitor(visitor.shell, visitor.cookie, extra=f"session={before}; session=; ".encode())
        assert shadowed(lambda session: session.user_id) == "ann"
    assert Visitor(visitor.shell, "worse", extra=b"session=bad; ")(lambda session: session.user_id) is None


def test_the_last_key_signs_and_all_verify(make: MakeShell) -> None:
    """A ring is oldest first; what an old key signed is signed anew when it is sent again."""
    visitor = make(secret_key=SECRET).visitor()
    visitor(lambda session: session.update(a=1))
    visitor.shell = make(secret_key=iter([SECRET, OTHER_SECRET]))
    assert visitor(dict) == {"a": 1}
    visitor(lambda session: session.update(a=2))
    assert Visitor(make(secret_key=SECRET), visitor.cookie)(dict) == {}
    assert Visitor(make(secret_key=OTHER_SECRET), visitor.cookie)(dict) == {"a": 2}


def test_an_idle_session_ends(make: MakeShell, clock: Clock) -> None:
    """20. Looking at it extends it, past a threshold; the deadline stays where it is."""
    visitor = make(idle_timeout=10 * MINUTE, lifetime=DAY).visitor()
    visitor(lambda session: session.update(a=1))
    clock.now += MINUTE - 1
    assert visitor.visit(dict).set_cookies == []
    clock.now += 1
    first = visitor.cookie
    reply = visitor.visit(dict)
    assert len(reply.set_cookies) == 1
    assert f"Max-Age={DAY - MINUTE};" in reply.set_cookies[0] or "Max-Age" not in reply.set_cookies[0]
    clock.now += 10 * MINUTE - 1
    assert Visitor(visitor.shell, first)(dict) == {}
    assert visitor(dict) == {"a": 1}
    clock.now += 10 * MINUTE
    assert visitor(dict) == {}


@pytest.mark.parametrize("shell_type", [ASGIShell, WSGIShell])
def test_who_does_not_look_at_the_session_is_sent_nothing(make: MakeShell, clock: Clock) -> None:
    """1. However long ago it was looked at; neither cookie nor headers. It is not even read."""
    visitor = make(idle_timeout=10 * MINUTE).visitor()
    visitor(lambda session: session.update(a=1))
    clock.now += 5 * MINUTE
    seen: list[str] = []
    reply = visitor.visit(lambda session: seen.append(repr(session)))
    assert (reply.set_cookies, reply.header("vary"), reply.header("cache-control")) == ([], None, None)
    assert seen == [f"<{'AsyncSession' if isinstance(visitor.shell, ASGIShell) else 'SyncSession'} unloaded>"]


def test_nothing_extends_the_deadline_but_a_log_in(make: MakeShell, clock: Clock) -> None:
    """20. Neither changes, nor extending, nor rotating."""
    visitor = make(lifetime=DAY).visitor()
    visitor(lambda session: session.update(a=1))
    changes = [lambda session: session.update(a=2), lambda session: session.rotate(), dict]
    for hour in range(23):
        clock.now += DAY / 24
        visitor(changes[hour % 3])
        assert visitor(dict) == {"a": 2}
    clock.now += DAY / 24
    assert visitor(dict) == {}
    visitor(lambda session: session.update(a=1))
    clock.now += DAY - 1
    visitor(lambda session: session.login("ann"))
    clock.now += DAY - 1
    assert visitor(lambda session: [session.user_id, dict(session)]) == ["ann", {"a": 1}]


def test_a_session_that_ends_during_the_request_is_not_prolonged(make: MakeShell, clock: Clock) -> None:
    """10, 20. A change that comes too late is not put into a session that is over."""
    visitor = make(lifetime=DAY).visitor()
    visitor(lambda session: session.update(a=1))

    def late(session: Any) -> None:
        session["a"] = 2
        clock.now += DAY

    assert visitor.visit(late).set_cookies == []
    assert visitor(dict) == {}


def test_a_failed_response_changes_nothing(visitor: Visitor) -> None:
    """24. A 5xx sends no cookie."""
    visitor(lambda session: session.update(a=1))

    def fail(session: Any) -> Answer:
        session["a"] = 2
        session.login("ann")
        return Answer(status=500)

    assert visitor.visit(fail).set_cookies == []
    assert visitor(lambda session: [session.user_id, dict(session)]) == [None, {"a": 1}]


def asgi_answer(change: Any, started: list[Any], **options: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        change(scope["session"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        started.append(dict(message["headers"])[b"set-cookie"].decode())

    async def receive() -> Any:
        raise NotImplementedError

    asyncio.run(SessionMiddleware(app, secret_key=SECRET, **options)(make_scope(None), receive, send))


def wsgi_answer(change: Any, started: list[Any], **options: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        change(environ["scalekit.session"])
        start_response("200 OK", [])
        return [b""]

    def start_response(status: str, headers: Any) -> Any:
        started.append(dict(headers)["Set-Cookie"])

    WSGISessionMiddleware(app, secret_key=SECRET, **options)(make_environ(None), start_response)


ANSWERS = pytest.mark.parametrize("answer", [asgi_answer, wsgi_answer], ids=["asgi", "wsgi"])


@ANSWERS
@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda session: session.update(small="x" * 100, large="x" * 3_000), "large"),
        (lambda session: session.update({"k" * 3_000: 1, "a": "x" * 10}), "k" * 3_000),
        (lambda session: session.login("x" * 3_000), "user_id"),
    ],
    ids=["value", "name", "user"],
)
def test_a_session_that_does_not_fit_is_refused(answer: Any, change: Any, key: str) -> None:
    """28. With the largest key, which need not be the one that was just set, before anything is sent."""
    started: list[Any] = []

    def act(session: Any) -> None:
        change(session)
        session["last"] = 1

    with pytest.raises(SessionTooLarge, match="keep sessions in a store on a server") as caught:
        answer(act, started, store=CookieStore())
    assert (caught.value.key, caught.value.limit, caught.value.size > 4096) == (key, 4096, True)
    assert started == []


@ANSWERS
def test_4096_bytes_are_with_name_and_attributes(answer: Any) -> None:
    """28. The largest cookie that is sent is one that every browser takes."""
    started: list[str] = []
    options = {"store": CookieStore(), "cookie": Cookie(name="a-long-name" * 10, path="/a/path" * 10)}
    fits = 0
    for size in range(2_500, 3_000):
        try:
            answer(lambda session, size=size: session.update(a="x" * size), started, **options)
        except SessionTooLarge:
            break
        fits = size
    assert 2_500 < fits < 2_999
    assert 4_092 <= len(started[-1]) <= 4_096


@ANSWERS
def test_max_size_counts_too(answer: Any) -> None:
    """28. An application may want less."""
    with pytest.raises(SessionTooLarge, match="raise max_size") as caught:
        answer(lambda session: session.update(a="x" * 60), [], store=CookieStore(), max_size=50)
    assert caught.value.limit == 50


async def test_a_change_after_the_headers_is_an_error() -> None:
    """25. `save()` comes too late as well: the cookie has left."""
    saved: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        session["a"] = 1
        await session.save()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        assert await session.save() is True  # nothing to save
        session["a"] = 2
        with pytest.raises(SessionCommitted, match="with them the cookie"):
            await session.save()
        saved.append("refused")
        await send({"type": "http.response.body", "body": b""})

    middleware = SessionMiddleware(app, store=CookieStore(), secret_key=SECRET)
    with pytest.raises(SessionCommitted):
        await drive_asgi(middleware, make_scope(None))
    assert saved == ["refused"]


async def test_lazy_loading() -> None:
    """3. `await load(request)` reads it, as over a store."""

    async def endpoint(request: Request) -> PlainTextResponse:
        session = await load(request)
        session["n"] = session.get("n", 0) + 1
        return PlainTextResponse(str(session["n"]))

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(SessionMiddleware, store=CookieStore(), secret_key=SECRET, lazy=True)
    first = await drive_asgi(app, make_scope(None))
    cookie = first.set_cookies[0].split(";")[0].encode()
    assert (await drive_asgi(app, make_scope(cookie))).body == b"2"


async def test_a_websocket_is_given_a_cookie_at_the_accept() -> None:
    """25. It reads its session, and afterwards nothing can be saved."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        seen.append(dict(session))
        session["a"] = 1
        await send({"type": "websocket.accept"})
        session["a"] = 2
        with pytest.raises(SessionCommitted, match="with them the cookie"):
            await session.save()

    async def receive() -> Any:
        raise NotImplementedError

    async def send(message: Any) -> None:
        seen.append(message)

    middleware = SessionMiddleware(app, store=CookieStore(), secret_key=SECRET)
    cookie = None
    for before in ({}, {"a": 1}):
        seen.clear()
        with pytest.raises(SessionCommitted, match="not saved"):
            await middleware(make_scope(cookie, scheme="ws", type="websocket"), receive, send)
        assert seen[0] == before
        cookie = dict(seen[1]["headers"])[b"set-cookie"].split(b";")[0]


async def test_the_test_client_works_as_over_a_store() -> None:
    """A session in one line."""

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.session.user_id} {request.session['cart']}")

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(SessionMiddleware, store=CookieStore(), secret_key=SECRET)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://shop") as client:
        await login_async(client, "ada", cart=["tea"])
        assert (await client.get("/")).text == "ada ['tea']"


@pytest.mark.parametrize("shell_type", [WSGIShell])
def test_it_is_made_once(make: MakeShell, clock: Clock) -> None:
    """What was put into a cookie by `save()`, and did not change since, is not put into another one."""

    def save_twice(session: Any) -> bool:
        session["a"] = 1
        session.save()
        first = session._cookie
        clock.now += 1
        session.save()
        return first is session._cookie

    assert make().visitor()(save_twice) is True


@pytest.mark.parametrize("shell_type", [FlaskShell])
def test_in_flask_it_ends_with_the_browser_unless_it_is_permanent(visitor: Visitor) -> None:
    """As with Flask's own."""
    for permanent in (False, True, False):
        reply = visitor.visit(
            lambda session, permanent=permanent: session.update(_permanent=permanent, was=not permanent)
        )
        assert ("Max-Age=" in reply.set_cookies[0]) == permanent


@pytest.mark.parametrize("shell_type", [WSGIShell])
def test_a_session_that_ended_stays_ended(make: MakeShell, clock: Clock) -> None:
    """10. What is set after a save that came too late begins no session; a log-in does."""
    visitor = make(lifetime=DAY).visitor()
    visitor(lambda session: session.update(a=1))

    def late(session: Any) -> list[bool]:
        session["a"] = 2
        clock.now += DAY
        saved = [session.save()]
        session["b"] = 1
        return [*saved, session.save()]

    def late_login(session: Any) -> None:
        late(session)
        session.login("ann")

    reply = visitor.visit(late)
    assert (reply.json, reply.set_cookies) == ([False, False], [])
    visitor(lambda session: session.update(a=1))
    visitor(late_login)
    assert visitor(lambda session: [session.user_id, dict(session)]) == ["ann", {}]


def test_what_a_cookie_cannot_do_is_as_documented(visitor: Visitor) -> None:
    """The table: the last response wins, a copied cookie survives a log-out, an older one sets it back."""
    visitor(lambda session: session.login("ann"))
    before = visitor.cookie

    def overtaken(session: Any) -> None:
        dict(session)
        Visitor(visitor.shell, before)(lambda other: other.update(b=1))
        session["a"] = 1

    visitor(overtaken)
    assert visitor(dict) == {"a": 1}
    copied = visitor.cookie
    visitor(lambda session: session.logout())
    assert Visitor(visitor.shell, copied)(lambda session: session.user_id) == "ann"
    assert Visitor(visitor.shell, before)(dict) == {}


@pytest.mark.parametrize(("name", "arguments"), [("incr", ["a"]), ("append", ["a", 1]), ("take", ["a"])])
def test_nothing_is_atomic(visitor: Visitor, name: str, arguments: list[Any]) -> None:
    """9. Neither for a new visitor nor for one with a session: an error, and no count that is lost."""

    async def handler(session: Any) -> str:
        with pytest.raises(SessionError, match="RedisStore") as caught:
            await settled(getattr(session, name)(*arguments))
        return str(caught.value)

    assert "not possible with CookieStore" in visitor(handler)
    visitor(lambda session: session.update(b=1))
    assert "not possible with CookieStore" in visitor(handler)
    assert visitor(dict) == {"b": 1}


def test_flask_s_messages_work() -> None:
    """Flask's `flash()`, which is taken atomically over a store, works as with Flask's own cookie."""
    app = flask.Flask("tests")
    app.session_interface = ServerSessionInterface(CookieStore(), secret_key=SECRET)

    @app.get("/flash")
    def flash() -> str:
        flask.flash("Saved.")
        return ""

    @app.get("/")
    def show() -> list[str]:
        return flask.get_flashed_messages()  # type: ignore[return-value]

    client = app.test_client()
    client.get("/flash")
    assert [client.get("/").json, client.get("/").json] == [["Saved."], []]


def test_what_needs_a_server_is_refused_at_start_up() -> None:
    """29. Listing, revoking and the contract, with what to use instead."""
    with pytest.raises(ConfigurationError, match="RedisStore"):
        check_store(CookieStore())
    with pytest.raises(ConfigurationError, match="keeps nothing on the server"):
        UserSessions(CookieStore())


def test_mistakes_are_told_at_start_up(shell_type: type[Shell]) -> None:
    """Options are checked as over a store, and by their names."""
    with pytest.raises(ConfigurationError, match="encrypts nothing without encrypt=True"):
        CookieStore(keys=SECRET)
    for options, message in (
        ({"secret_key": "short"}, "^secret_key has 5 bytes"),
        ({"lifetime": "a day"}, "lifetime='a day'"),
        ({"ttl": 1}, "has no option ttl="),
    ):
        with pytest.raises(ConfigurationError, match=message):
            shell_type(CookieStore(), **options).visitor().visit(dict)


def test_it_is_smaller_than_its_json(visitor: Visitor) -> None:
    """What there is room for is the application's: id, times and signature take some hundred bytes."""
    data = {f"key-{number}": ["a value", number] for number in range(20)}
    visitor(lambda session: session.update(data))
    assert visitor.cookie is not None
    assert len(visitor.cookie) < len(base64.b64encode(json.dumps(data).encode())) + 100


def test_the_format_stays(shell_type: type[Shell]) -> None:
    """What an earlier version has signed is read."""
    made_by_hand = signed_by_hand()
    now = 1_800_000_000.0
    visitor = Visitor(shell_type(CookieStore(clock=lambda: now)), made_by_hand)
    assert visitor(lambda session: [session.user_id, dict(session), session._id]) == [
        "ann",
        {"cart": ["tea"]},
        "00112233445566778899aabbccddeeff",
    ]


def test_what_is_signed_and_not_ours_to_read_is_nobody() -> None:
    """Bad input. A payload of some other version, or one longer than any that is sent."""
    format = Format("session", secret_key=SECRET, ring=None)
    for payload in (b"", b"\x90", b"\xc1", b"\x96" * 7):
        text = base64.urlsafe_b64encode(payload).rstrip(b"=")
        assert format.read(f"{text.decode()}.{mac_by_hand(text)}") is None
    for size, readable in ((100, True), (4_000, False)):
        session = Loaded({b"a": b"\xc5" + size.to_bytes(2, "big") + b"x" * size}, 1, 2, 1)
        assert (format.read(format.write("00", session)) is not None) == readable


def signed_by_hand() -> str:
    """What the format says, written out."""
    head = b"\x96\xc4\x10" + bytes.fromhex("00112233445566778899aabbccddeeff")
    times = (
        b"\xcf" + (1_799_999_999_000).to_bytes(8, "big") + b"\xce" + (DAY * 1000).to_bytes(4, "big") + b"\x00"
    )
    rest = b"\xc4\x04\xa3ann" + b"\x81\xa4cart\x91\xa3tea"
    text = base64.urlsafe_b64encode(head + times + rest).rstrip(b"=")
    return f"{text.decode()}.{mac_by_hand(text)}"


def mac_by_hand(text: bytes) -> str:
    key = hmac.digest(SECRET.encode(), b"scalekit.sessions.cookie:session", "sha256")
    return base64.urlsafe_b64encode(hmac.digest(key, text, "sha256")).rstrip(b"=").decode()
