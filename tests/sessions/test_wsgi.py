"""What is particular to WSGI: `start_response`, `write`, generators, files (issue 3, lines 3, 24, 25)."""

import io
import sys
from collections.abc import Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from scalekit.errors import BackendUnavailable, ConfigurationError, SessionCommitted, WrongColour
from scalekit.sessions import MemoryStore
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.wsgi import SessionMiddleware, get_session
from tests.sessions.shells import SECRET, Reply, Visitor, WSGIShell, drive_wsgi, make_environ


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def visitor(store: MemoryStore) -> Visitor:
    visitor = WSGIShell(store).visitor()
    visitor(lambda session: session.update(a=[1]))
    return visitor


PLAIN = [("Content-Type", "text/plain")]


def request(app: Any, store: Any, cookie: str | None = None) -> Reply:
    middleware = validator(SessionMiddleware(validator(app), store=store, secret_key=SECRET))
    return drive_wsgi(middleware, make_environ(f"session={cookie}".encode() if cookie else None))


def test_a_generator_that_starts_late(store: MemoryStore) -> None:
    """A generator calls `start_response` with its first chunk; its session is saved before that chunk."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        get_session(environ)["a"] = 1
        start_response("200 OK", PLAIN)
        yield b"first"
        assert store.count() == 1
        yield b"second"

    reply = request(app, store)
    assert (reply.body, len(reply.set_cookies)) == (b"firstsecond", 1)


def test_a_generator_without_a_body(store: MemoryStore) -> None:
    """A body that yields nothing still has headers and a session."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        get_session(environ)["a"] = 1
        start_response("200 OK", PLAIN)
        yield from ()

    assert len(request(app, store).set_cookies) == 1


def test_the_write_callable(store: MemoryStore) -> None:
    """The old way: what is written after `start_response` follows the save and the headers."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        get_session(environ)["a"] = 1
        write(b"one ")
        assert store.count() == 1
        write(b"two ")
        return [b"three"]

    reply = request(app, store)
    assert (reply.body, len(reply.set_cookies)) == (b"one two three", 1)


def test_a_change_of_mind(store: MemoryStore) -> None:
    """An application that replaces its response by an error page saves nothing."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        get_session(environ)["a"] = 1
        start_response("200 OK", PLAIN)
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Internal Server Error", PLAIN, sys.exc_info())
        return [b"sorry"]

    reply = request(app, store)
    assert (reply.status, reply.set_cookies, store.count()) == (500, [], 0)


def test_a_change_of_mind_that_comes_too_late(store: MemoryStore) -> None:
    """After the headers have left, `exc_info` is raised, as the server would."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"first"
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Internal Server Error", PLAIN, sys.exc_info())

    sent: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        sent.append(status)
        if exc_info:
            raise exc_info[1]
        return lambda data: None

    body = SessionMiddleware(app, store=store, secret_key=SECRET)(make_environ(None), start_response)
    with pytest.raises(ZeroDivisionError):
        list(body)
    assert sent == ["200 OK", "500 Internal Server Error"]


def test_files_and_lists_keep_their_fast_path(store: MemoryStore) -> None:
    """A list, and the server's own file wrapper, are handed on as they are: servers send them faster."""
    wrapped = FileWrapper(io.BytesIO(b"data"))
    for body in ([b"data"], (b"data",), wrapped):

        def app(environ: Any, start_response: Any, body: Any = body) -> Any:
            start_response("200 OK", PLAIN)
            return body

        environ = make_environ(None) | {"wsgi.file_wrapper": FileWrapper}
        middleware = SessionMiddleware(app, store=store, secret_key=SECRET)
        assert middleware(environ, lambda *_: lambda data: None) is body


def test_the_body_is_closed(store: MemoryStore) -> None:
    """`close()` of the application's body is called, once."""
    closed: list[int] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"x"

        def close(self) -> None:
            closed.append(1)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        return Body()

    request(app, store)
    assert closed == [1]


