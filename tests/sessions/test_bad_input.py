"""What a browser, another tool or an older version may send or leave behind (issue 3, "Bad input")."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from scalekit.sessions import MemoryStore, UserSessions
from scalekit.sessions._sparing import PAUSE, SparingLog
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.tokens import Tokens, store_id
from tests.servers import RedisServer
from tests.sessions.shells import SECRET, Shell, Visitor, WSGIShell

FORGED = b"session=" + b"A" * 43 + b"." + b"A" * 43


class Spy(MemoryStore):
    """Counts what it is asked for."""

    asked = 0

    def load(self, *args: Any, **options: Any) -> Any:
        self.asked += 1
        return super().load(*args, **options)


@pytest.mark.parametrize(
    "header",
    [
        b"session=" + b"x" * 1_000_000,
        b"; ".join([FORGED] * 700),
        b"; ".join(b"c%d=%s" % (number, b"x" * 100) for number in range(5000)),
        b";" * 100_000,
        b"session" * 10_000,
        b"session=\xff\xfe\x80; session=\xc3\xa9; \xff=\xff",
        b"session=\x00\r\n; session",
        b'session="; session="";session==;=session;  session  =  ',
    ],
    ids=["huge", "forged", "many", "empty", "no value", "no UTF-8", "control", "quotes"],
)
def test_cookies_that_are_none(
    make_shell: Callable[..., Shell], header: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """2. Bombs, garbage and forgeries: an anonymous visitor, no access to the store, no word in the log. A
    real cookie among them is found."""
    store = Spy()
    shell = make_shell(store)
    reply = shell.request(lambda session: [dict(session), session.user_id], header)
    assert (reply.json, reply.set_cookies, store.asked) == ([{}, None], [], 0)
    visitor = shell.visitor()
    visitor(lambda session: session.update(a=1))
    if header.count(b"session=") < 8:
        assert Visitor(shell, visitor.cookie, extra=header + b"; ")(dict) == {"a": 1}
    assert caplog.records == []


def test_several_cookies_of_one_name(make_shell: Callable[..., Shell]) -> None:
    """A cookie of our name that is not ours, as another host of the domain may set it, hides nothing. Of two
    that are ours the first counts, which browsers send for the longer path; the other session is left
    alone."""
    shell = make_shell()
    ann, bob = shell.visitor(), shell.visitor()
    ann(lambda session: session.login("ann"))
    bob(lambda session: session.login("bob"))
    for extra in (FORGED + b"; ", b"session=x; session=; ", b"session=\xff; "):
        assert Visitor(shell, ann.cookie, extra=extra)(lambda session: session.user_id) == "ann"
    both = Visitor(shell, bob.cookie, extra=f"session={ann.cookie}; ".encode())
    assert both(lambda session: session.user_id) == "ann"
    both(lambda session: session.logout())
    assert ann(lambda session: session.user_id) is None
    assert bob(lambda session: session.user_id) == "bob"


TIMES = ["", "soon", "nan", "inf", "-5", "0x7fffffffffff", "1e15", " 99999999999999", "9" * 19, "9" * 5000]
GARBAGE: dict[str, list[list[str]]] = {
    "a string": [["DEL", "KEY"], ["SET", "KEY", "x"]],
    "a list": [["DEL", "KEY"], ["RPUSH", "KEY", "x"]],
    "a set": [["DEL", "KEY"], ["SADD", "KEY", "x"]],
    "a stream": [["DEL", "KEY"], ["XADD", "KEY", "1-1", "a", "b"]],
    "a hash of others": [["DEL", "KEY"], ["HSET", "KEY", "name", "x", "b", "y", "c", "z"]],
    "no deadline": [["HDEL", "KEY", "\0deadline"]],
    "no creation": [["HDEL", "KEY", "\0created"]],
    **{f"deadline {text[:9]!r}": [["HSET", "KEY", "\0deadline", text]] for text in TIMES},
    **{f"created {text[:9]!r}": [["HSET", "KEY", "\0created", text]] for text in TIMES},
}


@pytest.mark.parametrize("left", [None, 60_000], ids=["just seen", "long ago"])
@pytest.mark.parametrize("garbage", GARBAGE)
def test_what_another_tool_has_left(
    garbage: str,
    left: int | None,
    redis_server: RedisServer,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What is no session is none: the visitor is anonymous, one line is logged however often they come,
    nothing of it is changed, adopted or deleted, and other visitors notice nothing."""
    call = redis_server.call
    shell = WSGIShell(RedisStore.from_url(redis_server.url, prefix=prefix, timeout=30))
    ann, bob = shell.visitor(), shell.visitor()
    ann(lambda session: session.update(a=1))
    bob(lambda session: session.update(b=2))
    assert ann.cookie is not None
    key, old = prefix + store_id(ann.cookie.partition(".")[0]), ann.cookie
    for command in GARBAGE[garbage]:
        call(*[key if word == "KEY" else word for word in command])
    if left is not None:
        call("HSET", key, "\0seen", 1) if "adline" in garbage or "creat" in garbage else None
        call("PEXPIRE", key, left)
    dump, lives = call("DUMP", key), call("PTTL", key)

    for _ in range(3):
        assert ann(lambda session: [dict(session), session.user_id]) == [{}, None]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert key[len(prefix) :][:8] in caplog.text
    assert old[:43] not in caplog.text
    ann(lambda session: session.update(c=3))
    assert ann.cookie != old
    assert ann(dict) == {"c": 3}
    Visitor(shell, old)(lambda session: session.logout())
    assert call("DUMP", key) == dump
    assert call("PTTL", key) <= lives
    assert bob(dict) == {"b": 2}


