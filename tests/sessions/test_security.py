"""What an attacker finds (issue 3, lines 14 to 16, 19, 20)."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from scalekit.errors import ConfigurationError
from scalekit.sessions import Cookie, MemoryStore
from scalekit.sessions._successor import unseal
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.session import Session
from scalekit.sessions.tokens import Tokens
from tests.servers import RedisServer
from tests.sessions.shells import SECRET, Answer, Shell, Visitor

MakeShell = Callable[..., Shell]


def test_an_unknown_id_is_never_adopted(shell: Shell) -> None:
    """14. A cookie that is not ours, and a well signed one of a session that is no more: neither is stored
    nor echoed; what is written goes under a new id."""
    tokens = Tokens(SECRET)
    unknown = tokens.sign(tokens.mint())
    for cookie in ("attacker-chosen-id", "A" * 87, unknown):
        visitor = Visitor(shell, cookie)
        reply = visitor.visit(lambda session: session.update(a=1))
        assert cookie not in json.dumps(reply.headers)
        assert visitor.cookie not in (cookie, None)
        assert visitor(dict) == {"a": 1}
        assert Visitor(shell, cookie)(dict) == {}


def test_the_store_does_not_know_the_cookie(shell_type: type[Shell]) -> None:
    """14. Nothing that came in a cookie reaches the store as an id: it sees hashes of tokens of ours only."""
    ids: list[str] = []

    class Spy(MemoryStore):
        def load(self, id: str, **options: Any) -> Any:
            ids.append(id)
            return super().load(id, **options)

    shell = shell_type(Spy())
    for cookie in ("attacker-chosen-id", "A" * 87, "../../etc/passwd"):
        Visitor(shell, cookie)(dict)
    assert ids == []


def test_logging_in_changes_the_id_and_ends_the_old_one(shell: Shell) -> None:
    """15. Fixation: the id that an attacker knows or planted is worth nothing after the log-in."""
    visitor = shell.visitor()
    visitor(lambda session: session.update(cart=["book"]))
    planted = visitor.cookie
    visitor(lambda session: session.login("ann"))
    assert visitor.cookie != planted
    assert Visitor(shell, planted)(lambda session: [session.user_id, dict(session)]) == [None, {}]


def test_logging_out_ends_the_id_at_once(shell: Shell) -> None:
    """15. A cookie that was copied is worth nothing after the log-out, and the browser's is deleted."""
    visitor = shell.visitor()
    visitor(lambda session: session.login("ann"))
    copied = visitor.cookie
    reply = visitor.visit(lambda session: session.logout())
    assert reply.set_cookies == [
        "session=; Path=/; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax"
    ]
    assert Visitor(shell, copied)(lambda session: session.user_id) is None


def test_a_failed_response_changes_no_principal(shell: Shell) -> None:
    """15. A log-in or log-out on a response that failed has not happened: the id stays as it was."""

    def fail(session: Session) -> Answer:
        session.logout()
        return Answer(status=500)

    visitor = shell.visitor()
    visitor(lambda session: session.login("ann"))
    cookie = visitor.cookie
    assert visitor.visit(fail).set_cookies == []
    assert visitor.cookie == cookie
    assert visitor(lambda session: session.user_id) == "ann"


def test_a_dump_of_the_store_holds_no_usable_token(shell_type: type[Shell]) -> None:
    """16. Nothing that is in the store, keys included, is or contains a cookie or a token that works."""
    with RedisServer() as server:
        shell = shell_type(RedisStore.from_url(server.url))
        visitor = shell.visitor()
        visitor(lambda session: session.update(a=1))
        visitor(lambda session: session.login("ann"))
        visitor(lambda session: session.rotate())  # what nobody has come with yet can be sent again
        assert visitor.cookie is not None
        token = visitor.cookie.partition(".")[0]
        keys = [key.decode() for key in server.call("KEYS", "*")]
        assert len(keys) == 4  # the session, the marks of the two before, and the user's list
        (key,) = [key for key in keys if ":user:" not in key and server.call("HEXISTS", key, "\0deadline")]
        sealed = server.call("HGET", key, "\0rotated").split(b":", 2)[2]
        assert len(sealed) == 32
        for texts in (keys, [visitor.cookie.partition(".")[2]]):
            assert not any(unseal(sealed, old=text[-43:], id=key[-64:]) for text in texts)
        dump = b"\n".join(server.call("DUMP", key) for key in keys)
        assert token not in "\n".join(keys)
        assert token.encode() not in dump
        tokens = Tokens(SECRET)
        for key in keys:
            for text in (key, key.removeprefix("session:"), key[-43:]):
                assert Visitor(shell, text)(lambda session: session.user_id) is None
                # Even with the secret: the token is what hashes to the key, and cannot be computed from it.
                assert Visitor(shell, tokens.sign(text[:43]))(lambda session: session.user_id) is None


