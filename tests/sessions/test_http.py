"""Headers, and when things happen (issue 3, lines 11, 23, 24 and 26), in every framework."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from scalekit.sessions import MemoryStore
from scalekit.sessions.codec import Codec
from scalekit.sessions.session import Session
from scalekit.sessions.wsgi import SessionMiddleware
from tests.sessions.shells import (
    SECRET,
    Answer,
    ASGIShell,
    FlaskShell,
    Shell,
    Visitor,
    WSGIShell,
    make_environ,
)

MakeShell = Callable[..., Shell]


def words(value: str | None) -> set[str]:
    return {word.strip().lower() for word in (value or "").split(",") if word.strip()}


def reads(session: Session) -> None:
    session.get("a")


@pytest.mark.parametrize(
    "handler",
    [reads, lambda session: session.update(a=1), lambda session: session.user_id, len],
    ids=["read", "set", "user", "len"],
)
def test_a_response_that_depends_on_the_session_says_so(make_shell: MakeShell, handler: Any) -> None:
    """23. A session that was looked at adds `Vary: Cookie` and `Cache-Control: private`, empty or not."""
    visitor = make_shell().visitor()
    for _ in range(2):
        reply = visitor.visit(handler)
        assert "cookie" in words(reply.header("vary"))
        assert words(reply.header("cache-control")) == {"private"}


@pytest.mark.parametrize("shell_type", [ASGIShell])
def test_a_response_that_does_not_depend_on_it_is_left_alone(make_shell: MakeShell) -> None:
    """23. An untouched session leaves the response to shared caches, with and without a cookie."""
    visitor = make_shell().visitor()
    for _ in range(2):
        reply = visitor.visit(lambda session: Answer(headers=[("cache-control", "public, max-age=60")]))
        assert (reply.header("vary"), reply.header("cache-control")) == (None, "public, max-age=60")
        visitor(lambda session: session.update(a=1))


def test_an_untouched_session_under_wsgi_too() -> None:
    """23. The same where the session is loaded late; not even the spelling of a header changes."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("ETag", '"1"'), ("cache-control", "public")])
        return [b""]

    middleware = SessionMiddleware(app, store=MemoryStore(), secret_key=SECRET)
    seen: list[Any] = []
    middleware(make_environ(None), lambda status, headers: seen.append(headers))  # type: ignore[arg-type, func-returns-value]
    assert seen == [[("ETag", '"1"'), ("cache-control", "public")]]


@pytest.mark.parametrize("status", [302, 404, 500, 503])
def test_any_status_that_depends_on_the_session_says_so(make_shell: MakeShell, status: int) -> None:
    """23. Not only a success: an error page may greet a visitor by name, and saves nothing if it is a 5xx."""
    visitor = make_shell().visitor()
    reply = visitor.visit(lambda session: Answer(session.get("a"), status))
    assert ("cookie" in words(reply.header("vary")), words(reply.header("cache-control"))) == (
        True,
        {"private"},
    )


def test_what_the_application_says_is_merged_and_never_weakened(make_shell: MakeShell) -> None:
    """23. The application's own Vary and Cache-Control stay; what would let others store it goes."""
    cases = {
        "no-store": {"no-store"},
        "public, max-age=60": {"private", "max-age=60"},
        "max-age=60, s-maxage=600": {"private", "max-age=60"},
        "private, no-cache": {"private", "no-cache"},
    }
    visitor = make_shell().visitor()
    for value, expected in cases.items():

        def handler(session: Session, value: str = value) -> Answer:
            session.get("a")
            return Answer(headers=[("Cache-Control", value), ("Vary", "Accept")])

        reply = visitor.visit(handler)
        assert words(reply.header("cache-control")) == expected
        assert words(reply.header("vary")) == {"accept", "cookie"}


def test_no_cdn_is_told_to_store_it(make_shell: MakeShell) -> None:
    """23. A header that overrides Cache-Control for a CDN goes; others keep their values."""
    targeted = [
        ("CDN-Cache-Control", "public, max-age=60"),
        ("Surrogate-Control", "public"),
        ("X-Other", "1"),
    ]
    reply = make_shell().visitor().visit(lambda session: [session.get("a")] and Answer(headers=targeted))
    assert words(reply.header("cache-control")) == {"private"}
    shown = [reply.header(name.lower()) for name, _ in targeted]
    assert shown == [None, None, "1"]