def test_a_change_after_the_headers_is_an_error(store: MemoryStore, visitor: Visitor) -> None:
    """25. A change while the body is sent, that nobody saves, is reported; saved, it is there."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"first"
        get_session(environ)["a"].append(2)
        if environ["QUERY_STRING"] == "save":
            get_session(environ).save()
        yield b"second"

    middleware = SessionMiddleware(app, store=store, secret_key=SECRET)
    environ = make_environ(f"session={visitor.cookie}".encode())
    with pytest.raises(SessionCommitted, match=r"save\(\)"):
        drive_wsgi(middleware, {**environ})
    assert visitor(dict) == {"a": [1]}
    drive_wsgi(middleware, environ | {"QUERY_STRING": "save"})
    assert visitor(dict) == {"a": [1, 2]}


@pytest.mark.parametrize("kind", [list, tuple, lambda chunks: FileWrapper(io.BytesIO(b"".join(chunks)))])
def test_a_change_after_write_is_an_error(store: MemoryStore, visitor: Visitor, kind: Any) -> None:
    """25. `write()` sends the headers: what the application changes after it and before it returns a body
    that is ready, is reported; saved, it is there.
    """

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", PLAIN)
        write(b"first")
        get_session(environ)["a"].append(2)
        if environ["QUERY_STRING"] == "save":
            get_session(environ).save()
        return kind([b"second"])

    middleware = SessionMiddleware(app, store=store, secret_key=SECRET)
    environ = make_environ(f"session={visitor.cookie}".encode()) | {"wsgi.file_wrapper": FileWrapper}
    with pytest.raises(SessionCommitted, match=r"save\(\)"):
        drive_wsgi(middleware, {**environ})
    assert visitor(dict) == {"a": [1]}
    assert drive_wsgi(middleware, environ | {"QUERY_STRING": "save"}).body == b"firstsecond"
    assert visitor(dict) == {"a": [1, 2]}


def test_no_session_after_the_headers(store: MemoryStore) -> None:
    """25. A visitor without one cannot be given a session while the body is sent."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", PLAIN)
        yield b"first"
        with pytest.raises(SessionCommitted):
            get_session(environ)["a"] = 1

    request(app, store)
    assert store.count() == 0


class Down(MemoryStore):
    """A store that does not answer."""

    def fail(self, *args: Any, **options: Any) -> Any:
        raise BackendUnavailable("down", backend="tests")

    load = save = create = destroy = fail


def starts_at_once(environ: Any, start_response: Any, look: Any) -> list[bytes]:
    look(get_session(environ))
    start_response("200 OK", PLAIN)
    return [b"success"]


def starts_first(environ: Any, start_response: Any, look: Any) -> list[bytes]:
    start_response("200 OK", PLAIN)
    look(get_session(environ))
    return [b"success"]


def generates(environ: Any, start_response: Any, look: Any) -> Iterator[bytes]:
    look(get_session(environ))
    start_response("200 OK", PLAIN)
    yield b"success"


def generates_nothing(environ: Any, start_response: Any, look: Any) -> Iterator[bytes]:
    look(get_session(environ))
    start_response("200 OK", PLAIN)
    yield from ()


def writes(environ: Any, start_response: Any, look: Any) -> list[bytes]:
    look(get_session(environ))
    start_response("200 OK", PLAIN)(b"suc")
    return [b"cess"]


def write_one(session: Any) -> None:
    session["a"] = 1


def read_one(session: Any) -> None:
    session.get("a")


@pytest.mark.parametrize("style", [starts_at_once, starts_first, generates, generates_nothing, writes])
@pytest.mark.parametrize(("look", "known"), [(read_one, True), (write_one, True), (write_one, False)])
def test_a_store_that_is_down_never_looks_like_success(
    visitor: Visitor, style: Any, look: Any, known: bool
) -> None:
    """27. However an application answers, what needs the store is a 503, and nothing else of it leaves."""

    def app(environ: Any, start_response: Any) -> Any:
        return style(environ, start_response, look)

    reply = request(app, Down(), visitor.cookie if known else None)
    assert (reply.status, reply.header("cache-control"), reply.set_cookies) == (503, "no-store", [])
    assert reply.body == b"Service Unavailable\n"