def test_the_cookie_under_https(make_shell: MakeShell) -> None:
    """19. `__Host-`, Secure, HttpOnly, SameSite=Lax and Path=/ are the defaults; a deletion repeats them."""
    visitor = make_shell().visitor(scheme="https")
    (line,) = visitor.visit(lambda session: session.update(a=1)).set_cookies
    name_and_value, *attributes = line.split("; ")
    assert name_and_value.startswith("__Host-session=")
    assert set(attributes) - {"Max-Age=2592000"} == {"Path=/", "Secure", "HttpOnly", "SameSite=Lax"}
    assert visitor(dict) == {"a": 1}
    (line,) = visitor.visit(lambda session: session.logout()).set_cookies
    assert line.startswith("__Host-session=; ")
    assert {"Path=/", "Max-Age=0", "Secure", "HttpOnly", "SameSite=Lax"} <= set(line.split("; "))


def test_a_cookie_of_plain_http_is_none_under_https(make_shell: MakeShell) -> None:
    """19. What anybody on the network could have set over HTTP is not taken for `__Host-` under HTTPS."""
    shell = make_shell()
    visitor = shell.visitor()
    visitor(lambda session: session.update(a=1))
    assert visitor.cookie is not None
    https = shell.visitor(scheme="https", extra=f"session={visitor.cookie}; ".encode())
    assert https(dict) == {}


def test_cookie_options_are_used(make_shell: MakeShell) -> None:
    """19. Domain, Path, SameSite and Partitioned of a `Cookie` reach the browser, also on deletion."""
    cookie = Cookie(domain="example.com", path="/app", secure=True, same_site="none", partitioned=True)
    visitor = make_shell(cookie=cookie).visitor()
    expected = {"Domain=example.com", "Path=/app", "Secure", "SameSite=None", "Partitioned"}
    (line,) = visitor.visit(lambda session: session.update(a=1)).set_cookies
    assert expected <= set(line.split("; "))
    (line,) = visitor.visit(lambda session: session.logout()).set_cookies
    assert expected <= set(line.split("; "))


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_no_way_of_writing_extends_the_deadline(make_shell: MakeShell) -> None:
    """20. Reading, writing, rotating and clearing, hour by hour: after its lifetime the session is over."""
    clock = Clock()
    shell = make_shell(
        MemoryStore(clock=clock), lifetime=timedelta(hours=10), idle_timeout=timedelta(hours=2)
    )
    visitor = shell.visitor()
    visitor(lambda session: session.update(a=1))
    ways: list[Callable[[Session], Any]] = [
        dict,
        lambda session: session.update(a=2),
        lambda session: session.rotate(),
        lambda session: [session.update(b=[1]), session.rotate()],
        lambda session: session["b"].append(2),
        lambda session: session.clear(),
        lambda session: [session.rotate(), session.rotate()],
        lambda session: session.update(a=3),
        lambda session: session.setdefault("c", 4),
    ]
    for way in ways:
        clock.now += 3600
        visitor(way)
    clock.now += 3599
    assert visitor(dict) == {"a": 3, "c": 4}
    clock.now += 1
    assert visitor(dict) == {}


def test_the_cookie_ends_with_the_session(make_shell: MakeShell) -> None:
    """20. A rotation's cookie lives as long as what is left of the session, not longer."""
    clock = Clock()
    shell = make_shell(MemoryStore(clock=clock), lifetime=10_000, idle_timeout=10_000, cookie=Cookie())
    visitor = shell.visitor()
    keep = remember if "Flask" in type(shell).__name__ else (lambda session: session.update(a=1))
    assert "Max-Age=10000;" in visitor.visit(keep).set_cookies[0]
    clock.now += 4_000
    assert "Max-Age=6000;" in visitor.visit(lambda session: session.rotate()).set_cookies[0]


def remember(session: Any) -> None:
    """In Flask a session ends with the browser unless it is permanent."""
    session.permanent = True
    session["a"] = 1


