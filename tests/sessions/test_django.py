"""`SESSION_ENGINE = "scalekit.sessions.django"` under the session middleware of Django."""

import asyncio
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import field
from typing import Any

import pytest
import redis

django = pytest.importorskip("django")

from django.contrib.sessions.backends.base import UpdateError  # noqa: E402
from django.contrib.sessions.exceptions import SessionInterrupted  # noqa: E402
from django.contrib.sessions.middleware import SessionMiddleware  # noqa: E402
from django.core.checks import run_checks  # noqa: E402
from django.core.signals import got_request_exception  # noqa: E402
from django.db.models import TextChoices  # noqa: E402
from django.http import HttpRequest, HttpResponse, QueryDict  # noqa: E402
from django.test import AsyncClient, Client, modify_settings, override_settings  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.safestring import SafeString, mark_safe  # noqa: E402
from django.utils.translation import gettext_lazy  # noqa: E402

from scalekit.errors import (  # noqa: E402
    BackendUnavailable,
    ConfigurationError,
    SessionTooLarge,
    SessionValueError,
)
from scalekit.sessions import MemoryStore, SessionData  # noqa: E402
from scalekit.sessions.cookie import CookieStore  # noqa: E402
from scalekit.sessions.django import SessionStore  # noqa: E402
from scalekit.sessions.redis import RedisStore  # noqa: E402
from scalekit.sessions.tokens import Tokens, store_id  # noqa: E402
from tests.servers import RedisServer  # noqa: E402
from tests.sessions import django_project  # noqa: E402, F401  the settings
from tests.sessions.conftest import STORES  # noqa: E402
from tests.sessions.shells import SECRET  # noqa: E402
from tests.sessions.test_types import Address  # noqa: E402


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Any:
    """Each store in turn, as the one that the settings name."""
    if request.param == "memory":
        store: Any = MemoryStore()
    else:
        url, prefix = request.getfixturevalue("redis_url"), request.getfixturevalue("prefix")
        store = RedisStore.from_url(url, prefix=prefix)
    with override_settings(SCALEKIT_SESSION_STORE=store):
        yield store


class Browser:
    """Requests through Django's session middleware, with a cookie jar."""

    def __init__(self, cookie: str | None = None) -> None:
        self.cookie = cookie

    def __call__(self, handler: Callable[[Any], Any], *, status: int = 200) -> Any:
        return self.visit(handler, status=status)[0]

    def visit(self, handler: Callable[[Any], Any], *, status: int = 200) -> tuple[Any, HttpResponse]:
        results: list[Any] = []

        def view(request: HttpRequest) -> HttpResponse:
            results.append(handler(request.session))
            return HttpResponse(status=status)

        request = HttpRequest()
        if self.cookie is not None:
            request.COOKIES["sessionid"] = self.cookie
        response = SessionMiddleware(view)(request)
        if "sessionid" in response.cookies:
            self.cookie = response.cookies["sessionid"].value or None
        return results[0], response


@pytest.fixture
def browser(store: Any) -> Browser:
    browser = Browser()
    browser(lambda session: session.update({"a": 1, "cart": ["book"]}))
    return browser


def test_values_are_there_on_the_next_request(browser: Browser) -> None:
    """What one request sets, the next one reads, with its type; the cookie is a signed token."""
    now = dt.datetime.now(dt.UTC)
    browser(lambda session: session.update({"when": now, "pair": (1, 2)}))
    assert browser(lambda session: dict(session.items())) == {
        "a": 1,
        "cart": ["book"],
        "when": now,
        "pair": (1, 2),
    }
    assert Tokens(SECRET).verify(browser.cookie or "") is not None


def test_a_nested_change_is_saved(browser: Browser) -> None:
    """Django's `modified` flag need not be set for a change inside a value."""
    _, response = browser.visit(lambda session: session["cart"].append("pen"))
    assert "sessionid" in response.cookies
    assert browser(lambda session: session["cart"]) == ["book", "pen"]


def test_reading_saves_nothing(browser: Browser) -> None:
    """A request that only looks, at mutable values too, is not modified and sends no cookie."""
    _, response = browser.visit(lambda session: session["cart"])
    assert "sessionid" not in response.cookies


