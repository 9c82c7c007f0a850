"""A store that is killed, frozen or unreachable (issue 3, line 27), with real servers."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scalekit.errors import BackendUnavailable
from scalekit.sessions import MemoryStore
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.tokens import Tokens
from tests.faults import freeze, kill
from tests.servers import RedisServer, wait_until
from tests.sessions.shells import SECRET, ASGIShell, Shell, Visitor, drive_asgi, make_scope, settled

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of our own, to break; what it has survives being killed."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


def read(session: Any) -> Any:
    return session.get("a")


def write(session: Any) -> None:
    session["a"] = 2


def login(session: Any) -> None:
    session.login("ann")


def logout(session: Any) -> None:
    session.logout()


@pytest.fixture
def make_visitor(shell_type: type[Shell], server: RedisServer) -> Callable[..., Visitor]:
    def make(*, timeout: float = 30, **options: Any) -> Visitor:
        store = RedisStore.from_url(server.url, timeout=timeout, connect_timeout=timeout, cooldown=0.1)
        shell = shell_type(store, **options)
        visitor = shell.visitor()
        deadline = time.monotonic() + 30
        # Within a limit that is short on purpose, a busy machine may take several attempts.
        while visitor.visit(lambda session: session.update(a=1)).status == 503:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return visitor

    return make


def until_up(visitor: Visitor) -> Any:
    """What is read once the server is back: a breaker may refuse for a moment."""
    deadline = time.monotonic() + 30
    while (reply := visitor.visit(read)).status == 503 or reply.json is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return reply.json


def test_a_killed_server(make_visitor: Callable[..., Visitor], server: RedisServer) -> None:
    """Routes that touch no session work, the others are 503 and change nothing; then all is as before."""
    visitor = make_visitor()
    cookie = visitor.cookie
    kill(server)
    assert visitor.visit(lambda session: "fine").json == "fine"
    for handler in (read, write, login, logout):
        reply = visitor.visit(handler)
        assert (reply.status, reply.set_cookies, reply.header("retry-after")) == (503, [], "1")
        new = visitor.shell.visitor().visit(handler)
        # Nobody has to be asked about a visitor without a cookie who only looks or leaves.
        assert new.status == (503 if handler in (write, login) else 200)
        assert new.set_cookies == []
    server.start()
    assert until_up(visitor) == 1
    assert visitor.cookie == cookie
    assert visitor(lambda session: session.user_id) is None


def test_reading_as_anonymous(make_visitor: Callable[..., Visitor], server: RedisServer) -> None:
    """`on_error="anonymous"`: reading finds nobody; a change, a log-in and a log-out are still 503."""
    visitor = make_visitor(on_error="anonymous")
    kill(server)
    reply = visitor.visit(lambda session: [dict(session), session.user_id, session.get("a", "none")])
    assert (reply.json, reply.set_cookies) == ([{}, None, "none"], [])
    for handler in (write, login, logout, lambda session: session.setdefault("cart", []).append(1)):
        reply = visitor.visit(handler)
        assert (reply.status, reply.set_cookies) == (503, [])
    server.start()
    assert until_up(visitor) == 1


def test_a_frozen_server(make_visitor: Callable[..., Visitor], server: RedisServer) -> None:
    """A server that hangs is a 503 after the time-out, and the session is there when it goes on."""
    visitor = make_visitor(timeout=1)
    with freeze(server):
        for handler in (read, write):
            assert visitor.visit(handler).status == 503
    assert until_up(visitor) in (1, 2)  # a write that timed out may have been applied


def test_a_server_that_hangs_between_load_and_save(
    make_visitor: Callable[..., Visitor], server: RedisServer
) -> None:
    """A save that fails after a load that worked replaces the response: it never looks like a success."""
    visitor = make_visitor()

    def handler(session: Any) -> str:
        session["a"] = session["a"] + 1
        kill(server)
        return "success"

    reply = visitor.visit(handler)
    assert (reply.status, reply.set_cookies) == (503, [])
    assert b"success" not in reply.body
    assert reply.header("cache-control") == "no-store"
    server.start()
    assert until_up(visitor) == 1


def test_a_server_that_is_out_of_memory(shell_type: type[Shell]) -> None:
    """A write that the server refuses is a 503, reads go on, and logging out still ends the session."""
    with RedisServer(maxmemory_policy="noeviction") as server:
        visitor = shell_type(RedisStore.from_url(server.url)).visitor()
        visitor(lambda session: session.update(a=1))
        server.call("CONFIG", "SET", "maxmemory", "1")
        reply = visitor.visit(lambda session: session.update(a="x" * 1000))
        assert (reply.status, reply.set_cookies) == (503, [])
        assert visitor(read) == 1
        cookie = visitor.cookie
        visitor(logout)
        assert Visitor(visitor.shell, cookie)(read) is None


@pytest.mark.parametrize("user", [None, "ann"])
def test_nobody_begins_a_session_without_memory(shell_type: type[Shell], user: str | None) -> None:
    """A server that is full takes no new session, of visitors or of users, and none is left in parts."""
    with RedisServer(maxmemory_policy="noeviction", maxmemory="1") as server:

        def begin(session: Any) -> None:
            session["a"] = 1
            if user is not None:
                session.login(user)

        reply = shell_type(RedisStore.from_url(server.url)).visitor().visit(begin)
        assert (reply.status, reply.set_cookies) == (503, [])
        assert server.call("DBSIZE") == 0


async def test_many_requests_wait_for_one_time_out(server: RedisServer) -> None:
    """100 concurrent requests to a frozen server all fail within a bounded time; none waits its turn."""
    shell = ASGIShell(RedisStore.from_url(server.url, timeout=5))
    visitor = shell.visitor()
    await asyncio.to_thread(visitor, lambda session: session.update(a=1))
    scope = make_scope(f"session={visitor.cookie}".encode()) | {"tests.handler": read}
    assert json.loads((await drive_asgi(shell.app, {**scope})).body) == 1
    with freeze(server):
        replies = await asyncio.wait_for(
            asyncio.gather(*[drive_asgi(shell.app, {**scope}) for _ in range(100)]), 60
        )
    assert {reply.status for reply in replies} == {503}


def rotate(session: Any) -> None:
    session.rotate()


@pytest.mark.parametrize(("turn", "cookies"), [(login, 1), (rotate, 0)], ids=["login", "rotate"])
def test_a_change_of_id_whose_end_is_not_heard(shell_type: type[Shell], turn: Any, cookies: int) -> None:
    """The connection breaks while the old session is ended: after a log-in the 503 brings the new cookie, as
    the old one is worth nothing by now. After a rotation that stands for the new one."""

    class Deaf(MemoryStore):
        deaf = False

        def destroy(self, *args: Any, **options: Any) -> Any:
            last = super().destroy(*args, **options)
            if self.deaf:
                raise BackendUnavailable("closed before the reply", backend="tests")
            return last

    store = Deaf()
    visitor = shell_type(store).visitor()
    visitor(lambda session: session.update(a=1))
    store.deaf = True
    reply = visitor.visit(lambda session: turn(session) and None)
    assert (reply.status, len(reply.set_cookies)) == (503, cookies)
    assert visitor(read) == 1


def test_a_rotation_that_is_saved_again(shell_type: type[Shell]) -> None:
    """11. A rotation whose end failed at first, and was confirmed then: the response has the new cookie."""

    class Away(MemoryStore):
        away = True

        def destroy(self, *args: Any, **options: Any) -> Any:
            if self.away:
                self.away = False
                raise BackendUnavailable("no connection", backend="tests")
            return super().destroy(*args, **options)

    async def twice(session: Any) -> None:
        session.rotate()
        with pytest.raises(BackendUnavailable):
            await settled(session.save())

    visitor = shell_type(Away()).visitor()
    visitor(lambda session: session.update(a=1))
    old = visitor.cookie
    assert len(visitor.visit(twice).set_cookies) == 1
    assert visitor.cookie != old
    assert visitor(read) == 1


@pytest.mark.parametrize("other", [logout, write])
def test_an_outage_in_the_middle_of_a_rotation(shell_type: type[Shell], other: Any) -> None:
    """7. 10. 27. Another request logs out, or saves, before the end of the old session fails: the 503 brings
    no cookie of a session that knows nothing of it."""

    class Away(MemoryStore):
        away = False

        def destroy(self, *args: Any, **options: Any) -> Any:
            if self.away:
                self.away = False
                Visitor(visitor.shell, visitor.cookie)(other)
                raise BackendUnavailable("no connection", backend="tests")
            return super().destroy(*args, **options)

    store = Away()
    visitor = shell_type(store).visitor()
    visitor(lambda session: session.update(a=1))
    store.away = True
    reply = visitor.visit(rotate)
    assert (reply.status, reply.set_cookies) == (503, [])
    assert visitor(read) == (None if other is logout else 2)


async def respond(send: Any, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def reads(scope: Any) -> None:
    scope["session"].get("a")


async def reads_in_a_task(scope: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reads(scope))


async def saves(scope: Any) -> None:
    scope["session"]["a"] = 1
    await scope["session"].save()


async def fails_by_itself(scope: Any) -> None:
    raise ZeroDivisionError


class Down(MemoryStore):
    def fail(self, *args: Any, **options: Any) -> Any:
        raise BackendUnavailable("down", backend="tests")

    load = save = create = destroy = fail


def test_an_outage_is_logged_once(shell_type: type[Shell], caplog: pytest.LogCaptureFixture) -> None:
    """27. One line for what cannot be loaded and one for what cannot be saved, not one for each request."""
    tokens, shell = Tokens(SECRET), shell_type(Down())
    for _ in range(10):
        assert Visitor(shell, tokens.sign(tokens.mint())).visit(read).status == 503
        assert shell.visitor().visit(write).status == 503
    said = [record.getMessage() for record in caplog.records if record.name == "scalekit.sessions"]
    assert len(said) == 2
    assert "loaded" in said[0]
    assert "saved" in said[1]


@pytest.mark.parametrize("handler", [reads, reads_in_a_task, saves, fails_by_itself])
@pytest.mark.parametrize("inside", ["nothing", "a 500", "a 500, raised again", "a page of its own"])
async def test_error_handlers_inside_make_no_500_of_an_outage(handler: Any, inside: str) -> None:
    """27. What the session raised is a 503, alone or in a group, also where a framework inside of the
    middleware has answered 500. An error of the application stays one, and so does a 503 of its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await handler(scope)
        except Exception:
            if inside == "a page of its own":
                await respond(send, 503, b"Have a tea!")
            elif inside != "nothing":
                await respond(send, 500, b"oops")
            if inside in ("nothing", "a 500, raised again"):
                raise

    middleware = SessionMiddleware(app, store=Down(), secret_key=SECRET)
    tokens = Tokens(SECRET)
    scope = make_scope(f"session={tokens.sign(tokens.mint())}".encode())
    if handler is fails_by_itself and inside in ("nothing", "a 500, raised again"):
        with pytest.raises(ZeroDivisionError):
            await drive_asgi(middleware, scope)
        return
    reply = await drive_asgi(middleware, scope)
    if inside == "a page of its own":
        assert (reply.status, reply.body) == (503, b"Have a tea!")
    elif handler is fails_by_itself:
        assert (reply.status, reply.body) == (500, b"oops")
    else:
        assert (reply.status, reply.header("retry-after")) == (503, "1")