def test_logging_in_starts_a_new_lifetime(make_shell: MakeShell) -> None:
    """20. Only who proves anew who they are gets a new deadline."""
    clock = Clock()
    shell = make_shell(MemoryStore(clock=clock), lifetime=100, idle_timeout=100)
    visitor = shell.visitor()
    visitor(lambda session: session.login("ann"))
    clock.now += 90
    visitor(lambda session: session.login("ann"))
    clock.now += 90
    assert visitor(lambda session: session.user_id) == "ann"
    clock.now += 10
    assert visitor(lambda session: session.user_id) is None


def test_an_idle_session_ends(make_shell: MakeShell) -> None:
    """A session that nobody uses ends after `idle_timeout`; one that is used lives on."""
    clock = Clock()
    shell = make_shell(MemoryStore(clock=clock), idle_timeout=100)
    used, idle = shell.visitor(), shell.visitor()
    for visitor in (used, idle):
        visitor(lambda session: session.update(a=1))
    for _ in range(5):
        clock.now += 60
        assert used(dict) == {"a": 1}
    assert idle(dict) == {}


@pytest.mark.parametrize(
    "options",
    [
        {"idle_timeout": 0},
        {"idle_timeout": -1},
        {"lifetime": 0},
        {"lifetime": float("inf")},
        {"max_size": 0},
        {"on_error": "ignore"},
        {"secret_key": "short"},
        {"secret_key": []},
    ],
    ids=repr,
)
def test_wrong_options_fail_at_start_up(options: dict[str, Any]) -> None:
    """A mistake in the options is an error when the application starts, not when a visitor comes."""
    from scalekit.sessions.asgi import SessionMiddleware as ASGIMiddleware
    from scalekit.sessions.flask import ServerSessionInterface
    from scalekit.sessions.wsgi import SessionMiddleware as WSGIMiddleware

    async def app(*_: Any) -> None: ...

    options = {"secret_key": SECRET, **options}
    with pytest.raises(ConfigurationError):
        ASGIMiddleware(app, store=MemoryStore(), **options)
    with pytest.raises(ConfigurationError):
        WSGIMiddleware(lambda *_: [], store=MemoryStore(), **options)
    with pytest.raises(ConfigurationError):
        ServerSessionInterface(MemoryStore(), **options)


def test_keys_of_the_ring_rotate(make_shell: MakeShell) -> None:
    """Cookies that an old key signed stay good while it is in the ring; new ones are signed by the last."""
    store = MemoryStore()
    old = make_shell(store).visitor()
    old(lambda session: session.update(a=1))
    visitor = Visitor(make_shell(store, secret_key=[SECRET, "the next secret, long enough"]), old.cookie)
    assert visitor(dict) == {"a": 1}
    visitor(lambda session: session.rotate())
    assert visitor.cookie is not None
    assert Tokens(SECRET).verify(visitor.cookie) is None


def test_a_key_that_leaves_the_ring_ends_every_session(make_shell: MakeShell) -> None:
    """Without the key that signed them, all cookies are worth nothing at once."""
    store = MemoryStore()
    visitor = make_shell(store).visitor()
    visitor(lambda session: session.login("ann"))
    without = Visitor(make_shell(store, secret_key="the next secret, long enough"), visitor.cookie)
    assert without(lambda session: [session.user_id, dict(session)]) == [None, {}]


def test_no_attribute_shows_the_token(shell: Shell) -> None:
    """19. Nothing that a session shows of itself, its `repr` neither, has the token in it."""
    visitor = shell.visitor()
    visitor(lambda session: session.login("ann"))
    assert visitor.cookie is not None
    token = visitor.cookie.partition(".")[0]

    def shown(session: Session) -> list[str]:
        public = [name for name in dir(session) if not name.startswith("_")]
        return [repr(session), str(session), *(repr(getattr(session, name)) for name in public)]

    assert not [text for text in visitor(shown) if token in text]


def test_the_cookie_has_one_size(make_shell: MakeShell) -> None:
    """However much a session holds, and whoever it belongs to, name and value have about 100 bytes."""
    visitor = make_shell().visitor(scheme="https")
    sizes = []
    for change in (
        lambda session: session.update(a=1),
        lambda session: [session.update(b="x" * 100_000), session.rotate()],
        lambda session: session.login("a" * 10_000),
    ):
        (line,) = visitor.visit(lambda session, change=change: change(session) and None).set_cookies
        sizes.append(len(line.split(";")[0]))
    assert set(sizes) == {len("__Host-session=") + 87}