def test_changes_of_different_keys_merge(browser: Browser) -> None:
    """Two requests that overtake each other: each key is as the one who changed it left it."""
    other = Browser(browser.cookie)

    def slow(session: Any) -> None:
        session["cart"].append("slow")
        session["slow"] = 1
        other(lambda session: session.update({"fast": 1, "a": 2}))

    browser(slow)
    assert browser(lambda session: dict(session.items())) == {
        "a": 2,
        "cart": ["book", "slow"],
        "slow": 1,
        "fast": 1,
    }


@pytest.mark.parametrize("end", [lambda session: session.flush(), lambda session: session.cycle_key()])
def test_an_ended_session_is_not_brought_back(browser: Browser, end: Any) -> None:
    """A save in flight when the session ends is refused, as Django expects: the request is interrupted."""
    other = Browser(browser.cookie)
    old = browser.cookie

    def slow(session: Any) -> None:
        session["a"] = "stale"
        other(end)

    with pytest.raises(SessionInterrupted):
        browser(slow)
    assert Browser(old)(lambda session: dict(session.items())) == {}


def test_a_request_that_comes_late_replaces_no_cookie(browser: Browser) -> None:
    """A write with the old cookie, after a log-in gave a new one, does not log the visitor out."""
    late = Browser(browser.cookie)
    browser(lambda session: session.cycle_key())
    with pytest.raises(SessionInterrupted):
        late(lambda session: session.update({"a": "stale"}))
    assert browser(lambda session: session["a"]) == 1


@pytest.mark.parametrize("read", [lambda session: session.get("a"), lambda session: None])
def test_a_late_read_deletes_no_cookie(browser: Browser, read: Any) -> None:
    """A request that only reads, with the key of a session that was moved, leaves the new cookie alone."""
    late = Browser(browser.cookie)
    browser(lambda session: session.cycle_key())
    result, response = late.visit(read)
    assert (result, dict(response.cookies)) == (None, {})


def test_cycling_carries_over_what_others_saved(browser: Browser) -> None:
    """A change that another tab makes while this one logs in is not lost; where both wrote, ours stays."""
    other = Browser(browser.cookie)

    def slow(session: Any) -> dict[str, Any]:
        session["a"] = 2
        other(lambda session: [session.update({"a": 3, "coupon": "X10"}), session.pop("cart")])
        session.cycle_key()
        session.save()
        return dict(session.items())

    assert browser(slow) == {"a": 2, "coupon": "X10"}
    assert browser(lambda session: dict(session.items())) == {"a": 2, "coupon": "X10"}


@pytest.mark.parametrize("end", [lambda session: session.flush(), lambda session: session.cycle_key()])
def test_cycling_does_not_bring_a_login_back(browser: Browser, end: Any) -> None:
    """Who is logged out while `cycle_key()` is under way, or was given another key, stays so."""
    browser(lambda session: session.update({"_auth_user_id": "7"}))
    other, again = Browser(browser.cookie), Browser(browser.cookie)

    def slow(session: Any) -> None:
        session.get("a")
        other(end)
        session.cycle_key()
        again.cookie = session.session_key

    with pytest.raises(SessionInterrupted):
        browser(slow)
    assert again(lambda session: dict(session.items())) == {}


def test_a_double_click_on_log_in(browser: Browser) -> None:
    """Both requests log in: the second finds the session moved, not ended."""
    other = Browser(browser.cookie)

    def login(session: Any) -> None:
        session.cycle_key()
        session["_auth_user_id"] = "7"

    def slow(session: Any) -> None:
        session.get("a")
        other(login)
        login(session)

    late = Browser(browser.cookie)
    browser(slow)
    late(login)
    for tab in (browser, other, late):
        assert tab(lambda session: session["_auth_user_id"]) == "7"
    assert browser(lambda session: session["cart"]) == ["book"]