def test_the_cookies_of_the_application_stay(make_shell: MakeShell) -> None:
    """Our cookie is added to those that the application sets, and replaces none."""

    def handler(session: Session) -> Answer:
        session["a"] = 1
        return Answer(headers=[("Set-Cookie", "theme=dark")])

    reply = make_shell().visitor().visit(handler)
    assert [line.split("=")[0] for line in reply.set_cookies] == ["theme", "session"]


def test_a_cookie_is_sent_only_when_the_id_changes(make_shell: MakeShell) -> None:
    """11. Setting, changing, reading and clearing later send none."""
    visitor = make_shell().visitor()
    assert len(visitor.visit(lambda session: session.update(a=[1])).set_cookies) == 1
    handlers: list[Callable[[Session], Any]] = [
        dict,
        lambda session: session.update(b=1),
        lambda session: session["a"].append(2),
        lambda session: session.clear(),
    ]
    for handler in handlers:
        assert visitor.visit(handler).set_cookies == []
    assert len(visitor.visit(lambda session: session.rotate()).set_cookies) == 1


def test_a_cookie_lives_as_long_as_its_session(shell_type: type[Shell]) -> None:
    """11. The cookie is given the session's deadline, which only a log-in moves: a visitor who comes each day
    keeps it with no further Set-Cookie, and neither of the two outlives the other.
    """
    day = 86_400
    now = 1_000_000.0
    visitor = shell_type(MemoryStore(clock=lambda: now)).visitor()

    def start(session: Session) -> None:
        session["a"] = 1
        if shell_type is FlaskShell:  # whose cookie would end with the browser
            session.permanent = True  # type: ignore[attr-defined]

    (line,) = visitor.visit(start).set_cookies
    assert f"Max-Age={30 * day}" in line
    for _ in range(29):
        now += day
        reply = visitor.visit(lambda session: session["a"])
        assert (reply.json, reply.set_cookies) == (1, [])
    (line,) = visitor.visit(lambda session: session.rotate()).set_cookies
    assert f"Max-Age={day}" in line
    (line,) = visitor.visit(lambda session: session.login("ann")).set_cookies
    assert f"Max-Age={30 * day}" in line
    now += 30 * day
    assert visitor(lambda session: session.get("a")) is None


@pytest.mark.parametrize("shell_type", [ASGIShell, WSGIShell])
def test_a_cookie_that_ends_with_the_browser(make_shell: MakeShell) -> None:
    """19. `session.persistent = False` leaves Max-Age out, for "do not remember me"; nothing else changes."""

    def handler(session: Session, persistent: bool) -> None:
        session.persistent = persistent
        session.login("ann")

    lines = [
        make_shell().visitor().visit(lambda session, stays=stays: handler(session, stays)).set_cookies[0]
        for stays in (True, False)
    ]
    with_age, without = ([part.partition("=")[0] for part in line.split("; ")] for line in lines)
    assert [part for part in with_age if part != "Max-Age"] == without
    assert "Max-Age" in with_age


