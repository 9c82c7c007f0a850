"""The answer of a rotation that does not arrive, and who comes with the old cookie (issue 3, 10, 11, 13).

Servers count time by their own clock. Over all stores it is always ten seconds later here: an answer is lost
at once, and an old cookie worth nothing as soon as the new one was used. What happens when is tried with a
clock of our own.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest

from scalekit.sessions import Cookie, MemoryStore, UserSessions
from scalekit.sessions import _following as following
from scalekit.sessions._successor import seal, unseal
from scalekit.sessions.encryption import EncryptedStore
from scalekit.sessions.session import Session
from scalekit.sessions.tokens import Tokens, store_id
from tests.sessions.shells import SECRET, Answer, Shell, Visitor

DAY = 86_400


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ALIAS", 0)


def who(session: Session) -> Any:
    return [session.user_id, dict(session)]


def rotate(session: Session) -> None:
    session.rotate()


def lose(visitor: Visitor, handler: Callable[[Session], Any] = rotate) -> str:
    """Have a response lost on its way; the cookie that it had."""
    kept = visitor.cookie
    visitor(handler)
    lost, visitor.cookie = visitor.cookie, kept
    assert lost not in (None, kept)
    return str(lost)


def known(shell: Shell) -> Visitor:
    """A visitor who is logged in, and has a cart."""
    visitor = shell.visitor()
    visitor(lambda session: [session.login("ann"), session.update(cart=["tea"])])
    return visitor


ANN = ["ann", {"cart": ["tea"]}]
NOBODY = [None, {}]


@pytest.mark.usefixtures("later")
def test_the_cookie_is_sent_again(shell: Shell) -> None:
    """13. 11. Who comes back with the old cookie, read or write, is logged in and is sent the same cookie as
    was lost, as often as it is lost; when that comes from the browser, the old one has ended."""
    visitor = known(shell)
    old = visitor.cookie
    lost = lose(visitor)
    for handler in (who, lambda s: s.update(seen=1), rotate, lambda s: [s.rotate(), s.pop("seen")]):
        assert lose(visitor, handler) == lost
    reply = visitor.visit(who)
    assert reply.json == ANN
    assert len(reply.set_cookies) == 1
    assert visitor.cookie == lost
    reply = visitor.visit(who)
    assert (reply.json, reply.set_cookies) == (ANN, [])
    assert Visitor(shell, old)(who) == NOBODY


@pytest.mark.usefixtures("later")
def test_two_at_once(shell: Shell) -> None:
    """13. Of two requests with the old cookie that overlap, both change one session and bring one cookie."""
    visitor = known(shell)
    lost, other = lose(visitor), Visitor(shell, visitor.cookie)

    def slow(session: Session) -> None:
        session["slow"] = 1
        other(lambda session: [session.rotate(), session.update(fast=1)])

    visitor(slow)
    assert visitor.cookie == other.cookie == lost
    assert visitor(who) == ["ann", {"cart": ["tea"], "slow": 1, "fast": 1}]


@pytest.mark.usefixtures("later")
def test_one_that_arrives_meanwhile(shell: Shell) -> None:
    """11. While the request was under way, the browser has come with the new cookie: it is not sent again."""
    visitor = known(shell)
    lost = lose(visitor)

    def slow(session: Session) -> Any:
        before = who(session)
        assert Visitor(shell, lost)(who) == ANN
        return before

    reply = visitor.visit(slow)
    assert (reply.json, reply.set_cookies) == (ANN, [])


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("how", ["logout", "login", "clear"])
def test_a_change_of_principal_ends_all_of_it(shell: Shell, how: str) -> None:
    """10. 15. Who logs out or in with the old cookie: neither that nor the lost one is worth anything."""
    visitor = known(shell)
    old, lost = visitor.cookie, lose(visitor)
    reply = visitor.visit(lambda s: s.login("bob") if how == "login" else getattr(s, how)())
    assert len(reply.set_cookies) == 1
    assert visitor(who) == (["bob", {}] if how == "login" else NOBODY)
    assert [Visitor(shell, cookie)(who) for cookie in (old, lost)] == [NOBODY] * 2


@pytest.mark.usefixtures("later")
def test_who_logs_out_elsewhere(shell: Shell) -> None:
    """10. The session ends under the lost cookie: who comes with the old one is logged out, too."""
    visitor = known(shell)
    Visitor(shell, lose(visitor))(lambda session: session.logout())
    assert visitor(who) == NOBODY


@pytest.mark.usefixtures("later")
def test_revoking(shell: Shell) -> None:
    """12. 29. One that no browser has come with yet is listed once, and can be ended."""
    visitor = known(shell)
    lost, users = lose(visitor), UserSessions(shell.store)
    assert len(users.list("ann")) == 1
    assert users.revoke_all("ann") == 1
    assert [Visitor(shell, cookie)(who) for cookie in (visitor.cookie, lost)] == [NOBODY] * 2


@pytest.mark.usefixtures("later")
def test_after_a_response_that_failed(make_shell: Callable[..., Shell]) -> None:
    """15. A 5xx brings no cookie; the next response does."""
    visitor = known(make_shell())
    lost = lose(visitor)
    assert visitor.visit(lambda session: Answer(len(session), status=500)).set_cookies == []
    visitor(who)
    assert visitor.cookie == lost


@pytest.mark.usefixtures("later")
def test_one_after_the_other(shell: Shell) -> None:
    """13. Two rotations, both lost, with the first cookie used in between: each is sent again."""
    visitor = known(shell)
    for _ in range(2):
        lost = lose(visitor)
        assert visitor(who) == ANN
        assert visitor.cookie == lost
        assert visitor(who) == ANN


@pytest.mark.usefixtures("later")
def test_two_in_one_request(make_shell: Callable[..., Shell]) -> None:
    """13. A request that rotates twice leaves nobody without a session, either."""
    visitor = known(make_shell())

    def twice(session: Any) -> Any:
        session.rotate()
        saved = session.save()
        if saved is True:
            session.rotate()
            return None

        async def again() -> None:
            await saved
            session.rotate()

        return again()

    lose(visitor, twice)
    assert visitor(who) == ANN


@pytest.mark.usefixtures("later")
def test_in_an_encrypted_store(make_shell: Callable[..., Shell]) -> None:
    """13. 17. The same where the store reads nothing."""
    pytest.importorskip("cryptography")
    visitor = known(make_shell(EncryptedStore(MemoryStore(), keys="a key of the tests, long enough")))
    old, lost = visitor.cookie, lose(visitor)
    assert visitor(who) == ANN
    assert visitor.cookie == lost
    assert visitor(who) == ANN
    assert Visitor(visitor.shell, old)(who) == NOBODY


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(make_shell: Callable[..., Shell], clock: Clock) -> Shell:
    return make_shell(MemoryStore(clock=clock))


def test_ten_seconds_before_an_answer_is_lost(timed: Shell, clock: Clock) -> None:
    """11. Until then the request left before the answer came, and its own must replace no cookie."""
    visitor = known(timed)
    lost = lose(visitor)
    clock.now += 9.999
    assert visitor.visit(who).set_cookies == []
    clock.now += 0.001
    assert len(visitor.visit(who).set_cookies) == 1
    assert visitor.cookie == lost


def test_ten_seconds_after_the_new_cookie_was_used(timed: Shell, clock: Clock) -> None:
    """13. However late that is, requests under way with the old one are served, without a cookie. Then it has
    ended, and for what is left of a minute it can neither store anything nor replace the new cookie. Who
    still comes with it afterwards is a new visitor."""
    visitor = known(timed)
    old, lost = visitor.cookie, lose(visitor)
    clock.now += 3600
    visitor(who)
    assert visitor.cookie == lost
    clock.now += 3600
    assert Visitor(timed, old).visit(who).json == ANN  # a cookie that is sent again may be lost again
    visitor(who)
    for passed, expected in ((9.999, ANN), (0.001, NOBODY), (49.999, NOBODY)):
        clock.now += passed
        reply = Visitor(timed, old).visit(who)
        assert (reply.json, reply.set_cookies) == (expected, [])
        visitor(who)
    assert Visitor(timed, old).visit(lambda session: session.update(a=1)).set_cookies == []
    clock.now += 0.001
    late = Visitor(timed, old)
    assert late(who) == NOBODY
    late(lambda session: session.update(a=1))
    assert late(who) == [None, {"a": 1}]
    late(lambda session: session.logout())
    assert visitor(who) == ANN


@pytest.mark.parametrize(("passed", "saved"), [(DAY - 1, True), (DAY, False)])
def test_a_request_that_is_under_way_for_long(timed: Shell, clock: Clock, passed: int, saved: bool) -> None:
    """7. 13. What it has loaded under the old id, it saves to the session that went on, for as long as there
    is a mark of that; it brings no cookie."""
    visitor = known(timed)
    other = Visitor(timed, visitor.cookie)

    def slow(session: Session) -> None:
        len(session)
        other(rotate)
        other(who)
        clock.now += passed
        session["late"] = 1

    assert visitor.visit(slow).set_cookies == []
    assert other(lambda session: "late" in session) is saved


@pytest.mark.parametrize(("idle", "bound"), [(7 * DAY, DAY), (3600, 3600)])
def test_the_bound(make_shell: Callable[..., Shell], clock: Clock, idle: int, bound: int) -> None:
    """13. A day, or the idle time if that is less; who comes with the old cookie then is a new visitor."""
    store = MemoryStore(clock=clock)
    visitor = known(make_shell(store, idle_timeout=idle))
    lost = lose(visitor)
    clock.now += bound - 0.001
    assert Visitor(visitor.shell, visitor.cookie)(who) == ANN
    clock.now += 0.001
    reply = visitor.visit(who)
    assert (reply.json, reply.set_cookies) == (NOBODY, [])
    assert Visitor(visitor.shell, lost)(who) == ANN  # it was used a moment ago


def test_who_comes_with_the_old_cookie_is_not_idle(make_shell: Callable[..., Shell], clock: Clock) -> None:
    """4. 13. The response that sends the cookie again extends the session, as any other does."""
    visitor = known(make_shell(MemoryStore(clock=clock), idle_timeout=3600))
    lose(visitor)
    for _ in range(3):
        clock.now += 3000
        assert visitor(who) == ANN


def test_a_short_idle_time(make_shell: Callable[..., Shell], clock: Clock) -> None:
    """11. What ended says so for a minute, although the session would not be idle for so long."""
    visitor = known(make_shell(MemoryStore(clock=clock), idle_timeout=30))
    late = Visitor(visitor.shell, visitor.cookie)
    visitor(rotate)
    for _ in range(2):
        visitor(who)
        clock.now += 25
    reply = late.visit(lambda session: session.update(a=1))
    assert (reply.json, reply.set_cookies) == (None, [])


def test_a_login_is_not_cured(timed: Shell, clock: Clock) -> None:
    """15. The answer of a log-in that is lost leaves the old cookie worthless at once, as it must be."""
    visitor = known(timed)
    lose(visitor, lambda session: session.login("ann"))
    assert visitor(who) == NOBODY
    clock.now += 60
    assert visitor(who) == NOBODY


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("persistent", [True, False])
def test_the_cookie_is_the_one_that_was_lost(make_shell: Callable[..., Shell], persistent: bool) -> None:
    """19. 20. With every attribute, and no longer than what is left of the session."""
    shell = make_shell(cookie=Cookie(same_site="strict"))
    visitor = shell.visitor(scheme="https")
    visitor(lambda session: session.update(cart=["tea"]))
    kept, lines = visitor.cookie, []

    def handler(session: Any) -> None:
        setattr(session, "permanent" if hasattr(session, "permanent") else "persistent", persistent)
        session.rotate()

    for _ in range(2):
        visitor.cookie = kept
        (line,) = visitor.visit(handler).set_cookies
        lines.append(
            {name.lower(): value for name, _, value in (part.partition("=") for part in line.split("; "))}
        )
    first, second = lines
    ages = [int(line.pop("max-age", 0)) for line in lines]
    assert first == second
    assert {"__host-session", "secure", "httponly"} <= first.keys()
    assert (0 < ages[1] <= ages[0]) if persistent else ages == [0, 0]


def test_a_token_is_sealed_for_one_who_has_the_one_before() -> None:
    """16. With another token, for another id, or changed, it does not open; nor does anything made up."""
    tokens = Tokens(SECRET)
    old, new, other = tokens.mint(), tokens.mint(), tokens.mint()
    sealed = seal(new, old=old)
    assert unseal(sealed, old=old, id=store_id(new)) == new
    assert unseal(sealed, old=other, id=store_id(new)) is None
    assert unseal(sealed, old=old, id=store_id(other)) is None
    assert new.encode() not in sealed
    assert seal(new, old=other) != sealed
    for made_up in (
        b"",
        sealed[:-1],
        sealed + b"\0",
        bytes(32),
        os.urandom(32),
        bytes([sealed[0] ^ 1]) + sealed[1:],
    ):
        assert unseal(made_up, old=old, id=store_id(new)) is None