@pytest.mark.parametrize("late", [False, True])
def test_a_flush_ends_what_the_session_went_on_as(browser: Browser, late: bool) -> None:
    """Logging out in one tab while another is given a new key: the visitor is logged out."""
    browser(lambda session: session.update({"_auth_user_id": "7"}))
    other = Browser(browser.cookie)

    def leave(session: Any) -> None:
        if not late:
            session.get("a")
            other(lambda session: session.cycle_key())
        session.flush()

    if late:
        other(lambda session: session.cycle_key())
    browser(leave)
    assert browser.cookie is None
    assert other(lambda session: dict(session.items())) == {}


def test_cycling_keeps_the_data_and_ends_the_old_key(browser: Browser) -> None:
    """What `login()` of Django calls: a new key, the same data, the old key worthless."""
    old = browser.cookie
    browser(lambda session: session.cycle_key())
    assert browser.cookie not in (None, old)
    assert browser(lambda session: session["cart"]) == ["book"]
    assert Browser(old)(lambda session: dict(session.items())) == {}


def test_flushing_leaves_nothing(browser: Browser) -> None:
    """What `logout()` of Django calls: nothing is left, and the cookie is deleted."""
    old = browser.cookie
    browser(lambda session: session.flush())
    assert browser.cookie is None
    assert Browser(old)(lambda session: dict(session.items())) == {}


@pytest.mark.parametrize("cookie", ["attacker-chosen-id", "a" * 32, "A" * 43 + "." + "A" * 43])
def test_an_unknown_key_is_never_adopted(store: Any, cookie: str) -> None:
    """A key that we did not sign costs no access to the store, and is not used for a new session."""
    browser = Browser(cookie)
    browser(lambda session: session.update({"a": 1}))
    assert browser.cookie not in (cookie, None)
    assert SessionStore(cookie).session_key is None


def test_a_failed_response_saves_nothing(browser: Browser) -> None:
    """Django's own rule: a 5xx saves nothing."""
    browser(lambda session: session.update({"a": 2}), status=500)
    assert browser(lambda session: session["a"]) == 1


def test_values_that_cannot_be_stored(browser: Browser) -> None:
    """The key is named; nothing is stored."""
    with pytest.raises(SessionValueError, match="'bad'"):
        browser(lambda session: session.update({"bad": object()}))
    with pytest.raises(SessionTooLarge, match="'huge'"):
        browser(lambda session: session.update({"huge": "x" * 300_000}))
    assert browser(lambda session: dict(session.items())) == {"a": 1, "cart": ["book"]}


def test_sessions_expire_as_django_says() -> None:
    """`set_expiry` and `SESSION_COOKIE_AGE` count from the last save; the lifetime ends every session."""
    clock = Clock()
    with override_settings(
        SCALEKIT_SESSION_STORE=MemoryStore(clock=clock),
        SESSION_COOKIE_AGE=1000,
        SCALEKIT_SESSION_LIFETIME=3000,
    ):
        short, used = Browser(), Browser()
        short(lambda session: session.set_expiry(100))
        used(lambda session: session.update({"a": 0}))
        clock.now += 99
        assert short(lambda session: session.get("_session_expiry")) == 100
        clock.now += 1
        assert short(lambda session: session.get("_session_expiry")) is None
        for turn in range(3):
            assert used(lambda session: session.get("a")) == turn
            used(lambda session, turn=turn: session.update({"a": turn + 1}))
            clock.now += 900
        assert used(lambda session: session.get("a")) == 3
        clock.now += 200
        assert used(lambda session: session.get("a")) is None


def test_the_asynchronous_methods(store: Any) -> None:
    """`aget`, `aset`, `asave`, `acycle_key`, `aflush`: the same session through asynchronous views."""

    async def visit() -> None:
        session = SessionStore()
        await session.aset("a", [1])
        await session.asave()
        key = session.session_key
        assert await session.aexists(key)
        assert not await session.aexists("unknown")
        session = SessionStore(key)
        (await session.aget("a")).append(2)
        assert session.modified
        await session.asave()
        await session.acycle_key()
        await session.asave()
        assert (await SessionStore(session.session_key).aget("a"), await SessionStore(key).aget("a")) == (
            [1, 2],
            None,
        )
        stale = SessionStore(session.session_key)
        await stale.aset("b", 1)
        await session.aflush()
        with pytest.raises(UpdateError):
            await stale.asave()
        await SessionStore.aclear_expired()

    asyncio.run(visit())


