"""Headers, and when things happen (issue 3, lines 11, 23 and 24), in every framework."""

from collections.abc import Callable
from typing import Any

import pytest

from scalekit.sessions import MemoryStore
from scalekit.sessions.session import Session
from scalekit.sessions.wsgi import SessionMiddleware
from tests.sessions.shells import SECRET, Answer, ASGIShell, Shell, Visitor, make_environ

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