@pytest.mark.parametrize("looks", [True, False])
def test_an_error_handler_inside_makes_no_500_of_an_outage(visitor: Visitor, looks: bool) -> None:
    """27. A 500 that a framework made of what the session raised becomes 503; another 500 does not."""

    def app(environ: Any, start_response: Any) -> Any:
        try:
            if looks:
                read_one(get_session(environ))
            raise ZeroDivisionError
        except Exception:  # noqa: BLE001  what frameworks do
            start_response("500 Internal Server Error", PLAIN)
            return [b"oops"]

    reply = request(app, Down(), visitor.cookie)
    assert (reply.status, reply.body) == ((503, b"Service Unavailable\n") if looks else (500, b"oops"))


@pytest.mark.parametrize("style", [starts_at_once, starts_first, generates, generates_nothing, writes])
def test_a_store_that_is_down_is_not_noticed_by_who_needs_none(visitor: Visitor, style: Any) -> None:
    """27. Requests that do not look at the session, and reads of visitors without one, are served."""

    def app(environ: Any, start_response: Any) -> Any:
        return style(environ, start_response, lambda session: None)

    assert request(app, Down(), visitor.cookie).status == 200

    def reading(environ: Any, start_response: Any) -> Any:
        return style(environ, start_response, read_one)

    assert request(reading, Down()).status == 200


def test_the_outage_of_another_piece_is_not_ours(store: MemoryStore) -> None:
    """A `BackendError` that the session did not raise passes through."""

    def app(environ: Any, start_response: Any) -> Any:
        raise BackendUnavailable("the database is down", backend="postgresql")

    middleware = SessionMiddleware(app, store=store, secret_key=SECRET)
    with pytest.raises(BackendUnavailable, match="database"):
        drive_wsgi(middleware, make_environ(None))


def test_without_the_middleware() -> None:
    """32. `get_session(environ)` names what is missing."""
    with pytest.raises(ConfigurationError, match=r"no session .*SessionMiddleware\(app"):
        get_session(make_environ(None))


def test_an_asynchronous_client_is_refused_at_start_up() -> None:
    """The middleware wants a synchronous client, and says so before the first request."""
    import redis.asyncio

    message = r"^the WSGI SessionMiddleware wants a synchronous client.*redis\.Redis, or use from_url"
    with pytest.raises(WrongColour, match=message):
        SessionMiddleware(lambda *_: [], store=RedisStore(redis.asyncio.Redis()), secret_key=SECRET)


@pytest.mark.parametrize("body", ["call", "generator"])
@pytest.mark.parametrize("turn", ["login", "rotate"])
def test_an_error_after_an_explicit_save_brings_the_cookie(turn: str, body: str) -> None:
    """15. The old id has ended by then: the answer to the error has the new cookie, and the server gets the
    error all the same."""
    store = MemoryStore()
    visitor = WSGIShell(store).visitor()
    visitor(lambda session: session.update(cart=["tea"]))

    def work(environ: Any) -> None:
        session = get_session(environ)
        session.login("ann") if turn == "login" else session.rotate()
        assert session.save()
        raise LookupError("after the save")

    def call(environ: Any, start_response: Any) -> Any:
        work(environ)

    def generator(environ: Any, start_response: Any) -> Any:
        work(environ)
        yield b""

    app = SessionMiddleware({"call": call, "generator": generator}[body], store=store, secret_key=SECRET)
    started: list[Any] = []
    environ = make_environ(f"session={visitor.cookie}".encode())
    chunks = iter(app(environ, lambda *args: started.append(args)))
    assert next(chunks) == b"Internal Server Error\n"
    with pytest.raises(LookupError, match="after the save"):
        next(chunks)
    ((status, headers),) = started
    (cookie,) = [value for name, value in headers if name == "Set-Cookie"]
    assert status == "500 Internal Server Error"
    visitor.cookie = cookie.split(";")[0].partition("=")[2]
    assert visitor(dict) == {"cart": ["tea"]}