def test_the_synchronous_methods(store: Any) -> None:
    """`exists`, `create` and `delete` keep Django's contract."""
    session = SessionStore()
    assert session.is_empty()
    session.create()
    assert session.exists(session.session_key)
    assert not session.exists("unknown")
    session.delete()
    session.delete("unknown")
    assert not session.exists(session.session_key)
    SessionStore().delete()
    SessionStore.clear_expired()


def test_old_secrets_stay_good() -> None:
    """`SECRET_KEY_FALLBACKS` verify, `SECRET_KEY` signs."""
    with override_settings(SCALEKIT_SESSION_STORE=MemoryStore()):
        browser = Browser()
        browser(lambda session: session.update({"a": 1}))
        with override_settings(SECRET_KEY="the next secret, long enough", SECRET_KEY_FALLBACKS=[SECRET]):
            assert browser(lambda session: session["a"]) == 1
            browser(lambda session: session.cycle_key())
            assert Tokens(SECRET).verify(browser.cookie or "") is None
            assert browser(lambda session: session["a"]) == 1


@pytest.mark.parametrize("server", sorted({"redis_server", "memcached_server"} & {*STORES}))
def test_a_url_in_the_settings(server: str, request: pytest.FixtureRequest) -> None:
    """`SCALEKIT_SESSION_STORE` may be a URL, of Redis or Memcached."""
    with override_settings(SCALEKIT_SESSION_STORE=request.getfixturevalue(server).url):
        browser = Browser()
        browser(lambda session: session.update({"a": 1}))
        assert browser(lambda session: session["a"]) == 1
        browser(lambda session: session.flush())


def test_a_setting_that_is_no_store_is_refused() -> None:
    """The settings are told by name what belongs there."""
    setting = override_settings(SCALEKIT_SESSION_STORE=redis.Redis(password="s3cret"))
    message = "SCALEKIT_SESSION_STORE must be a URL or a store, .* not Redis$"
    with setting, pytest.raises(ConfigurationError, match=message):
        SessionStore()


class Down(MemoryStore):
    """A store that does not answer."""

    def fail(self, *args: Any, **options: Any) -> Any:
        raise BackendUnavailable("down", backend="tests")

    load = save = create = destroy = fail


def test_a_store_that_is_down_is_an_error() -> None:
    """27. An outage never looks like an empty session, nor like a success."""

    tokens = Tokens(SECRET)
    with override_settings(SCALEKIT_SESSION_STORE=Down()):
        assert Browser(tokens.sign(tokens.mint()))(lambda session: None) is None
        with pytest.raises(BackendUnavailable):
            Browser(tokens.sign(tokens.mint()))(lambda session: session.get("a"))
        with pytest.raises(BackendUnavailable):
            Browser()(lambda session: session.update({"a": 1}))


def test_a_store_that_is_down_is_a_503() -> None:
    """27. With the middleware in front, what Django answers with 500 because of the store is a 503."""

    def put(request: HttpRequest) -> HttpResponse:
        request.session["a"] = 1
        return HttpResponse("saved")

    def fail(request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    views: dict[str, Any] = {
        "read": lambda request: HttpResponse(request.session.get("a")),
        "put": put,
        "flush": lambda request: HttpResponse(request.session.flush()),
        "none": lambda request: HttpResponse("fine"),
        "fail": fail,
    }
    tokens = Tokens(SECRET)
    with override_settings(
        SCALEKIT_SESSION_STORE=Down(),
        ROOT_URLCONF=tuple(path(name, view) for name, view in views.items()),
        ALLOWED_HOSTS=["testserver"],
        MIDDLEWARE=[
            "scalekit.sessions.django.UnavailableMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
        ],
    ):
        client = Client(raise_request_exception=False)
        client.cookies["sessionid"] = tokens.sign(tokens.mint())
        replies = {name: client.get(f"/{name}") for name in views}
    assert {name: reply.status_code for name, reply in replies.items()} == {
        "read": 503,
        "put": 503,
        "flush": 503,
        "none": 200,
        "fail": 500,
    }
    assert (replies["put"]["Retry-After"], replies["put"]["Cache-Control"]) == ("1", "no-store")


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.session.get("a"))


