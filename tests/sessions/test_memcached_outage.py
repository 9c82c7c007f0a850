"""Memcached that is killed, frozen or restarted (issue 3, line 27), with real servers."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scalekit.sessions.memcached import MemcachedStore
from tests.faults import freeze, kill
from tests.servers import Memcached
from tests.sessions.shells import ASGIShell, Shell, Visitor, drive_asgi, make_scope

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[Memcached]:
    """A server of our own, to break."""
    with Memcached() as server:
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
def make_visitor(shell_type: type[Shell], server: Memcached) -> Callable[..., Visitor]:
    def make(*, timeout: float = 30, **options: Any) -> Visitor:
        store = MemcachedStore.from_url(server.url, timeout=timeout, connect_timeout=timeout, cooldown=0.1)
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
    while (reply := visitor.visit(read)).status == 503:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return reply.json


def test_a_killed_server(make_visitor: Callable[..., Visitor], server: Memcached) -> None:
    """27. Routes that touch no session work, the others are 503 and change nothing; no visitor is taken for a
    stranger meanwhile. Back, it has forgotten them: they are strangers, and can log in."""
    visitor = make_visitor()
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
    assert until_up(visitor) is None
    visitor(login)
    assert visitor(lambda session: session.user_id) == "ann"


def test_reading_as_anonymous(make_visitor: Callable[..., Visitor], server: Memcached) -> None:
    """27. `on_error="anonymous"`: reading finds nobody; a change, a log-in and a log-out are still 503."""
    visitor = make_visitor(on_error="anonymous")
    kill(server)
    reply = visitor.visit(lambda session: [dict(session), session.user_id, session.get("a", "none")])
    assert (reply.json, reply.set_cookies) == ([{}, None, "none"], [])
    for handler in (write, login, logout):
        reply = visitor.visit(handler)
        assert (reply.status, reply.set_cookies) == (503, [])


def test_a_frozen_server(make_visitor: Callable[..., Visitor], server: Memcached) -> None:
    """27. A server that hangs is a 503 after one time-out; the session is there when it goes on."""
    visitor = make_visitor(timeout=1)
    with freeze(server):
        for handler in (read, write, logout):
            assert visitor.visit(handler).status == 503
    assert until_up(visitor) in (1, 2)  # a write that timed out may have been applied


def test_a_server_that_dies_between_load_and_save(
    make_visitor: Callable[..., Visitor], server: Memcached
) -> None:
    """27. A save that fails after a load that worked replaces the response: it never looks like a success."""
    visitor = make_visitor()

    def handler(session: Any) -> str:
        session["a"] = session["a"] + 1
        kill(server)
        return "success"

    reply = visitor.visit(handler)
    assert (reply.status, reply.set_cookies) == (503, [])
    assert b"success" not in reply.body


def test_a_server_that_restarts_between_load_and_save(
    make_visitor: Callable[..., Visitor], server: Memcached
) -> None:
    """10. The session has ended with it: the save brings nothing back, and no cookie is sent."""
    visitor = make_visitor()

    def handler(session: Any) -> None:
        session["a"] = session["a"] + 1
        kill(server)
        server.start()

    reply = visitor.visit(handler)
    assert (reply.status, reply.set_cookies) == (200, [])
    assert server.stats()["curr_items"] == "0"
    assert visitor(dict) == {}


async def test_many_requests_wait_for_one_time_out(server: Memcached) -> None:
    """27. 100 concurrent requests to a frozen server all fail within a bounded time; none waits its turn."""
    shell = ASGIShell(MemcachedStore.from_url(server.url, timeout=5))
    visitor = shell.visitor()
    await asyncio.to_thread(visitor, lambda session: session.update(a=1))
    scope = make_scope(f"session={visitor.cookie}".encode()) | {"tests.handler": read}
    assert json.loads((await drive_asgi(shell.app, {**scope})).body) == 1
    with freeze(server):
        replies = await asyncio.wait_for(
            asyncio.gather(*[drive_asgi(shell.app, {**scope}) for _ in range(100)]), 60
        )
    assert {reply.status for reply in replies} == {503}