class Encodings:
    """Counts the values that are encoded and decoded."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.encoded: list[str] = []
        self.decoded: list[str] = []
        encode, decode = Codec.encode, Codec.decode

        def encode_and_note(codec: Codec, key: str, value: Any) -> bytes:
            self.encoded.append(key)
            return encode(codec, key, value)

        def decode_and_note(codec: Codec, key: str, data: bytes) -> Any:
            self.decoded.append(key)
            return decode(codec, key, data)

        patch.setattr(Codec, "encode", encode_and_note)
        patch.setattr(Codec, "decode", decode_and_note)

    def of(self, visit: Callable[[], object]) -> tuple[set[str], set[str]]:
        self.encoded, self.decoded = [], []
        visit()
        return set(self.encoded), set(self.decoded)


@pytest.mark.parametrize(
    ("handler", "encoded", "decoded"),
    [
        (lambda session: None, set(), set()),
        (lambda session: [len(session), list(session), "cart" in session, session.is_new], set(), set()),
        (lambda session: session["name"], set(), {"name"}),
        (lambda session: [session[key] for key in ("name", "visits", "when", "id")], set(), "all"),
        (lambda session: session.update(visits=4), {"visits"}, set()),
        (lambda session: session.pop("name", None) and None, set(), {"name"}),
        (lambda session: session["cart"], {"cart"}, {"cart"}),
        (lambda session: session["cart"].append("pen"), {"cart"}, {"cart"}),
        (lambda session: session["prefs"]["a"].append(1), {"prefs"}, {"prefs"}),
    ],
    ids=["untouched", "looked at", "read", "constants", "set", "pop", "mutable", "appended", "deep"],
)
def test_only_what_may_have_changed_is_encoded(
    make_shell: MakeShell, monkeypatch: pytest.MonkeyPatch, handler: Any, encoded: Any, decoded: Any
) -> None:
    """26. What a request touches is decoded, what it may have changed in place encoded, and nothing else: one
    that touches nothing mutable encodes nothing, whatever is in the session.
    """
    visitor = make_shell().visitor()
    constants = {"name": "Ann", "visits": 3, "when": datetime(2026, 1, 1), "id": UUID(int=1)}
    visitor(lambda session: session.update(constants, cart=["book"], prefs={"a": [1]}))
    counted = Encodings(monkeypatch)
    expected = (encoded, set(constants) if decoded == "all" else decoded)
    assert counted.of(lambda: visitor.visit(lambda session: handler(session) and None)) == expected


@pytest.mark.parametrize("change", [lambda cart: cart.append("pen"), list.clear, list.pop, list.reverse])
def test_a_nested_change_needs_no_flag(make_shell: MakeShell, change: Any) -> None:
    """26. What is changed in place is there on the next request, in every framework."""
    visitor = make_shell().visitor()
    visitor(lambda session: session.update(cart=["book", "ink"]))
    expected = ["book", "ink"]
    change(expected)
    visitor(lambda session: change(session["cart"]) and None)
    assert visitor(lambda session: session["cart"]) == expected


@pytest.mark.parametrize(
    "extra",
    [
        b"theme=dark; ",
        b"a=1; b=2; ",
        b"broken; ",
        b"=; ; ",
        b"\xff\xfe=\xff; ",
        b'q="a; b"; ',
        b"x=" + b"y" * 8000 + b"; ",
    ],
)
def test_other_cookies_do_not_disturb(make_shell: MakeShell, extra: bytes) -> None:
    """Whatever else is in the Cookie header, ours is found."""
    shell = make_shell()
    visitor = shell.visitor()
    visitor(lambda session: session.update(a=1))
    assert Visitor(shell, visitor.cookie, extra=extra)(dict) == {"a": 1}


@pytest.mark.parametrize("value", [b"", b"x", b"\xff\xfe", b"A" * 100_000, b'"', b"\x00"])
def test_bad_cookies_are_anonymous(make_shell: MakeShell, value: bytes) -> None:
    """Bombs, bytes that are no text and other nonsense are a visitor without a session, never an error."""
    visitor = make_shell().visitor(extra=b"session=" + value)
    assert visitor.visit(dict).json == {}


def test_of_two_cookies_the_first_counts(make_shell: MakeShell) -> None:
    """Browsers send the most specific first; a second one of the same name is not looked at."""
    shell = make_shell()
    ann, bob = shell.visitor(), shell.visitor()
    ann(lambda session: session.update(name="ann"))
    bob(lambda session: session.update(name="bob"))
    both = shell.visitor(extra=f"session={ann.cookie}; session={bob.cookie}".encode())
    assert both.visit(dict).json == {"name": "ann"}


def test_the_session_is_stored_before_the_headers_leave(shell_type: type[Shell]) -> None:
    """24. When the browser has the response, another server has the session: the save comes first."""
    events: list[str] = []

    class Spy(MemoryStore):
        def create(self, *args: Any, **options: Any) -> Any:
            created = super().create(*args, **options)
            events.append("stored")
            return created

        def save(self, *args: Any, **options: Any) -> Any:
            saved = super().save(*args, **options)
            events.append("stored")
            return saved

    shell = shell_type(Spy())
    inner = shell.app  # type: ignore[attr-defined]

    def wsgi(environ: Any, start_response: Any) -> Any:
        def start(*args: Any) -> Any:
            events.append("headers")
            return start_response(*args)

        return inner(environ, start)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            if message["type"] == "http.response.start":
                events.append("headers")
            await send(message)

        await inner(scope, receive, note)

    shell.app = asgi if isinstance(shell, ASGIShell) else wsgi  # type: ignore[attr-defined]
    visitor = shell.visitor()
    visitor(lambda session: session.update(a=1))
    visitor(lambda session: session.update(a=2))
    assert events == ["stored", "headers"] * 2