def put(request: HttpRequest) -> HttpResponse:
    request.session["a"] = 1
    return HttpResponse("saved")


async def aread(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await request.session.aget("a"))


async def aput(request: HttpRequest) -> HttpResponse:
    await request.session.aset("a", 1)
    return HttpResponse("saved")


def other(request: HttpRequest) -> HttpResponse:
    raise BackendUnavailable("the database is down", backend="postgresql")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_broken_is_reported_once(
    asynchronous: bool, caplog: pytest.LogCaptureFixture, redis_server: RedisServer, prefix: str
) -> None:
    """Bad input. A session that something else has cut is told of once a minute, not with each request."""
    token = Tokens(SECRET).mint()
    redis_server.call("HSET", f"{prefix}{store_id(token)}", "a", "\1")
    with override_settings(SCALEKIT_SESSION_STORE=RedisStore.from_url(redis_server.url, prefix=prefix)):
        for _ in range(3):
            session = SessionStore(Tokens(SECRET).sign(token))
            assert (asyncio.run(session.aget("a")) if asynchronous else session.get("a")) is None
    (record,) = caplog.records
    assert "is no session" in record.getMessage()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_outage_is_reported_once(asynchronous: bool, caplog: pytest.LogCaptureFixture) -> None:
    """27. What the session raises in a view, or when it is saved, is no error that Django mails about with
    each request: our log has it once a minute. Another piece's outage is an error as ever.
    """
    reported: list[str] = []

    def report(request: HttpRequest, **_: Any) -> None:
        reported.append(request.path)

    views = {"read": read, "put": put, "aread": aread, "aput": aput, "other": other}
    got_request_exception.connect(report)
    caplog.set_level(logging.WARNING)
    tokens = Tokens(SECRET)
    try:
        with override_settings(
            SCALEKIT_SESSION_STORE=Down(),
            ROOT_URLCONF=tuple(path(name, view) for name, view in views.items()),
            MIDDLEWARE=[
                "scalekit.sessions.django.UnavailableMiddleware",
                "django.contrib.sessions.middleware.SessionMiddleware",
            ],
        ):
            client: Any = (AsyncClient if asynchronous else Client)(raise_request_exception=False)
            client.cookies["sessionid"] = tokens.sign(tokens.mint())
            statuses = {}
            for name in views:
                reply = client.get(f"/{name}")
                statuses[name] = (asyncio.run(reply) if asynchronous else reply).status_code
    finally:
        got_request_exception.disconnect(report)
    assert statuses == {"read": 503, "put": 503, "aread": 503, "aput": 503, "other": 500}
    assert reported == ["/other"]
    logged = [(record.name, record.levelname) for record in caplog.records]
    assert logged == [("scalekit.sessions", "ERROR"), ("django.request", "ERROR")]


def test_types_of_the_application(browser: Browser) -> None:
    """18. `SCALEKIT_SESSION_TYPES` names classes, by dotted paths too; a change inside of one is saved."""
    for types in (["tests.sessions.test_types.Address"], {"Home": Address}):
        with override_settings(SCALEKIT_SESSION_TYPES=types):
            browser(lambda session: session.update({"home": Address("Main St")}))
            browser(lambda session: session["home"].tags.add("new"))
            assert browser(lambda session: session["home"]) == Address("Main St", {"new"})
            _, response = browser.visit(lambda session: session["home"])
            assert "sessionid" not in response.cookies
            browser(lambda session: session.pop("home"))


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (
            ["nope.Missing"],
            "SCALEKIT_SESSION_TYPES has 'nope.Missing', which cannot be imported: No module named",
        ),
        (["Address"], "SCALEKIT_SESSION_TYPES has 'Address', .*; give classes, or their dotted paths"),
        (["datetime.Date"], "SCALEKIT_SESSION_TYPES has 'datetime.Date', which cannot be imported"),
        ("Address", "SCALEKIT_SESSION_TYPES= must be a list"),
        ([object], "no dataclass"),
    ],
)
def test_wrong_types_are_told(store: Any, types: Any, message: str) -> None:
    """18. What cannot be registered is an error in words that name the setting."""
    with override_settings(SCALEKIT_SESSION_TYPES=types), pytest.raises(ConfigurationError, match=message):
        SessionStore()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"SECRET_KEY": "hunter2"}, "^SECRET_KEY has 7 bytes"),
        ({"SECRET_KEY": b"hunter2", "SECRET_KEY_FALLBACKS": [SECRET]}, "^SECRET_KEY has 7 bytes"),
        ({"SECRET_KEY_FALLBACKS": [SECRET, "hunter2"]}, "^SECRET_KEY_FALLBACKS number 2 has 7 bytes"),
    ],
)
def test_a_short_key_is_told_by_its_setting(store: Any, keys: dict[str, Any], message: str) -> None:
    """Django takes any length; the message has the name, and the number, that the settings have."""
    with override_settings(**keys), pytest.raises(ConfigurationError, match=message) as caught:
        SessionStore()
    assert "hunter2" not in str(caught.value)


