"""What it costs the store to move a cookie, and servers that move one at the same time (issue 3, line 33)."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from scalekit.sessions.asgi import SessionMiddleware, load
from scalekit.sessions.migration import StarletteCookie
from scalekit.sessions.redis import RedisStore
from tests.servers import RedisServer
from tests.sessions.legacy import OLD, Browser, starlette_value
from tests.sessions.shells import SECRET, ASGIShell, Shell, drive_asgi, make_scope
from tests.sessions.test_cost import Counter, counting
from tests.sessions.test_processes import Process, cookie_of

DATA = {"_user_id": "7", "cart": ["tea"]}

_salt = itertools.count()


@pytest.fixture
def value() -> str:
    """A cookie that no test has used yet: one that was signed in the same second would be the same."""
    return starlette_value({**DATA, "salt": next(_salt)})


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server of our own, as others would be counted too."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def counter(server: RedisServer) -> Iterator[Counter]:
    with counting(server) as counter:
        yield counter


@pytest.fixture
def browser(shell_type: type[Shell], server: RedisServer, counter: Counter, value: str) -> Browser:
    """A visitor of the old application, of a server that knows all scripts."""
    shell = shell_type(RedisStore.from_url(server.url), migrate=[StarletteCookie(secret_key=OLD)])
    other = shell.visitor()
    for change in ({"a": 1}, {"a": 2}):
        other(lambda session: session.update(change))  # noqa: B023
    other(lambda session: session.logout())
    counter.reset()
    return Browser(shell, {"session": value})


def test_an_untouched_legacy_cookie(browser: Browser, counter: Counter) -> None:
    """33. 3. Where a session is loaded late, one that nobody looks at costs no command; ASGI asks for it, and
    writes nothing."""
    browser.visit(lambda session: None)
    expected = {"evalsha", "hgetall"} if isinstance(browser.shell, ASGIShell) else set[str]()
    if type(browser.shell).__name__ not in (
        "StarletteShell",
        "FastAPIShell",
    ):  # where asking for it is a look
        assert set(counter.read()) == expected


@pytest.mark.parametrize("shell_type", [ASGIShell])
async def test_a_lazy_legacy_cookie(
    server: RedisServer, counter: Counter, browser: Browser, value: str
) -> None:
    """33. 3. `lazy=True`: 0 commands for an untouched legacy cookie; `await load(request)` reads it."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/load":
            seen.append((await load(scope))["cart"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    old = StarletteCookie(secret_key=OLD)
    store = RedisStore.from_url(server.url)
    lazy = SessionMiddleware(app, store=store, secret_key=SECRET, lazy=True, migrate=[old])
    scope = make_scope(f"session={value}".encode())
    assert (await drive_asgi(lazy, {**scope})).set_cookies == []
    assert counter.read() == {}
    assert len((await drive_asgi(lazy, scope | {"path": "/load"})).set_cookies) == 1
    assert (counter.round_trips(), seen) == (4, [["tea"]])


@pytest.mark.parametrize("forged", ["x" * 100, "a.b.c", starlette_value({"a": 1}, secret_key="another")])
def test_a_forged_legacy_cookie_costs_nothing(browser: Browser, counter: Counter, forged: str) -> None:
    """33. 2. A cookie that the old application has not signed: no command."""
    browser.jar["session"] = forged
    assert browser(dict) == {}
    assert counter.read() == {}


def test_moving_is_four_round_trips_once(browser: Browser, counter: Counter) -> None:
    """33. Two to see that it was not moved before, two to move it; then it is a session like any other."""
    assert browser(dict)["cart"] == ["tea"]
    assert counter.round_trips() == 4
    counter.reset()
    assert browser(dict)["cart"] == ["tea"]
    assert counter.round_trips() == 1


def test_a_change_while_moving_is_one_more(browser: Browser, counter: Counter) -> None:
    """33. What the request changes is saved as ever."""
    browser.visit(lambda session: session.update(a=1))
    assert counter.round_trips() == 5


@pytest.fixture(scope="module")
def processes(redis_server: RedisServer) -> Iterator[list[Process]]:
    """Four servers of the new application."""
    with ExitStack() as stack:
        started = []
        for shell in ("starlette", "wsgi", "asgi", "flask"):
            started.append(Process(redis_server.url, "moving:", shell, OLD))
            stack.callback(started[-1].close)
        yield started


def data(process: Process, cookie: str) -> Any:
    user, values = process.request(cookie)["json"]
    values.pop("salt", None)
    return [user, values]


def test_four_servers_get_the_cookie_at_once(processes: list[Process], value: str) -> None:
    """33. 7. Four requests of one browser on four servers, all with the old cookie and all before any of them
    saves: one session with the changes of all, and one cookie."""
    for number, process in enumerate(processes):
        process.start(value, ["look"], ["wait"], ["set", f"key-{number}", number])
    for process in processes:
        process.say("go on")
    replies = [process.hear() for process in processes]
    assert {reply["status"] for reply in replies} == {200}
    (cookie,) = [cookie_of(reply) for reply in replies if reply["set_cookies"]]
    expected = {**DATA, **{f"key-{number}": number for number in range(4)}}
    for process in processes:
        assert data(process, cookie) == [None, expected]
        assert data(process, value) == [None, expected]  # of whom the answer was lost


@pytest.mark.parametrize("turn", [["logout"], ["login", "7"]])
def test_servers_that_race_a_change_of_principal(processes: list[Process], turn: list[Any]) -> None:
    """33. 10. 15. One server logs the visitor out, or in, while the others move the cookie, in any order:
    the old cookie is worth nothing afterwards, and whoever got a cookie last has what was asked for."""
    for round in range(10):
        value = starlette_value({**DATA, "round": round, "turn": turn})
        turning = processes[round % 4]
        for process in processes:
            process.start(value, ["look"], ["wait"], turn if process is turning else ["set", "late", 1])
        for process in processes:
            process.say("go on")
        given = {process: process.hear()["set_cookies"] for process in processes}
        cookies = {process: cookie_of({"set_cookies": lines}) for process, lines in given.items() if lines}
        assert turning in cookies
        for process in processes:
            assert data(process, value) == [None, {}]
            if process is not turning and process in cookies:  # it was first, and its session is over now
                assert data(process, cookies[process]) == [None, {}]
        user, values = data(processes[0], cookies[turning])
        assert user == (None if turn == ["logout"] else "7")
        assert ("cart" in values) is (user is not None)


def test_a_server_that_is_killed_while_it_moves(
    redis_server: RedisServer, processes: list[Process], value: str
) -> None:
    """33. A server that dies before it has answered leaves the visitor logged in."""
    victim = Process(redis_server.url, "moving:", "asgi", OLD)
    victim.start(value, ["look"], ["set", "a", 1], ["wait"])
    victim.close()
    reply = processes[1].request(value)
    assert reply["json"][1]["cart"] == ["tea"]
    assert data(processes[2], cookie_of(reply)) == [None, DATA]
