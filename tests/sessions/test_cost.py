"""What a request costs the store, counted by the server itself (issue 3, lines 1 to 6)."""

import contextlib
import itertools
import random
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from scalekit.sessions import _following
from scalekit.sessions.asgi import load
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.session import Session
from scalekit.sessions.tokens import store_id
from tests.servers import RedisServer
from tests.sessions.shells import ASGIShell, FlaskShell, Shell, Visitor, WSGIShell, make_scope, settled
from tests.sessions.test_data import Shop

# What a connection says when it is opened, and what the tests ask.
_NOT_OURS = re.compile(r"hello|auth|select|client.*|info|config.*|script.*|echo|monitor")


# One script: the session, whether it is due, and whether it was rotated to.
READ = {"evalsha": 1, "hgetall": 1, "hget": 1, "pttl": 1}


class Counter:
    """Commands that the server ran since `reset`, by name; those inside of scripts too."""

    def __init__(self, server: RedisServer, monitor: Iterator[dict[str, Any]]) -> None:
        self.server = server
        self.monitor = monitor

    def reset(self) -> None:
        self.round_trips()
        self.server.call("CONFIG", "RESETSTAT")

    def read(self) -> dict[str, int]:
        stats = self.server.info("commandstats")
        counts = {
            name.removeprefix("cmdstat_"): int(re.findall(r"calls=(\d+)", text)[0])
            for name, text in stats.items()
        }
        return {name: count for name, count in counts.items() if not _NOT_OURS.fullmatch(name)}

    def round_trips(self) -> int:
        """Commands that a store has sent, as the server tells them; a script is one, whatever it calls."""
        mark = secrets.token_hex()
        self.server.call("ECHO", mark)
        told = itertools.takewhile(lambda entry: mark not in entry["command"], self.monitor)
        sent = [entry["command"].split()[0].lower() for entry in told if entry["client_type"] != "lua"]
        return sent.count("evalsha") + sent.count("hgetall")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server of our own, as others would be counted too."""
    with RedisServer() as server:
        yield server


@contextlib.contextmanager
def counting(server: RedisServer) -> Iterator[Counter]:
    with redis.Redis.from_url(server.url) as client, client.monitor() as monitor:
        yield Counter(server, monitor.listen())


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def counter(server: RedisServer) -> Iterator[Counter]:
    with counting(server) as counter:
        yield counter


@pytest.fixture
def shell(shell_type: type[Shell], server: RedisServer) -> Shell:
    shell = shell_type(RedisStore.from_url(server.url))
    visitor = shell.visitor()  # teaches the server all four scripts
    visitor(lambda session: session.update(a=1))
    visitor(lambda session: session.update(a=2))
    visitor(lambda session: session.logout())
    return shell


@pytest.fixture
def known(shell: Shell, counter: Counter) -> Visitor:
    """A visitor with a session of several keys."""
    visitor = shell.visitor()
    visitor(lambda session: session.update(name="Ann", cart=["book"], visits=3))
    counter.reset()
    return visitor


def key_of(visitor: Visitor) -> str:
    """Where the visitor's session lies."""
    assert visitor.cookie is not None
    return "session:" + store_id(visitor.cookie.partition(".")[0])


def loads_untouched(shell: Shell) -> bool:
    return isinstance(shell, ASGIShell)  # `request.session` cannot await


@pytest.mark.parametrize(
    "handler",
    [
        lambda session: None,
        lambda session: [dict(session), session.get("a"), session.user_id, "a" in session, len(session)],
        lambda session: session.setdefault,
        lambda session: [Shop.of(session).cart, Shop.of(session).theme, Shop.of(session).cart],
    ],
    ids=["untouched", "read", "looked at", "typed defaults"],
)
def test_no_cookie_costs_nothing(shell: Shell, counter: Counter, handler: Any) -> None:
    """1. Without a cookie, a session that is read or left alone: no command, no Set-Cookie."""
    counter.reset()
    reply = shell.visitor().visit(lambda session: handler(session) and None)
    assert (reply.status, reply.set_cookies, counter.read()) == (200, [], {})


@pytest.mark.parametrize("cookie", ["x", "A" * 43 + "." + "A" * 43, "A" * 4000, 'a"b', "\xff\xfe"])
def test_a_forged_cookie_costs_nothing(shell: Shell, counter: Counter, cookie: str) -> None:
    """2. A forged, mangled or malformed cookie: no command, and the visitor is anonymous."""
    counter.reset()
    reply = Visitor(shell, cookie).visit(lambda session: [dict(session), session.user_id])
    assert (reply.json, reply.set_cookies, counter.read()) == ([{}, None], [], {})


