"""Adopting this package logs nobody out: the cookies of Starlette and Flask (issue 3, line 33)."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scalekit.errors import BackendUnavailable, ConfigurationError, SessionCommitted
from scalekit.sessions import Cookie, Events, MemoryStore, Store, UserSessions, _following
from scalekit.sessions._moving import LegacyToken
from scalekit.sessions.migration import FlaskCookie, LegacyCookie, StarletteCookie
from scalekit.sessions.session import Session
from tests.sessions.legacy import COOKIES, OLD, VALUES, Browser, flask_value, starlette_value
from tests.sessions.shells import Answer, ASGIShell, FlaskShell, Shell, WSGIShell, make_scope

DATA = {"_user_id": "7", "cart": ["tea"], "theme": "dark"}

Make = Callable[..., Shell]


@pytest.fixture(params=VALUES)
def kind(request: pytest.FixtureRequest) -> str:
    """Each old application in turn."""
    name: str = request.param
    return name


@pytest.fixture
def value(kind: str) -> str:
    """The cookie of a visitor who is logged in to the old application."""
    return VALUES[kind](DATA)


@pytest.fixture
def cookie(kind: str) -> LegacyCookie:
    return COOKIES[kind](secret_key=OLD, user=lambda data: data.get("_user_id"))


@pytest.fixture
def browser(shell_type: type[Shell], store: Store, cookie: LegacyCookie, value: str) -> Browser:
    """A visitor of the old application, over each framework and store."""
    return Browser(shell_type(store, migrate=[cookie]), {"session": value})


@dataclass
class Clock:
    """The store's, which may be ahead."""

    later: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.later


class Away(MemoryStore):
    """A store of which some operations fail."""

    down: tuple[str, ...] = ()

    def load(self, *args: Any, **options: Any) -> Any:
        self._fail("load")
        return super().load(*args, **options)

    def create(self, *args: Any, **options: Any) -> Any:
        self._fail("create")
        return super().create(*args, **options)

    def _fail(self, operation: str) -> None:
        if operation in self.down:
            raise BackendUnavailable("away", backend="the store")


def everything(session: Session) -> Any:
    return [session.user_id, dict(session)]


def test_a_visitor_stays_logged_in(browser: Browser) -> None:
    """33. A request that only reads finds what the old cookie held, and moves it: ours replaces it."""
    reply = browser.visit(everything)
    assert reply.json == ["7", DATA]
    deletion, ours = reply.set_cookies
    assert deletion.startswith("session=; Path=/; Max-Age=0;")
    assert ours.startswith("__Host-session=")
    assert list(browser.jar) == ["__Host-session"]
    assert browser(everything) == ["7", DATA]
    assert browser.visit(lambda session: session["cart"].append("cup")).set_cookies == []
    assert browser(lambda session: session["cart"]) == ["tea", "cup"]


def test_what_the_cookie_carried_is_not_kept(browser: Browser) -> None:
    """33. After the response nothing in the process holds what was in a visitor's cookie."""
    browser.visit(lambda session: session.update(seen=True))
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is LegacyToken]


@pytest.mark.parametrize("shell_type", [ASGIShell, WSGIShell, FlaskShell])
def test_an_untouched_session_is_not_moved(browser: Browser) -> None:
    """33. A request that does not look at its session leaves everything as it is."""
    jar = dict(browser.jar)
    assert browser.visit(lambda session: None).set_cookies == []
    assert browser.jar == jar


def test_a_change_in_the_first_request(browser: Browser) -> None:
    """33. What the first request changes, deep inside or by deleting, is in the moved session."""

    def change(session: Session) -> None:
        session["cart"].append("cup")
        del session["theme"]
        session["new"] = True

    browser.visit(change)
    assert browser(everything) == ["7", {"_user_id": "7", "cart": ["tea", "cup"], "new": True}]


def test_two_requests_at_once(browser: Browser) -> None:
    """33. A second request overtakes the first, both with the old cookie: one session, both changes."""
    other = Browser(browser.shell, dict(browser.jar))

    def slow(session: Session) -> None:
        session["slow"] = len(session)
        other.visit(lambda session: session.update(fast=session["cart"]))
        session["cart"].append("cup")

    reply = browser.visit(slow)
    assert (reply.status, reply.set_cookies) == (200, [])  # the one that moved it has sent the cookie
    expected = {**DATA, "cart": ["tea", "cup"], "slow": 3, "fast": ["tea"]}
    assert other(everything) == ["7", expected]
    assert browser(everything) == ["7", expected]


@pytest.mark.parametrize("turn", ["login", "rotate"])
def test_a_change_of_id_that_was_overtaken(browser: Browser, turn: str) -> None:
    """33. 13. Another request moves the session while this one logs in or rotates: what it set goes along."""
    other = Browser(browser.shell, dict(browser.jar))

    def slow(session: Session) -> None:
        session["slow"] = len(session)
        other.visit(lambda session: session.update(fast=1))
        session.login("7") if turn == "login" else session.rotate()

    browser.visit(slow)
    assert browser(everything) == ["7", {**DATA, "slow": 3, "fast": 1}]