@pytest.fixture
def known(redis_server: RedisServer, prefix: str) -> tuple[Visitor, str]:
    """A visitor with a session in Redis, and its key."""
    visitor = WSGIShell(RedisStore.from_url(redis_server.url, prefix=prefix, timeout=30)).visitor()
    visitor(lambda session: session.update(a=1, b=2))
    assert visitor.cookie is not None
    return visitor, prefix + store_id(visitor.cookie.partition(".")[0])


def test_looking_at_what_has_lost_its_expiry(redis_server: RedisServer, prefix: str) -> None:
    """29. A session that a backup has brought back without one is not ended by a look at the list."""
    store = RedisStore.from_url(redis_server.url, prefix=prefix, timeout=30)
    visitor, users = WSGIShell(store).visitor(), UserSessions(store)
    visitor(lambda session: session.login("ann"))
    key = f"{prefix}{users.list('ann')[0].id}"
    assert redis_server.call("PERSIST", key) == 1
    (info,) = users.list("ann")
    assert redis_server.call("PEXPIRETIME", key) == int(info.expires.timestamp() * 1000)


@pytest.mark.parametrize("command", [["PERSIST"], ["PEXPIRE", 10**12]], ids=["none", "too long"])
def test_an_expiry_that_is_not_ours(
    known: tuple[Visitor, str], redis_server: RedisServer, command: list[Any]
) -> None:
    """20. A session whose expiry another tool has taken away or put off works, has its own again before long,
    and still ends at its deadline."""
    visitor, key = known
    week = 7 * 24 * 3600 * 1000
    redis_server.call(command[0], key, *command[1:])
    redis_server.call("HSET", key, "\0seen", 1)
    assert visitor(dict) == {"a": 1, "b": 2}
    assert 0 < redis_server.call("PTTL", key) <= week
    redis_server.call(command[0], key, *command[1:])
    redis_server.call("HSET", key, "\0deadline", int(time.time() * 1000) - 1)
    assert visitor(dict) == {}
    assert redis_server.call("EXISTS", key) == 0


def test_metadata_of_a_later_version(known: tuple[Visitor, str], redis_server: RedisServer) -> None:
    """Fields behind a NUL are no values, also those that this version does not know; `clear()` leaves
    them."""
    visitor, key = known
    redis_server.call("HSET", key, "\0later", "x", "\0alias", "y", "", "\x01")
    assert visitor(lambda session: sorted(session)) == ["", "a", "b"]
    visitor(lambda session: session.clear())
    assert visitor(dict) == {}
    assert redis_server.call("HGET", key, "\0later") == b"x"


@pytest.mark.parametrize("text", ["", "x", "2:5", "0:", "0", "1:-5", "1:x", "0x1:5", ":", "0:" + "9" * 400])
def test_a_rotation_that_is_none(redis_server: RedisServer, prefix: str, text: str) -> None:
    """13. What something else has written where a session, or the mark of one, tells of its rotation: the one
    is read all the same, and the other stands for nothing that it would not stand for otherwise."""
    visitor = WSGIShell(RedisStore.from_url(redis_server.url, prefix=prefix, timeout=30)).visitor()
    visitor(lambda session: session.update(a=1))
    old = visitor.cookie
    visitor(lambda session: session.rotate())
    assert old is not None
    assert visitor.cookie is not None
    mark, key = (f"{prefix}{store_id(cookie.partition('.')[0])}" for cookie in (old, visitor.cookie))
    redis_server.call("HSET", mark, "\0alias", text)
    assert Visitor(visitor.shell, old)(dict) == {"a": 1}
    redis_server.call("HSET", key, "\0rotated", text)
    assert Visitor(visitor.shell, old)(dict) == ({"a": 1} if text.endswith("9") else {})
    assert visitor(dict) == {"a": 1}


def test_a_list_of_sessions_that_is_none(redis_server: RedisServer, prefix: str) -> None:
    """Something else under the key of a user's list: nobody can log in as that user, which is a 503 and
    stores nothing; who is logged in can still log out."""
    visitor = WSGIShell(RedisStore.from_url(redis_server.url, prefix=prefix, timeout=30)).visitor()
    visitor(lambda session: session.login("ann"))
    (index,) = redis_server.call("KEYS", f"{prefix}user:*")
    redis_server.call("SET", index.decode(), "x")
    cookie = visitor.cookie
    assert visitor.shell.visitor().visit(lambda session: session.login("ann")).status == 503
    assert len(redis_server.call("KEYS", f"{prefix}*")) == 2
    visitor(lambda session: session.logout())
    assert Visitor(visitor.shell, cookie)(lambda session: session.user_id) is None


def test_a_signed_cookie_of_nobody(
    make_shell: Callable[..., Shell], caplog: pytest.LogCaptureFixture
) -> None:
    """14. A token that we have signed and the store does not know: anonymous, without a word."""
    tokens = Tokens(SECRET)
    for _ in range(3):
        assert Visitor(make_shell(), tokens.sign(tokens.mint()))(dict) == {}
    assert caplog.records == []


def test_what_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each message once a minute; then with how often it was left out."""
    now = 0.0
    log = SparingLog(clock=lambda: now)
    for number in range(5):
        log.log(30, "trouble with %s", number)
        log.log(40, "other trouble")
    now += PAUSE
    log.log(30, "trouble with %s", 5)
    log.log(30, "trouble with %s", 6)
    assert [record.getMessage() for record in caplog.records] == [
        "trouble with 0",
        "other trouble",
        "trouble with 5 (and 4 times more since this was last said)",
    ]
