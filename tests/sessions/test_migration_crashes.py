"""A legacy cookie is moved once, wherever a server is stopped in between (issue 3, lines 27 and 33)."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

from scalekit.errors import BackendUnavailable
from scalekit.sessions import MemoryStore, Store
from scalekit.sessions.migration import LegacyCookie, StarletteCookie
from scalekit.sessions.session import Session
from scalekit.sessions.store import Created, Inherited
from scalekit.sessions.tokens import store_id
from tests.sessions.legacy import OLD, Browser, starlette_value
from tests.sessions.shells import ASGIShell, Shell, WSGIShell

DATA = {"_user_id": "7", "cart": ["tea"]}
DAY = 24 * 3600.0

_now = time.time  # a test may set that of the servers

SHELLS = pytest.mark.parametrize("shell_type", [ASGIShell, WSGIShell])


class Killed(BaseException):
    """The server is stopped, or the request cancelled."""


class Stopping(MemoryStore):
    """A store at which something happens before or after one of the two things that a move makes.

    Attributes:
        later: seconds that its clock is ahead.
    """

    def __init__(self) -> None:
        super().__init__(clock=lambda: _now() + self.later)
        self.later = 0.0
        self._at: tuple[str, str] | None = None
        self._event: Callable[[], None] = lambda: None

    def at(self, moment: str, what: str, event: Callable[[], None]) -> None:
        """Have ``event`` happen, once, ``"before"`` or ``"after"`` the ``"note"`` or the ``"session"``."""
        self._at, self._event = (moment, what), event

    def create(self, *args: Any, **options: Any) -> Created | None:
        what = "session" if options["fields"] else "note"
        self._reach("before", what)
        created = super().create(*args, **options)
        self._reach("after", what)
        return created

    def _reach(self, *point: str) -> None:
        if point == self._at:
            self._at = None
            self._event()


def everything(session: Session) -> Any:
    return [session.user_id, dict(session)]


@pytest.fixture
def cookie() -> LegacyCookie:
    return StarletteCookie(secret_key=OLD, user=lambda data: data.get("_user_id"))


@pytest.fixture
def value() -> str:
    return starlette_value(DATA)


def killed() -> None:
    raise Killed


def away() -> None:
    raise BackendUnavailable("away", backend="the store")


POINTS = [("before", "note"), ("after", "note"), ("before", "session"), ("after", "session")]


@SHELLS
@pytest.mark.parametrize("turn", ["logout", "login"])
@pytest.mark.parametrize("event", [killed, away])
@pytest.mark.parametrize("point", POINTS, ids=" ".join)
def test_a_move_that_was_cut_off(
    shell_type: type[Shell], cookie: LegacyCookie, value: str, point: Any, event: Any, turn: str
) -> None:
    """33. 27. 15. Wherever the move is cut off, the visitor is still logged in with the cookie; and when they
    have logged out, or in, a copy of it is worth nothing: at once, after a minute, after days."""
    store = Stopping()
    browser = Browser(shell_type(store, migrate=[cookie]), {"session": value})
    store.at(*point, event)
    with suppress(Killed):
        assert browser.visit(everything).status == 503
    assert browser.jar == {"session": value}
    assert browser(everything) == ["7", DATA]
    browser.visit(lambda session: session.logout() if turn == "logout" else session.login("8"))
    for store.later in (0.0, 30.0, 61.0, 10 * DAY):
        assert Browser(browser.shell, {"session": value})(everything) == [None, {}]


@SHELLS
@pytest.mark.parametrize("point", [("after", "note"), ("before", "session")], ids=" ".join)
def test_a_log_out_right_after_it_was_cut_off(
    shell_type: type[Shell], cookie: LegacyCookie, value: str, point: Any
) -> None:
    """33. 15. The next request is the log-out, and finds the note alone: it ends the session all the same."""
    store = Stopping()
    browser = Browser(shell_type(store, migrate=[cookie]), {"session": value})
    store.at(*point, killed)
    with suppress(Killed):
        browser.visit(everything)
    browser.visit(lambda session: session.logout())
    for store.later in (0.0, 30.0, 61.0, 10 * DAY):
        assert Browser(browser.shell, {"session": value})(everything) == [None, {}]


@SHELLS
@pytest.mark.parametrize("later", [30.0, 46.0])
def test_who_comes_back_when(shell_type: type[Shell], cookie: LegacyCookie, value: str, later: float) -> None:
    """33. Cut off between the two: who comes back within 45 seconds is still logged in. Later nobody can tell
    whether there was a session: the cookie is worth nothing, and goes."""
    store = Stopping()
    browser = Browser(shell_type(store, migrate=[cookie]), {"session": value})
    store.at("before", "session", killed)
    with suppress(Killed):
        browser.visit(everything)
    store.later = later
    assert browser(everything) == (["7", DATA] if later < 45.0 else [None, {}])
    assert list(browser.jar) == (["__Host-session"] if later < 45.0 else [])


@SHELLS
def test_two_at_once_between_the_two(shell_type: type[Shell], cookie: LegacyCookie, value: str) -> None:
    """33. 7. While one request is between the note and the session, another one makes it: one session with
    the changes of both, and one cookie."""
    store = Stopping()
    browser = Browser(shell_type(store, migrate=[cookie]), {"session": value})
    other = Browser(browser.shell, {"session": value})
    store.at("before", "session", lambda: other.visit(lambda session: session.update(fast=1)) and None)
    assert browser.visit(lambda session: session.update(slow=1)).set_cookies == []
    assert list(other.jar) == ["__Host-session"]
    for visitor in (browser, other):
        assert visitor(everything) == ["7", {**DATA, "fast": 1, "slow": 1}]


@SHELLS
@pytest.mark.parametrize("turn", ["logout", "login"])
@pytest.mark.parametrize("stands", [1.0, 61.0])
def test_a_server_that_stands_still(
    shell_type: type[Shell], cookie: LegacyCookie, value: str, turn: str, stands: float
) -> None:
    """33. 10. A server stands still between the two, while the visitor logs out or in elsewhere, until the
    mark of that is gone: the session is not brought back, and no cookie replaces that of the log-in."""
    store = Stopping()
    browser = Browser(shell_type(store, migrate=[cookie]), {"session": value})
    other = Browser(browser.shell, {"session": value})

    def meanwhile() -> None:
        other.visit(lambda session: session.logout() if turn == "logout" else session.login("8"))
        store.later = stands

    store.at("before", "session", meanwhile)
    assert browser.visit(lambda session: session.update(late=1)).set_cookies == []
    assert browser(everything) == [None, {}]
    assert other(everything) == ([None, {}] if turn == "logout" else ["8", {}])
    assert store.count() == 1 + (turn == "login")  # the note, and the session of the log-in


@SHELLS
def test_a_session_that_times_out_soon(shell_type: type[Shell], cookie: LegacyCookie, value: str) -> None:
    """33. 20. One that has timed out within seconds is not taken for one that was never made."""
    store = Stopping()
    shell = shell_type(store, migrate=[cookie], idle_timeout=10)
    assert Browser(shell, {"session": value})(everything) == ["7", DATA]
    store.later = 11.0
    assert Browser(shell, {"session": value})(everything) == [None, {}]


@pytest.mark.parametrize("shell_type", [WSGIShell])
@pytest.mark.parametrize("age", [0, 30_000, 46_000])
def test_a_note_without_a_session(
    shell_type: type[Shell], store: Store, cookie: LegacyCookie, age: int
) -> None:
    """33. 27. In each store: the session of a note that is younger than 45 seconds is made, that of an older
    one is over, and the cookie goes."""
    value = starlette_value({**DATA, "age": age})  # another cookie than that of other tests
    signed = cookie.verify(value)
    assert signed is not None
    bound = store.using("sync")
    asked = bound.create(store_id("a clock"), fields={}, user=None, idle=1000, lifetime=1000)
    assert isinstance(asked, Created)
    noted, left = asked.created - age, signed.left
    bound.create(
        store_id(signed.mark),
        fields={},
        user=None,
        idle=left,
        lifetime=left,
        inherit=Inherited(noted, noted + left, ""),
    )
    browser = Browser(shell_type(store, migrate=[cookie]), {"session": value})
    over = age > 45_000
    reply = browser.visit(everything)
    assert reply.json == ([None, {}] if over else ["7", {**DATA, "age": age}])
    assert list(browser.jar) == ([] if over else ["__Host-session"])
    assert browser(everything) == reply.json


@SHELLS
def test_servers_whose_clocks_differ(
    shell_type: type[Shell], cookie: LegacyCookie, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """33. A server whose clock is half an hour ahead moves a cookie; it is still worth nothing when it is too
    old for that server, and not yet for the others."""

    def set_clock(ahead: float) -> None:
        class Ahead(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.now(tz) + timedelta(seconds=ahead)

        monkeypatch.setattr("scalekit.sessions.migration.datetime", Ahead)
        monkeypatch.setattr(time, "time", lambda: _now() + ahead)

    store = Stopping()
    browser = Browser(shell_type(store, migrate=[cookie]), {"session": value})
    set_clock(1800.0)
    assert browser(everything) == ["7", DATA]
    browser.visit(lambda session: session.logout())
    store.later = 14 * DAY - 900.0
    set_clock(store.later)
    assert cookie.verify(value) is not None
    assert Browser(browser.shell, {"session": value})(everything) == [None, {}]