async def test_the_outage_of_another_piece_is_not_ours(server: RedisServer) -> None:
    """A `BackendError` that the session did not raise passes through to who answers it."""

    def handler(session: Any) -> None:
        session.get("a")
        raise BackendUnavailable("the database is down", backend="postgresql")

    visitor = ASGIShell(RedisStore.from_url(server.url)).visitor()
    with pytest.raises(BackendUnavailable, match="database"):
        await asyncio.to_thread(visitor.visit, handler)


class Mute:
    """A server that accepts, listens, and never says a word; counts what it is sent."""

    def __init__(self) -> None:
        self.connections = self.bytes = self.ended = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepted: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._accepted.append(connection)
                self._threads.append(threading.Thread(target=self._read, args=(connection,)))
                self._threads[-1].start()

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                self.bytes += len(data)
        self.ended += 1

    def close(self) -> None:
        for each in (self._listener, *self._accepted):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def mute() -> Iterator[Mute]:
    mute = Mute()
    yield mute
    mute.close()


def test_an_open_breaker_asks_nobody(shell_type: type[Shell], mute: Mute) -> None:
    """27. A store that hangs is tried once, with one connection. While the breaker is open it gets no other
    connection and not one byte, whatever visitors do."""
    store = RedisStore.from_url(mute.url, timeout=0.2, connect_timeout=0.2, cooldown=600)
    tokens, shell = Tokens(SECRET), shell_type(store)
    visitor = Visitor(shell, tokens.sign(tokens.mint()))
    assert visitor.visit(read).status == 503
    # Who gave up may have done so before all that it sent was read.
    wait_until(lambda: mute.ended == mute.connections == 1, what="the end of its connection")
    seen = mute.bytes
    for handler in (read, write, login, logout) * 5:
        assert visitor.visit(handler).status == 503
        shell.visitor().visit(handler)
    assert (mute.connections, mute.bytes) == (1, seen)


async def test_an_open_breaker_answers_at_once(mute: Mute) -> None:
    """27. "In under 1 ms": a request to a store whose breaker is open never waits. It runs from its first to
    its last line in one step of the event loop, as if there were no store."""
    store = RedisStore.from_url(mute.url, timeout=0.2, connect_timeout=0.2, cooldown=600)
    tokens = Tokens(SECRET)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"].get("a")

    async def send(message: Any) -> None:
        sent.append(message)

    middleware = SessionMiddleware(app, store=store, secret_key=SECRET)
    scope = make_scope(f"session={tokens.sign(tokens.mint())}".encode())
    sent: list[Any] = []
    await middleware({**scope}, None, send)  # type: ignore[arg-type]  # the time-out
    for _ in range(3):
        sent.clear()
        request = middleware({**scope}, None, send)  # type: ignore[arg-type]
        with pytest.raises(StopIteration):  # else it has yielded, to wait for something
            request.__await__().send(None)  # type: ignore[attr-defined]
        assert [message.get("status") for message in sent] == [503, None]