MIDDLEWARES = [
    "scalekit.sessions.django.UnavailableMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
]

WRONG_SETTINGS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "right": ({}, [], ""),
    "store": ({"SCALEKIT_SESSION_STORE": 1}, ["scalekit.E001"], "SCALEKIT_SESSION_STORE must be"),
    "url": ({"SCALEKIT_SESSION_STORE": "sqlite://"}, ["scalekit.E001"], "sqlite"),
    "lifetime": ({"SCALEKIT_SESSION_LIFETIME": "x"}, ["scalekit.E001"], "SCALEKIT_SESSION_LIFETIME"),
    "types": ({"SCALEKIT_SESSION_TYPES": ["shop.Gone"]}, ["scalekit.E001"], "shop"),
    "middleware": ({"MIDDLEWARE": MIDDLEWARES[1:]}, ["scalekit.W001"], "right before"),
    "order": ({"MIDDLEWARE": MIDDLEWARES[::-1]}, ["scalekit.W001"], "right before"),
}


@pytest.mark.parametrize(("wrong", "ids", "text"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_django_checks_the_settings(wrong: dict[str, Any], ids: list[str], text: str) -> None:
    """37. `manage.py check` tells of a wrong setting before a visitor meets it."""
    with (
        modify_settings(INSTALLED_APPS={"append": "scalekit.sessions.django"}),
        override_settings(**{"MIDDLEWARE": MIDDLEWARES, **wrong}),
    ):
        messages = [message for message in run_checks() if message.id.startswith("scalekit.")]
    assert [message.id for message in messages] == ids
    assert text in "".join(f"{message.msg} {message.hint}" for message in messages)


class Size(TextChoices):
    SMALL = "s", "small"


DJANGO_ONLY = {
    "choice": (Size.SMALL, "SCALEKIT_SESSION_TYPES=.Size."),
    "lazy": (gettext_lazy("yes"), "no plain data; .* SCALEKIT_SESSION_TYPES="),
    "query": (QueryDict("a=1"), "django.http.request.QueryDict is no plain data"),
}


@pytest.mark.parametrize(("value", "message"), DJANGO_ONLY.values(), ids=DJANGO_ONLY)
def test_values_of_django_that_are_refused(browser: Browser, value: Any, message: str) -> None:
    """7. What would not come back as it is, is refused, and the message names the setting of Django."""
    with pytest.raises(SessionValueError, match=f"'mine'.* {message}"):
        browser(lambda session: session.update({"mine": value}))


def test_values_of_django(store: Any) -> None:
    """7. A safe string is safe on the next request, a plain one is not; members of choices are members."""
    with override_settings(SCALEKIT_SESSION_STORE=store, SCALEKIT_SESSION_TYPES=[Size]):
        browser, values = Browser(), [mark_safe("<b>"), "<b>", Size.SMALL]
        browser(lambda session: session.update({"mine": values}))
        there = browser(lambda session: session["mine"])
    assert there == values
    assert [type(value) for value in there] == [SafeString, str, Size]


def test_a_value_that_cannot_be_read_spoils_no_other(browser: Browser) -> None:
    """18. A class that this server does not know is an error where its key is read; saving, a new key and the
    other values go on, and nothing of it is lost."""
    with override_settings(SCALEKIT_SESSION_TYPES=[Address]):
        browser(lambda session: session.update({"home": Address("Main St")}))

    def look(session: Any) -> None:
        for read in (lambda: session["home"], lambda: session.get("home"), lambda: dict(session.items())):
            with pytest.raises(SessionValueError, match=r"'home' cannot be read: .*'Address'"):
                read()
        assert ("home" in session, set(session.keys()), session["a"]) == (True, {"home", "a", "cart"}, 1)
        session["cart"].append("pen")

    _, response = browser.visit(lambda session: session["a"])
    assert "sessionid" not in response.cookies
    browser(look)
    browser(lambda session: session.cycle_key())
    with override_settings(SCALEKIT_SESSION_TYPES=[Address]):
        assert browser(lambda session: dict(session.items())) == {
            "a": 1,
            "cart": ["book", "pen"],
            "home": Address("Main St"),
        }
    browser(lambda session: session.__delitem__("home"))
    assert browser(lambda session: set(session.keys())) == {"a", "cart"}


def test_a_value_of_an_older_release_is_not_written_back(browser: Browser) -> None:
    """7. A key that was only read keeps its bytes, so that saving another one undoes nobody's change."""
    old = dataclasses.make_dataclass("Address", ["street"])
    with override_settings(SCALEKIT_SESSION_TYPES=[old]):
        browser(lambda session: session.update({"home": old("Main St")}))
    with override_settings(SCALEKIT_SESSION_TYPES=[Address]):

        def outer(session: Any) -> None:
            assert session["home"] == Address("Main St")
            session["a"] = 2
            Browser(browser.cookie)(lambda session: session.update({"home": Address("Side St")}))

        browser(outer)
        assert browser(lambda session: (session["home"], session["a"])) == (Address("Side St"), 2)


def test_a_rotation_of_what_was_just_created_carries_over(store: Any) -> None:
    """7. `create()` and `cycle_key()` in one request, another one in between: what that one saved stays."""
    session = SessionStore()
    session.create()
    Browser(session.session_key)(lambda other: other.update({"a": 1}))
    session.cycle_key()
    session.save()
    assert (session["a"], dict(SessionStore(session.session_key).items())) == (1, {"a": 1})


class Shop(SessionData):
    theme: str = "light"
    cart: list[str] = field(default_factory=list)


def test_typed_access(store: Any) -> None:
    """32. A default that is read gives nobody a session; one that is changed in place is saved."""
    visitor = Browser()
    shop = visitor(Shop.of)
    assert (shop.theme, shop.cart, visitor.cookie) == ("light", [], None)
    assert visitor(lambda session: (Shop.of(session).cart, session.is_empty())) == ([], True)
    assert visitor.cookie is None
    assert visitor(lambda session: (Shop.of(session).cart.append("tea"), session.is_empty())) == (None, False)
    assert visitor(lambda session: session["cart"]) == ["tea"]
    alone = SessionStore()  # as in a command, without the middleware
    Shop.of(alone).cart.append("tea")
    alone.save()
    assert SessionStore(alone.session_key)["cart"] == ["tea"]

    def rest(session: Any) -> None:
        shop = Shop.of(session)
        shop.theme = "dark"
        shop.cart.append("cup")

    visitor(rest)
    assert visitor(lambda session: dict(session.items())) == {"theme": "dark", "cart": ["tea", "cup"]}

    def end(session: Any) -> None:
        del Shop.of(session).cart
        Shop.of(session).cart.append("gone")
        session.flush()

    visitor(end)
    assert visitor(lambda session: dict(session.items())) == {}


def test_sessions_in_cookies_are_django_s_own() -> None:
    """A CookieStore is refused, with the engine to use instead."""
    with (
        override_settings(SCALEKIT_SESSION_STORE=CookieStore()),
        pytest.raises(ConfigurationError, match="signed_cookies"),
    ):
        SessionStore()