def test_a_changed_cookie_costs_nothing(shell: Shell, known: Visitor, counter: Counter) -> None:
    """2. A real cookie with one character changed is forged."""
    assert known.cookie is not None
    first = "B" if known.cookie[0] == "A" else "A"
    assert Visitor(shell, first + known.cookie[1:])(dict) == {}
    assert counter.read() == {}


def test_an_untouched_session(shell: Shell, known: Visitor, counter: Counter) -> None:
    """3. A valid cookie and no look at the session: 0 commands under WSGI, one load under plain ASGI."""
    reply = known.visit(lambda session: None)
    expected = READ if loads_untouched(shell) else {}
    assert (reply.set_cookies, counter.read()) == ([], expected)


@pytest.mark.parametrize("shell_type", [ASGIShell])
async def test_lazy_asgi(server: RedisServer, counter: Counter, shell: Shell, known: Visitor) -> None:
    """3. `lazy=True`: 0 commands until `await load(request)`, which costs one, also when called twice."""
    from scalekit.sessions.asgi import SessionMiddleware
    from tests.sessions.shells import SECRET, drive_asgi

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/load":
            seen.append(dict(await load(scope)))
            assert await load(scope) is scope["session"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    lazy = SessionMiddleware(app, store=RedisStore.from_url(server.url), secret_key=SECRET, lazy=True)
    scope = make_scope(f"session={known.cookie}".encode())
    await drive_asgi(lazy, {**scope})
    assert counter.read() == {}
    await drive_asgi(lazy, scope | {"path": "/load"})
    assert (counter.round_trips(), seen) == (1, [{"name": "Ann", "cart": ["book"], "visits": 3}])


def test_reading_is_one_round_trip(known: Visitor, counter: Counter) -> None:
    """4. Read only, whatever is read and however often: exactly one script, which only reads."""
    assert known(lambda session: [session["name"], session["cart"], len(list(session.items()))]) == [
        "Ann",
        ["book"],
        3,
    ]
    assert counter.read() == READ


def test_typed_access_costs_no_more(known: Visitor, counter: Counter) -> None:
    """4. Attributes of the session's data, and defaults that are not stored: exactly one script."""
    assert known(lambda session: [Shop.of(session).cart, Shop.of(session).theme]) == [["book"], "light"]
    assert counter.read() == READ


def elsewhere(visitor: Visitor) -> Visitor:
    """The same visitor on another server, which has not seen the session yet."""
    shell: Any = visitor.shell
    return Visitor(type(shell)(RedisStore(shell.store._redis)), visitor.cookie)


def age(server: RedisServer, key: str, milliseconds: int) -> None:
    """Make a session one that was last seen so long ago."""
    seen = int(server.call("HGET", key, "\0seen"))
    server.call("HSET", key, "\0seen", str(seen - milliseconds))
    server.call("PEXPIRE", key, max(server.call("PTTL", key) - milliseconds, 1000))


def test_the_idle_refresh_is_in_the_same_round_trip(
    known: Visitor, counter: Counter, server: RedisServer
) -> None:
    """4. A load that extends the session is still one script."""
    key, week = key_of(known), 7 * 24 * 3600 * 1000
    age(server, key, week)
    counter.reset()
    elsewhere(known)(dict)
    assert counter.round_trips() == 1
    assert counter.read()["pexpire"] == 1
    assert server.call("PTTL", key) > 6 * 24 * 3600 * 1000


def test_the_idle_refresh_waits_for_a_threshold(
    known: Visitor, counter: Counter, server: RedisServer
) -> None:
    """5. Before five minutes (or a tenth of the idle time) nothing is written; then it is extended, once."""
    key = key_of(known)
    age(server, key, 290_000)
    counter.reset()
    elsewhere(known)(dict)
    assert "pexpire" not in counter.read()
    age(server, key, 310_000)
    counter.reset()
    for _ in range(3):
        elsewhere(known)(dict)
    assert counter.read()["pexpire"] == 1


def test_the_idle_refresh_after_the_clock_was_set_back(
    known: Visitor, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5. Who has seen a session by a clock of Redis that was an hour slow extends it when it is due."""
    here, key, hour = elsewhere(known), key_of(known), 3_600_000
    age(server, key, -hour)
    here(dict)
    age(server, key, hour + 310_000)
    before, now = server.call("PTTL", key), time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 310)
    here(dict)
    assert server.call("PTTL", key) > before


def test_what_a_server_has_just_seen_is_not_said_again(known: Visitor, counter: Counter) -> None:
    """4, 5. Until the refresh is due, a process that has seen the session asks whether it is still the same,
    and after a change of its own for the hash alone: one round trip, whatever it is."""
    here, data = elsewhere(known), {"name": "Ann", "cart": ["book"], "visits": 3}
    counter.reset()
    assert here(dict) == data
    assert counter.read() == READ
    here(dict)  # teaches the server the script
    counter.reset()
    assert [here(dict) for _ in range(3)] == [data] * 3
    assert (counter.read(), counter.round_trips()) == ({"evalsha": 3, "hmget": 3, "hlen": 3}, 3)
    here(lambda session: session.update(visits=4))
    counter.reset()
    assert here(dict) == data | {"visits": 4}
    assert counter.read() == {"hgetall": 1}


def test_what_others_have_changed_is_seen_in_one_round_trip(
    known: Visitor, counter: Counter, server: RedisServer
) -> None:
    """4. Another server has saved, or a tool has cut the hash: who remembers it is told all of it anew."""
    here, key = elsewhere(known), key_of(known)
    for change, expected in (
        (
            lambda: known(lambda session: session.update(visits=4)),
            {"name": "Ann", "cart": ["book"], "visits": 4},
        ),
        (
            lambda: known(lambda session: session.update(visits=5)),
            {"name": "Ann", "cart": ["book"], "visits": 5},
        ),
        (lambda: known(lambda session: session.pop("name") and None), {"cart": ["book"], "visits": 5}),
        (lambda: server.call("HDEL", key, "visits"), {"cart": ["book"]}),
        (
            lambda: [server.call("HSET", key, "cart", "\x2a"), server.call("HDEL", key, "\0version")],
            {"cart": 42},
        ),
    ):
        assert here(dict) == here(dict) != expected
        change()
        counter.reset()
        assert here(dict) == expected
        assert counter.round_trips() == 1


def test_a_session_that_has_ended_is_not_remembered(known: Visitor) -> None:
    """10. A process that has just seen a session follows its rotation, and knows nobody after the log-out."""
    here = elsewhere(known)
    assert here(dict) == here(dict) == {"name": "Ann", "cart": ["book"], "visits": 3}
    known(lambda session: session.rotate())
    assert here(lambda session: session["name"]) == "Ann"  # found to be an alias, and followed
    known(lambda session: session.logout())
    assert here(dict) == {}


def test_what_a_failover_has_lost_is_not_remembered(known: Visitor, server: RedisServer) -> None:
    """30. A new primary has lost a change, and has taken another one instead: a process that has seen the
    lost one does not take the one for the other."""
    here, key = elsewhere(known), key_of(known)
    server.call("COPY", key, "before", "REPLACE")
    known(lambda session: session.update(name="Bob"))
    assert here(lambda session: session["name"]) == "Bob"
    server.call("COPY", "before", key, "REPLACE")
    known(lambda session: session.update(visits=4))
    assert here(dict) == {"name": "Ann", "cart": ["book"], "visits": 4}


def test_what_a_tool_has_written_is_not_remembered(known: Visitor, server: RedisServer) -> None:
    """4. Also where nobody has saved the session before, or the tool has deleted its version before."""
    here, key = elsewhere(known), key_of(known)
    for visits in range(4, 7):
        assert here(dict)["visits"] == visits - 1
        server.call("HSET", key, "visits", chr(visits))
        server.call("HDEL", key, "\0version")
    assert here(dict)["visits"] == 6


def test_an_application_that_seeds_random(known: Visitor) -> None:
    """7. It plays the same game again and again; what another server has saved since is seen all the same."""
    here = elsewhere(known)
    for visits in range(4, 7):
        random.seed(7)
        known(lambda session: session.update(visits=visits))  # noqa: B023
        assert here(dict)["visits"] == visits


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.update(name="Bob"),
        lambda session: session["cart"].append("pen"),
        lambda session: session.pop("name"),
        lambda session: [session.update({f"key-{n}": n for n in range(50)}), session.pop("name")],
    ],
    ids=["set", "nested", "delete", "many"],
)
def test_modifying_is_two_round_trips(known: Visitor, counter: Counter, change: Any) -> None:
    """6. Load and save: exactly two commands, however much changes."""
    known(lambda session: change(session) and None)
    assert counter.round_trips() == 2


def test_a_first_value_is_one_round_trip(shell: Shell, counter: Counter) -> None:
    """6. A visitor without a session needs no load: creating it is all."""
    counter.reset()
    shell.visitor()(lambda session: session.update(a=1))
    assert counter.round_trips() == 1


@pytest.mark.parametrize(
    "turn",
    [lambda session: session.login("ann"), lambda session: session.rotate()],
    ids=["login", "rotate"],
)
def test_a_new_id_is_three_round_trips(known: Visitor, counter: Counter, turn: Any) -> None:
    """6. Load, create the new, end the old: three scripts, with changes on top too."""

    def handler(session: Session) -> None:
        session["name"] = "Bob"
        turn(session)

    known(handler)
    assert counter.round_trips() == 3


def test_the_first_request_with_a_new_id_is_one_round_trip(known: Visitor, counter: Counter) -> None:
    """4. 13. That the browser has come with it is noted in the same round trip, once."""
    old = known.cookie
    known(lambda session: session.rotate())
    for writes in (1, 0):
        counter.reset()
        elsewhere(known)(dict)
        assert counter.round_trips() == 1
        assert counter.read().get("hset", 0) == writes
    counter.reset()
    Visitor(known.shell, old)(dict)  # its mark, and where it leads
    assert counter.round_trips() == 2


def test_a_cookie_that_is_sent_again_is_three_round_trips(
    known: Visitor, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13. Its mark, where it leads, and whether the browser has come with that by now."""
    monkeypatch.setattr(_following, "ALIAS", 0)
    old = known.cookie
    known(lambda session: session.rotate())
    counter.reset()
    assert Visitor(known.shell, old).visit(dict).set_cookies != []
    assert counter.round_trips() == 3


def test_logging_out_is_two_round_trips(known: Visitor, counter: Counter) -> None:
    """6. Load and end."""
    known(lambda session: session.logout())
    assert counter.round_trips() == 2


def test_the_shells_that_load_late(server: RedisServer) -> None:
    """3. WSGI and Flask are the shells that load on the first look."""
    assert not any(
        loads_untouched(shell(RedisStore.from_url(server.url))) for shell in (WSGIShell, FlaskShell)
    )


@pytest.mark.parametrize(
    ("name", "arguments"), [("incr", ["visits"]), ("append", ["cart", "pen"]), ("take", ["name"])]
)
def test_an_atomic_change_is_two_round_trips(
    known: Visitor, counter: Counter, name: str, arguments: list[Any]
) -> None:
    """6, 9. Load, and one script that changes the value; nothing is left to be saved."""

    async def handler(session: Any) -> Any:
        return await settled(getattr(session, name)(*arguments))

    async def warm_up(session: Any) -> Any:
        return await settled(session.incr("visits"))

    known(warm_up)  # so that the server knows the script
    counter.reset()
    known(handler)
    assert counter.round_trips() == 2


@pytest.mark.parametrize("servers", ["redis_sentinel", "redis_cluster"])
@pytest.mark.parametrize("shell_type", [ASGIShell, WSGIShell])
def test_the_same_under_sentinel_and_in_a_cluster(
    servers: str, request: pytest.FixtureRequest, shell_type: type[Shell], prefix: str
) -> None:
    """30. Read 1, modify 2, log in 3. In a Cluster it takes one more to list a session under its user,
    and one to strike it off, as they are on different nodes."""
    group = request.getfixturevalue(servers)
    masters = group.masters if servers == "redis_cluster" else [group.master]
    counters = [request.getfixturevalue("stack").enter_context(counting(master)) for master in masters]
    shell = shell_type(RedisStore.from_url(group.url, prefix=prefix, timeout=30, connect_timeout=30))
    for _ in range(80):  # teaches every master all scripts, wherever the ids lie
        visitor = shell.visitor()
        visitor(lambda session: session.update(a=1))
        visitor(lambda session: session.update(a=2))
        visitor(dict)
        visitor(dict)
        visitor(lambda session: session.login("ann"))
        visitor(lambda session: session.logout())

    def cost(handler: Any) -> int:
        for counter in counters:
            counter.reset()
        visitor(lambda session: handler(session) and None)
        return sum(counter.round_trips() for counter in counters)

    extra = int(servers == "redis_cluster")
    visitor(lambda session: session.update(a=1))
    assert cost(lambda session: session.get("a")) == 1
    assert cost(lambda session: session.update(a=2)) == 2
    assert cost(lambda session: session.rotate()) == 3
    assert cost(lambda session: session.login("ann")) == 3 + extra
    assert cost(lambda session: session.get("a")) == 1
    assert cost(lambda session: session.logout()) == 2 + extra