@pytest.mark.parametrize("turn", ["login", "rotate", "logout"])
def test_a_change_of_id_in_the_first_request(browser: Browser, turn: str) -> None:
    """33. 15. Who logs in, rotates or logs out with the old cookie: it is worth nothing from then on."""
    old = Browser(browser.shell, dict(browser.jar))
    turns = {"login": lambda session: session.login("8"), "rotate": lambda session: session.rotate()}
    reply = browser.visit(turns.get(turn, lambda session: session.logout()))
    assert [line.partition("=")[0] for line in reply.set_cookies] == ["session", "__Host-session"]
    expected = {"login": ["8", {}], "rotate": ["7", DATA], "logout": [None, {}]}[turn]
    assert browser(everything) == expected
    if turn != "rotate":  # which leaves the old one good until the new one was used
        assert old(everything) == [None, {}]


def test_a_lost_rotation(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """33. 13. The first response rotates, and is lost: who comes with the old cookie is sent ours again."""
    monkeypatch.setattr(_following, "ALIAS", 0)
    old = dict(browser.jar)
    browser.visit(lambda session: session.rotate())
    lost, browser.jar = browser.jar, dict(old)
    assert browser(everything) == ["7", DATA]
    assert browser.jar == lost
    assert browser(everything) == ["7", DATA]
    assert Browser(browser.shell, old)(everything) == [None, {}]


@pytest.mark.parametrize("turn", ["login", "logout"])
def test_a_slow_request_beside_a_login(browser: Browser, turn: str) -> None:
    """33. 11. A slow request with the old cookie sends none that could replace that of a log-in."""
    other = Browser(browser.shell, dict(browser.jar))

    def slow(session: Session) -> None:
        len(session)
        other.visit(lambda session: session.login("7") if turn == "login" else session.logout())
        session["late"] = 1

    assert browser.visit(slow).set_cookies == []
    assert other(everything) == (["7", DATA] if turn == "login" else [None, {}])


def test_a_failed_response_moves_nothing(browser: Browser) -> None:
    """33. 15. After a 5xx the old cookie is as good as before."""
    reply = browser.visit(lambda session: Answer(session.update(cart=[]), status=500))
    assert (reply.status, reply.set_cookies) == (500, [])
    assert browser(everything) == ["7", DATA]


def test_a_replay_after_logging_out(shell_type: type[Shell], cookie: LegacyCookie, value: str) -> None:
    """33. A kept copy of the old cookie undoes no log-out: not at once, nor when the mark has long gone; its
    visitor is anonymous, may have a new session, and loses the old cookie with it."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    browser = Browser(shell_type(store, migrate=[cookie]), {"session": value})
    thief = Browser(browser.shell, dict(browser.jar))
    assert browser(everything) == ["7", DATA]
    browser.visit(lambda session: session.logout())
    for clock.later in (0.0, 61.0, 10 * 24 * 3600.0):
        copy = Browser(browser.shell, dict(thief.jar))
        assert copy(everything) == [None, {}]
        assert copy.jar == (
            {} if clock.later else thief.jar
        )  # the log-out may be a request that is under way
    thief.visit(lambda session: session.update(mine=1))
    assert list(thief.jar) == ["__Host-session"]
    assert thief(everything) == [None, {"mine": 1}]


def test_a_request_that_takes_longer_than_a_mark_lives(
    shell_type: type[Shell], cookie: LegacyCookie, value: str
) -> None:
    """33. 10. Moved and logged out while a request is under way that ends when the mark of it has gone: the
    session is not brought back, and no cookie is sent."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    browser = Browser(shell_type(store, migrate=[cookie]), {"session": value})
    other = Browser(browser.shell, dict(browser.jar))

    def slow(session: Session) -> None:
        len(session)
        other.visit(lambda session: session.logout())
        clock.later = 61.0
        session["late"] = 1

    assert browser.visit(slow).set_cookies == []
    assert browser(everything) == [None, {}]
    assert store.count() == 1  # the note that it was moved


def test_a_session_that_has_expired_stays_so(
    shell_type: type[Shell], cookie: LegacyCookie, value: str
) -> None:
    """33. 20. The old cookie does not bring back what was moved and has expired since."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    jar = {"session": value}
    shell = shell_type(store, migrate=[cookie], idle_timeout=3600)
    assert Browser(shell, dict(jar))(everything) == ["7", DATA]
    clock.later = 3601.0
    assert Browser(shell, dict(jar))(everything) == [None, {}]


def test_a_planted_cookie(shell_type: type[Shell], cookie: LegacyCookie, kind: str) -> None:
    """33. 15. Who has moved an anonymous cookie and planted it shares the session with its visitor until that
    one logs in; from then on neither our cookie nor the planted one shows anything."""
    shell = shell_type(MemoryStore(), migrate=[cookie])
    attacker = Browser(shell, {"session": VALUES[kind]({"n": 1})})
    visitor = Browser(shell, dict(attacker.jar))
    planted = dict(attacker.jar)
    attacker(everything)
    visitor.visit(lambda session: session.update(seen=1))
    assert attacker(everything) == [None, {"n": 1, "seen": 1}]
    visitor.visit(lambda session: session.login("8"))
    visitor.visit(lambda session: session.update(private=1))
    assert visitor(everything) == ["8", {"n": 1, "seen": 1, "private": 1}]
    assert attacker(everything) == [None, {}]
    assert Browser(shell, planted)(everything) == [None, {}]


def test_revoking_misses_what_was_not_moved(kind: str, value: str) -> None:
    """33. 29. `revoke_all` ends what was moved. A cookie that was not is still good, unless `until` is over
    or `user=` no longer names the user."""
    store, seen = MemoryStore(), list[Any]()
    users = UserSessions(store)

    def shell(**options: Any) -> Shell:
        return WSGIShell(store, migrate=[COOKIES[kind](secret_key=OLD, **options)])

    named = shell(user=lambda data: data["_user_id"])
    moved = Browser(named, {"session": VALUES[kind]({**DATA, "moved": 1})})
    moved(dict)
    assert users.revoke_all("7") == 1
    assert moved(everything) == [None, {}]
    for ended, expected in (
        (shell(user=lambda data: data["_user_id"], until=datetime.now(UTC)), [None, {}]),
        (shell(user=lambda data: None), [None, DATA]),
        (named, ["7", DATA]),
    ):
        failed = Browser(ended, {"session": value}).visit(lambda s: Answer(seen.append(everything(s)), 500))
        assert failed.status == 500
        assert seen.pop() == expected


def test_other_spellings_of_a_cookie(shell_type: type[Shell], cookie: LegacyCookie, value: str) -> None:
    """33. A signature in another spelling of base64 makes no second session out of one cookie."""
    shell = shell_type(MemoryStore(), migrate=[cookie])
    Browser(shell, {"session": value})(lambda session: session.logout())
    signed, _, signature = value.rpartition(".")
    spellings = [f"{signed}.{signature}=", f"{signed}.{signature}*", f"{signed}.{signature[:-1]}"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spellings += [f"{signed}.{signature[:-1]}{letter}" for letter in alphabet]
    assert sum(cookie.verify(spelling) is not None for spelling in spellings) > 1
    for spelling in spellings:
        assert Browser(shell, {"session": spelling})(everything) == [None, {}]


def test_the_answer_was_lost(shell_type: type[Shell], cookie: LegacyCookie, value: str) -> None:
    """33. Who never got our cookie goes on with the old one, and gets ours a minute later."""
    clock = Clock(later=-61.0)
    store = MemoryStore(clock=clock)
    jar = {"session": value}
    shell = shell_type(store, migrate=[cookie])
    Browser(shell, dict(jar)).visit(lambda session: session.update(a=1))
    clock.later = 0.0
    browser = Browser(shell, dict(jar))
    assert browser(everything) == ["7", {**DATA, "a": 1}]
    assert list(browser.jar) == ["__Host-session"]
    assert browser(everything) == ["7", {**DATA, "a": 1}]


def test_the_answer_was_not_lost(shell_type: type[Shell], cookie: LegacyCookie, value: str) -> None:
    """13, 33. A late request with the old cookie, after a rotation, sends no cookie from before it."""
    clock = Clock(later=-61.0)
    browser = Browser(shell_type(MemoryStore(clock=clock), migrate=[cookie]), {"session": value})
    late = Browser(browser.shell, dict(browser.jar))
    browser(dict)
    clock.later = 0.0
    browser.visit(lambda session: session.rotate())
    reply = late.visit(everything)
    assert (reply.json, reply.set_cookies) == (["7", DATA], [])


def test_the_answer_may_still_come(browser: Browser) -> None:
    """33. 11. Until then, a request with the old cookie uses the session and sends none."""
    jar = dict(browser.jar)
    browser.visit(lambda session: session.update(a=1))
    late = Browser(browser.shell, dict(jar))
    assert late.visit(lambda session: session.update(b=2)).set_cookies == []
    assert browser(everything) == ["7", {**DATA, "a": 1, "b": 2}]


def test_one_name_for_both(shell_type: type[Shell], store: Store, cookie: LegacyCookie, value: str) -> None:
    """33. Where ours has the name and place of the old one, it replaces that, and nothing deletes it."""
    browser = Browser(shell_type(store, migrate=[cookie]), {"session": value}, scheme="http")
    (line,) = browser.visit(everything).set_cookies
    assert "Max-Age=0" not in line
    assert browser.jar["session"] != value
    assert browser(everything) == ["7", DATA]


def test_one_name_in_two_places(shell_type: type[Shell], store: Store, kind: str, value: str) -> None:
    """33. An old cookie for the whole domain: it is deleted there, before ours is set, and ours is found
    behind it as long as the browser sends both."""
    old = COOKIES[kind](secret_key=OLD, domain="shop.test")
    shell = shell_type(store, migrate=[old])
    deletion, ours = shell.request(everything, f"session={value}".encode()).set_cookies
    assert "; Domain=shop.test" in deletion
    assert "Max-Age=0" in deletion
    assert "Domain" not in ours
    mine = ours.split(";")[0]
    (ours,) = shell.request(lambda session: session.login("8"), mine.encode()).set_cookies
    both = f"session={value}; {ours.split(';')[0]}".encode()
    reply = shell.request(everything, both)
    assert (reply.json, reply.set_cookies) == (["8", DATA], [])


def test_the_old_cookie_is_kept_while_old_servers_run(
    shell_type: type[Shell], store: Store, kind: str, value: str
) -> None:
    """33. `keep=True` leaves the old cookie until log-out; ours counts where both come."""
    browser = Browser(
        shell_type(store, migrate=[COOKIES[kind](secret_key=OLD, keep=True)]), {"session": value}
    )
    browser.visit(lambda session: session.update(a=1))
    assert sorted(browser.jar) == ["__Host-session", "session"]
    assert browser(dict) == {**DATA, "a": 1}
    browser.visit(lambda session: session.logout())
    assert browser.jar == {}


def test_a_cookie_that_cannot_be_kept_is_told(
    shell_type: type[Shell], cookie: LegacyCookie, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    """33. Over plain HTTP ours replaces what `keep=True` was to keep, by the same name: a warning, once."""
    shell = shell_type(MemoryStore(), migrate=[replace(cookie, keep=True)])
    for scheme in ("https", "http", "http"):
        assert Browser(shell, {"session": value}, scheme=scheme)(everything) == ["7", DATA]
        assert [record.levelname for record in caplog.records] == ["WARNING"] * (scheme == "http")
    assert "cookie=Cookie(name='shop')" in caplog.text
    caplog.clear()
    named = shell_type(MemoryStore(), migrate=[replace(cookie, keep=True)], cookie=Cookie(name="shop"))
    assert Browser(named, {"session": value}, scheme="http")(everything) == ["7", DATA]
    assert not caplog.records


FORGED: dict[str, Callable[[str], str]] = {
    "changed": lambda value: "x" + value[1:],
    "cut": lambda value: value[:-10],
    "unsigned": lambda value: value.split(".")[0],
    "another secret": lambda value: VALUES["starlette"](DATA, secret_key="x"),
    "garbage": lambda value: "\xff\xfe.\x80.",
    "huge": lambda value: "A" * 60_000,
    "dots": lambda value: "." * 500,
    "empty": lambda value: "",
    "null": lambda value: "null",
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_cookie_is_nobody(browser: Browser, value: str, forged: str) -> None:
    """33. A cookie that the old application would refuse is an anonymous visitor, and is left alone."""
    browser.jar["session"] = FORGED[forged](value)
    reply = browser.visit(everything)
    assert (reply.json, reply.set_cookies) == ([None, {}], [])


def test_the_first_valid_one_counts(
    shell_type: type[Shell], cookie: LegacyCookie, kind: str, value: str
) -> None:
    """33. Cookies of one name, and several old applications: the first that is valid."""
    other = next(name for name in COOKIES if name != kind)
    shell = shell_type(MemoryStore(), migrate=[COOKIES[other](secret_key="another secret"), cookie])
    reply = shell.request(everything, f"session=nonsense; session={value}".encode(), scheme="https")
    assert reply.json == ["7", DATA]


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_an_old_cookie(
    shell_type: type[Shell], store: Store, kind: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """33. Beyond `max_age`, or from `until` on, it is not taken."""
    soon = datetime.now(UTC) + timedelta(days=1)
    days = {"starlette": 14, "flask": 31}[kind]
    shells = {"age": shell_type(store, migrate=[COOKIES[kind](secret_key=OLD)])}
    shells["until"] = shell_type(store, migrate=[COOKIES[kind](secret_key=OLD, until=soon)])
    shells["past"] = shell_type(
        MemoryStore(), migrate=[COOKIES[kind](secret_key=OLD, until=datetime.now(UTC))]
    )
    assert Browser(shells["past"], {"session": value})(dict) == {}
    assert Browser(shells["until"], {"session": value})(dict) == DATA
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + days * 24 * 3600 + 1)
    assert Browser(shells["age"], {"session": value})(dict) == {}


def test_moving_is_told_once(shell_type: type[Shell], cookie: LegacyCookie, value: str) -> None:
    """33. 31. `Events.created` is told of a session that was moved, with its user."""
    told: list[Any] = []
    shell = shell_type(MemoryStore(), migrate=[cookie], events=Events(created=told.append))
    browser = Browser(shell, {"session": value})
    other = Browser(shell, dict(browser.jar))
    browser.visit(lambda session: bool([len(session), other.visit(dict)]))
    browser(dict)
    assert [event.user_id for event in told] == ["7"]


def test_it_is_listed_under_its_user(browser: Browser, store: Store) -> None:
    """33. 29. `user=` makes the log-in of the old application one of ours, listed from the start."""
    from scalekit.sessions import codec

    browser.visit(dict)
    listed = browser.shell.store.using("sync").listed(codec.encode("user_id", "7"))
    assert len(list(listed)) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_values_that_cannot_be_stored(
    shell_type: type[Shell], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """33. They are left out and logged by key, once; the visitor stays logged in."""
    value = starlette_value({**DATA, "odd": "\ud800", "\0hidden": 1})
    shell = shell_type(store, migrate=[StarletteCookie(secret_key=OLD, user=lambda data: data["_user_id"])])
    for _ in range(2):
        Browser(shell, {"session": value}).visit(lambda s: Answer(everything(s), status=500))
    assert Browser(shell, {"session": value})(everything) == ["7", DATA]
    messages = [record.getMessage() for record in caplog.records if record.name == "scalekit.sessions"]
    assert len(messages) == 2
    assert "'odd'" in messages[0]
    assert "hidden" in messages[1]


@pytest.mark.parametrize("user", [["7"], 7.0, {"id": 7}, b"7"], ids=repr)
def test_a_user_that_cannot_be_one(
    shell_type: type[Shell], value: str, kind: str, caplog: pytest.LogCaptureFixture, user: Any
) -> None:
    """33. What `user=` gives and is no id is logged; the values move all the same, for nobody."""
    shell = shell_type(MemoryStore(), migrate=[COOKIES[kind](secret_key=OLD, user=lambda data: user)])
    assert Browser(shell, {"session": value})(everything) == [None, DATA]
    assert "user=" in caplog.text


@pytest.mark.parametrize(
    "user",
    [lambda data: data["user"], lambda data: data["cart"] + 1, lambda data: data.missing, lambda: "7"],
    ids=["KeyError", "TypeError", "AttributeError", "no argument"],
)
def test_a_user_function_that_fails(
    shell_type: type[Shell], value: str, kind: str, caplog: pytest.LogCaptureFixture, user: Any
) -> None:
    """33. `user=` that did not expect a stranger's data is logged once, with its line, and is nobody."""
    shell = shell_type(MemoryStore(), migrate=[COOKIES[kind](secret_key=OLD, user=user)])
    for _ in range(2):
        Browser(shell, {"session": value}).visit(lambda s: Answer(everything(s), status=404))
    assert Browser(shell, {"session": value})(everything) == [None, DATA]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "user= of the cookie 'session' raised" in record.getMessage()
    assert record.exc_info is not None


def test_a_user_function_whose_database_is_away(value: str, kind: str) -> None:
    """33. Then nothing is known of the visitor, who is not moved without being logged in."""

    def user(data: Any) -> str:
        raise ConnectionError

    store = MemoryStore()
    shell = WSGIShell(store, migrate=[COOKIES[kind](secret_key=OLD, user=user)])
    with pytest.raises(ConnectionError):
        shell.request(dict, f"session={value}".encode())
    assert store.count() == 0


@pytest.mark.parametrize("mistake", ["secret", "kind"])
def test_a_signature_that_does_not_match_is_told_once(
    shell_type: type[Shell], kind: str, value: str, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    """33. A wrong secret or class would otherwise log everybody out without a word. No content is logged."""
    other = next(name for name in COOKIES if name != kind)
    migrate = {"secret": COOKIES[kind](secret_key="another secret"), "kind": COOKIES[other](secret_key=OLD)}
    shell = shell_type(MemoryStore(), migrate=[migrate[mistake]])
    for _ in range(3):
        assert Browser(shell, {"session": value})(everything) == [None, {}]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    message, named = record.getMessage(), type(migrate[mistake]).__name__
    assert f"a cookie 'session' came with a signature that migrate=[{named}(...)] does not know" in message
    assert value[:8] not in message


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_what_is_no_mistake_is_not_told(
    shell_type: type[Shell],
    store: Store,
    kind: str,
    value: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """33. A cookie that is too old, one after `until`, an empty one, none, and one that another one takes."""
    other, legacy = next(name for name in COOKIES if name != kind), COOKIES[kind]
    over = legacy(secret_key="another secret", until=datetime.now(UTC))
    both = shell_type(store, migrate=[COOKIES[other](secret_key=OLD), legacy(secret_key=OLD)])
    assert Browser(both, {"session": value})(dict) == DATA
    assert Browser(both, {"session": ""})(dict) == {}
    assert Browser(both, {})(dict) == {}
    assert Browser(shell_type(store, migrate=[over]), {"session": value})(dict) == {}
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 32 * 24 * 3600)
    assert Browser(shell_type(store, migrate=[legacy(secret_key=OLD)]), {"session": value})(dict) == {}
    assert caplog.records == []


@pytest.mark.parametrize("on_error", ["unavailable", "anonymous"])
def test_while_the_store_is_away(
    shell_type: type[Shell], cookie: LegacyCookie, value: str, on_error: str
) -> None:
    """33. 27. An outage costs nobody the old cookie: it is neither moved nor deleted, and good afterwards."""
    store = Away()
    browser = Browser(shell_type(store, migrate=[cookie], on_error=on_error), {"session": value})
    jar = dict(browser.jar)
    for store.down in (("load",), ("load", "create"), ("create",)):
        reply = browser.visit(everything)
        if on_error == "anonymous" and "load" in store.down:
            assert reply.json == [None, {}]
        else:
            assert reply.status == 503
        assert (reply.set_cookies, browser.jar) == ([], jar)
    store.down = ()
    assert browser(everything) == ["7", DATA]


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_signed_cookie_of_another_format(
    shell_type: type[Shell], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """33. Signed, but no session: anonymous, logged once without the content, and left for a correction."""
    from itsdangerous import TimestampSigner

    shell = shell_type(store, migrate=[StarletteCookie(secret_key=OLD)])
    for payload in (b"not base64 \xff", b"WzFd", b"W1s=", b""):
        value = TimestampSigner(OLD).sign(payload).decode("latin-1")
        browser = Browser(shell, {"session": value})
        reply = browser.visit(everything)
        assert (reply.json, reply.set_cookies) == ([None, {}], [])
        browser.visit(lambda session: session.update(a=1))
        assert sorted(browser.jar) == ["__Host-session", "session"]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert 1 <= len(errors) <= 4
    assert "WzFd" not in caplog.text


def test_every_type_of_flask() -> None:
    """33. What Flask reads from its cookie, we read: tuples, bytes, dates, UUIDs, Markup, disguised tags."""
    from uuid import UUID

    import flask
    from markupsafe import Markup

    data = {
        "_permanent": True,
        "_flashes": [("message", Markup("<b>saved</b>")), ("error", "no")],
        "bytes": b"\x00\xff",
        "date": datetime(2026, 11, 26, 10, 30, 15, tzinfo=UTC),
        "id": UUID(int=5),
        "nested": {"tuple": (1, (2, [{"deep": (None,)}]))},
        "disguised": {" t": [1]},
        "twice": {" di": {" u": "x"}},
        "text": "x" * 3000,  # which makes it compress
        "empty": [{}, [], ()],
    }
    app = flask.Flask("old")
    app.secret_key = OLD
    serializer = flask.sessions.SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    for part in [data, *({key: value} for key, value in data.items())]:
        value = flask_value(part)
        cookie = FlaskCookie(secret_key=OLD)
        signed = cookie.verify(value)
        assert signed is not None
        read = cookie.read(signed.payload)
        assert read == part == serializer.loads(value)
        assert type(read.get("bytes", b"")) is bytes
        assert all(type(flash) is tuple for flash in read.get("_flashes", []))
    assert type(cookie.read(cookie.verify(flask_value({"m": Markup("<i>")})).payload)["m"]) is Markup  # type: ignore[union-attr]


def test_markup_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """33. Where Markup cannot be had, it is text, which is escaped where it is shown."""
    import sys

    from markupsafe import Markup

    cookie, value = FlaskCookie(secret_key=OLD), flask_value({"m": Markup("<i>")})
    monkeypatch.setitem(sys.modules, "markupsafe", None)
    signed = cookie.verify(value)
    assert signed is not None
    assert type(cookie.read(signed.payload)["m"]) is str


def test_a_flask_application_with_a_salt_and_digest_of_its_own() -> None:
    """33. `salt` and `digest` are those of its session interface; others do not verify."""
    import hashlib

    value = flask_value(DATA, salt="shop", digest_method=staticmethod(hashlib.sha256))
    assert FlaskCookie(secret_key=OLD, salt="shop", digest="sha256").verify(value) is not None
    for given in ({"salt": "shop"}, {"digest": "sha256"}, {}):
        assert FlaskCookie(secret_key=OLD, **given).verify(value) is None  # type: ignore[arg-type]


def test_a_key_ring_of_the_old_application() -> None:
    """33. Any of its secrets verifies; the session it becomes does not depend on the ring."""
    value = flask_value(DATA, secret_key="older")
    alone, ring = FlaskCookie(secret_key="older"), FlaskCookie(secret_key=["older", b"newer"])
    first, second = alone.verify(value), ring.verify(value)
    assert first is not None
    assert second is not None
    assert (first.token, first.mark) == (second.token, second.mark)
    assert len({first.token, first.mark}) == 2


def test_flask_goes_on_as_before(store: Store) -> None:
    """33. In Flask, `permanent` and flashed messages move along."""
    import flask

    value = flask_value({"_permanent": True, "_flashes": [("message", "hello")]})
    browser = Browser(FlaskShell(store, migrate=[FlaskCookie(secret_key=OLD)]), {"session": value})

    def handler(session: Session) -> Any:
        return [flask.session.permanent, flask.get_flashed_messages(with_categories=True)]

    reply = browser.visit(handler)
    assert reply.json == [True, [["message", "hello"]]]
    assert "Max-Age" in reply.set_cookies[-1]
    assert browser(handler) == [True, []]


async def test_a_websocket_moves_it(value: str, cookie: LegacyCookie) -> None:
    """33. 25. A WebSocket that reads its session before it accepts sends the cookies with the acceptance."""
    from scalekit.sessions.asgi import SessionMiddleware

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert dict(scope["session"]) == DATA
        await send({"type": "websocket.accept", "headers": []})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    middleware = SessionMiddleware(app, store=MemoryStore(), secret_key="x" * 20, migrate=[cookie])
    scope = make_scope(f"session={value}".encode(), scheme="wss", type="websocket")
    await middleware(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
    names = [line.partition(b"=")[0] for name, line in sent[0]["headers"] if name == b"set-cookie"]
    assert names == [b"session", b"__Host-session"]


def test_into_a_cookie_of_ours(shell_type: type[Shell], cookie: LegacyCookie, value: str) -> None:
    """33. Over a `CookieStore` too: the old cookie becomes one of ours."""
    from scalekit.sessions.cookie import CookieStore

    shell = shell_type(CookieStore(), migrate=[cookie])
    browser = Browser(shell, {"session": value})
    old = dict(browser.jar)
    assert browser.visit(lambda session: Answer(session.update(a=1), status=500)).set_cookies == []
    assert browser(everything) == ["7", DATA]
    assert list(browser.jar) == ["__Host-session"]
    browser.visit(lambda session: session["cart"].append("cup"))
    assert browser(everything) == ["7", {**DATA, "cart": ["tea", "cup"]}]
    for jar in (browser.jar, old):
        leaving = Browser(shell, dict(jar))
        leaving.visit(lambda session: session.logout())
        assert leaving.jar == {}
    plain = Browser(shell, dict(old), scheme="http")
    assert plain(everything) == ["7", DATA]
    assert plain(everything) == ["7", DATA]
    assert plain.jar != old


def test_what_is_removed_at_once_does_not_come_back(
    shell_type: type[Shell], cookie: LegacyCookie, value: str
) -> None:
    """33. Over a `CookieStore`: the first request may remove everything, and a token of its page is good."""
    from scalekit.sessions.cookie import CookieStore

    browser = Browser(shell_type(CookieStore(), migrate=[replace(cookie, user=None)]), {"session": value})

    def remove(session: Session) -> str:
        for key in list(session):
            del session[key]
        return session.csrf_token()

    token = browser(remove)
    assert browser(lambda session: [dict(session), session.check_csrf(token)]) == [{}, True]


LATE: dict[str, Callable[[Session], Any]] = {
    "logout": lambda session: session.logout(),
    "clear": lambda session: session.clear(),
    "in place": lambda session: session["cart"].append("cup"),
    "set": lambda session: session.update(a=1),
    "login": lambda session: session.login("8"),
}


@pytest.mark.parametrize("change", LATE)
@pytest.mark.parametrize("scheme", ["https", "wss"])
async def test_looked_at_after_the_headers(
    value: str, cookie: LegacyCookie, change: str, scheme: str
) -> None:
    """33. 15. 25. A stream or WebSocket looks at its session for the first time when the headers have left: a
    log-out ends it for good, and any other change is refused and moves nothing."""
    from scalekit.sessions.asgi import SessionMiddleware
    from tests.sessions.shells import drive_asgi

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session, stream = scope["session"], scope["path"] == "/late"
        if not stream:
            seen.append(everything(session))
        kind = "websocket.accept" if scope["type"] == "websocket" else "http.response.start"
        await send({"type": kind, "status": 200, "headers": []})
        if stream:
            try:
                LATE[change](session)
                seen.append(await session.save())
            except SessionCommitted:
                seen.append(SessionCommitted)
        if scope["type"] == "http":
            await send({"type": "http.response.body", "body": b""})

    clock = Clock()
    store = MemoryStore(clock=clock)
    middleware = SessionMiddleware(app, store=store, secret_key="x" * 20, migrate=[cookie])
    scope = make_scope(f"session={value}".encode(), scheme=scheme) | {"path": "/late"}

    async def ignore(message: Any) -> None:
        pass

    with suppress(SessionCommitted):  # again at the end, as nobody has saved it
        if scheme == "wss":
            scope["type"] = "websocket"
            await middleware(scope, asyncio.Event().wait, ignore)  # type: ignore[arg-type]
        else:
            assert (await drive_asgi(middleware, scope)).set_cookies == []
    ended = change in ("logout", "clear")
    assert seen == [True if ended else SessionCommitted]
    assert store.count() == ended  # the note that it was moved
    for clock.later in (0.0, 61.0):
        await drive_asgi(middleware, make_scope(f"session={value}".encode()))
        assert seen.pop() == ([None, {}] if ended else ["7", DATA])


@pytest.mark.parametrize("shell_type", [WSGIShell])
def test_a_log_out_in_a_wsgi_body(shell_type: type[Shell], cookie: LegacyCookie, value: str) -> None:
    """33. 15. Under WSGI too: who logs out while the body is made is logged out."""
    from scalekit.sessions.wsgi import SessionMiddleware, get_session
    from tests.sessions.shells import SECRET

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"head"
        session = get_session(environ)
        session.logout()
        assert session.save()

    store = MemoryStore()
    environ: Any = {"HTTP_COOKIE": f"session={value}", "wsgi.url_scheme": "https", "PATH_INFO": "/"}
    body = SessionMiddleware(app, store=store, secret_key=SECRET, migrate=[cookie])(
        environ,
        lambda *started: lambda data: None,  # type: ignore[arg-type]
    )
    assert list(body) == [b"head"]
    body.close()  # type: ignore[attr-defined]
    shell = shell_type(store, migrate=[cookie])
    assert Browser(shell, {"session": value})(everything) == [None, {}]


@pytest.mark.parametrize("sealed", [False, True])
def test_more_than_a_cookie_of_ours_holds(
    shell_type: type[Shell], caplog: pytest.LogCaptureFixture, sealed: bool
) -> None:
    """33. Flask compresses what it stores, a `CookieStore` does not: the largest values are left out until
    the rest fits, and logged once by key; the visitor stays logged in."""
    from scalekit.sessions.cookie import CookieStore

    small = {"_user_id": "7", "theme": "dark", "page": "p" * 1500}
    value = flask_value({**small, "huge": "x" * 20_000, "cart": ["tea"] * 500})
    assert value.startswith(".")
    old = FlaskCookie(secret_key=OLD, user=lambda data: data["_user_id"])
    shell = shell_type(CookieStore(encrypt=sealed), migrate=[old])
    failed = Browser(shell, {"session": value})
    failed.visit(lambda session: Answer(len(session), status=500))
    browser = Browser(shell, {"session": value})
    for _ in range(2):
        assert browser(everything) == ["7", small]
    assert list(browser.jar) == ["__Host-session"]
    told = [record.getMessage() for record in caplog.records if record.name == "scalekit.sessions"]
    assert len(told) == 2
    assert "'huge'" in told[0]
    assert "'cart'" in told[1]
    assert "xxx" not in caplog.text


def test_a_user_that_no_cookie_holds(shell_type: type[Shell], value: str, kind: str) -> None:
    """33. Not even the id of the user fits into a cookie: the values move, for nobody."""
    from scalekit.sessions.cookie import CookieStore

    old = COOKIES[kind](secret_key=OLD, user=lambda data: "u" * 5000)
    browser = Browser(shell_type(CookieStore(), migrate=[old]), {"session": value})
    for _ in range(2):
        assert browser(everything) == [None, DATA]


TAGS = [
    '{" di":5}',
    '{"a":{" di":5}}',
    '{"a":{" u":5}}',
    '{"a":{" b":[]}}',
    '{"a":{" t":5}}',
    '{"a":{" d":5}}',
]


@pytest.mark.parametrize("payload", TAGS)
@pytest.mark.parametrize("shell_type", [ASGIShell, WSGIShell])
def test_a_tag_that_holds_something_else(
    shell_type: type[Shell], caplog: pytest.LogCaptureFixture, payload: str
) -> None:
    """33. 34. A signed payload of Flask whose tags hold what they cannot: anonymous, and logged once."""
    import base64
    import hashlib

    from itsdangerous import TimestampSigner

    signer = TimestampSigner(
        OLD, salt="cookie-session", key_derivation="hmac", digest_method=staticmethod(hashlib.sha1)
    )
    value = signer.sign(base64.urlsafe_b64encode(payload.encode()).rstrip(b"=")).decode()
    shell = shell_type(MemoryStore(), migrate=[FlaskCookie(secret_key=OLD)])
    for _ in range(2):
        reply = Browser(shell, {"session": value}).visit(everything)
        assert (reply.json, reply.set_cookies) == ([None, {}], [])
    assert [record.levelname for record in caplog.records if record.name == "scalekit.sessions"] == ["ERROR"]


@pytest.mark.parametrize("changes", [False, True])
@pytest.mark.parametrize("ends", [False, True])
async def test_after_a_save_that_found_it_moved(
    value: str, cookie: LegacyCookie, ends: bool, changes: bool
) -> None:
    """33. 25. Who saves in the middle of a request then has what another request made of the session."""
    from scalekit.sessions.asgi import SessionMiddleware
    from tests.sessions.shells import drive_asgi

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        session = scope["session"]
        if scope["path"] == "/other":
            session.logout() if ends else session.update(fast=1)
        else:
            len(session)
            if changes:
                session["slow"] = 3
            await drive_asgi(middleware, make_scope(header) | {"path": "/other"})
            seen.extend([await session.save(), everything(session)])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    header = f"session={value}".encode()
    middleware = SessionMiddleware(app, store=MemoryStore(), secret_key="x" * 20, migrate=[cookie])
    await drive_asgi(middleware, make_scope(header))
    mine = {"slow": 3} if changes else {}
    assert seen[1] == ([None, {}] if ends else ["7", {**DATA, **mine, "fast": 1}])
    assert seen[0] is not (ends and changes)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (StarletteCookie(secret_key=OLD), "must be a list"),
        ([Cookie()], "a list of legacy cookies"),
        ([StarletteCookie], "not the class StarletteCookie"),
        (["session"], "not str"),
    ],
    ids=["no list", "our own", "class", "name"],
)
@pytest.mark.parametrize("shell_type", [ASGIShell, WSGIShell, FlaskShell])
def test_what_is_no_legacy_cookie_is_refused(make_shell: Make, given: Any, message: str) -> None:
    """33. A typical mistake is told at start-up."""
    with pytest.raises(ConfigurationError, match=message):
        make_shell(migrate=given)


@pytest.mark.parametrize(
    "given",
    [
        {"secret_key": ""},
        {"secret_key": []},
        {"secret_key": None},
        {"secret_key": [OLD, 5]},
        {"secret_key": OLD, "until": datetime(2027, 1, 1)},
        {"secret_key": OLD, "until": "2027-01-01"},
        {"secret_key": OLD, "max_age": 0},
        {"secret_key": OLD, "max_age": None},
        {"secret_key": OLD, "digest": "sha0"},
        {"secret_key": OLD, "name": "a b"},
        {"secret_key": OLD, "same_site": "none"},
        {"secret_key": OLD, "user": "_user_id"},
    ],
    ids=str,
)
def test_a_legacy_cookie_that_cannot_be(given: dict[str, Any]) -> None:
    """33. Options are checked when they are written down; no secret is in the message, nor in the repr."""
    with pytest.raises(ConfigurationError) as caught:
        FlaskCookie(**given)
    assert OLD not in str(caught.value)
    assert OLD not in repr(FlaskCookie(secret_key=OLD))
