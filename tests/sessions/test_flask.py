"""What is particular to Flask."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import flask
import pytest
from markupsafe import Markup, escape

from scalekit.errors import BackendUnavailable, ConfigurationError, SessionCommitted
from scalekit.sessions import Cookie, MemoryStore
from scalekit.sessions.flask import FlaskSession, ServerSessionInterface, SessionUnavailable, session
from tests.sessions.shells import SECRET


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def make_app(store: Any, **options: Any) -> flask.Flask:
    app = flask.Flask("tests")
    app.session_interface = ServerSessionInterface(store, secret_key=SECRET, **options)

    @app.get("/")
    def show() -> Any:
        return dict(flask.session)

    @app.get("/add/<sku>")
    def add(sku: str) -> Any:
        flask.session.setdefault("cart", []).append(sku)
        return dict(flask.session)

    @app.get("/keep")
    def keep() -> str:
        flask.session.permanent = not flask.session.permanent
        return ""

    @app.get("/login")
    def login() -> str:
        flask.session.login("ann")  # type: ignore[attr-defined]
        return ""

    @app.get("/untouched")
    def untouched() -> str:
        return ""

    return app


@pytest.fixture
def app(store: MemoryStore) -> flask.Flask:
    return make_app(store)


def test_the_proxy_is_our_session(app: flask.Flask) -> None:
    """`flask.session` is the session; the application's secret is not needed for it."""
    client = app.test_client()
    client.get("/add/book")
    assert client.get("/add/pen").json == {"cart": ["book", "pen"]}
    assert app.secret_key is None


def test_the_session_with_its_type(app: flask.Flask) -> None:
    """32. `from scalekit.sessions.flask import session` is the proxy of Flask, with its type."""

    @app.get("/typed")
    def typed() -> Any:
        session.login("ann")
        return [session is flask.session, session.user_id]

    assert app.test_client().get("/typed").json == [True, "ann"]


def test_session_transaction(app: flask.Flask) -> None:
    """Flask's test client can prepare and inspect a session, of a new visitor and of a known one."""
    client = app.test_client()
    with client.session_transaction() as session:
        session["cart"] = ["book"]
    assert client.get("/add/pen").json == {"cart": ["book", "pen"]}
    with client.session_transaction() as session:
        assert isinstance(session, FlaskSession)
        session["cart"].append("ink")
        session.login("ann")
    with client.session_transaction() as session:
        assert (session["cart"], session.user_id) == (["book", "pen", "ink"], "ann")  # type: ignore[attr-defined]


def test_session_transaction_logs_in_and_out(app: flask.Flask, store: MemoryStore) -> None:
    """Log-in, rotation, log-out and `permanent` inside of `session_transaction` reach the client's jar, for a
    new visitor and a known one; reading makes no session.
    """
    client = app.test_client()
    with client.session_transaction() as transaction:
        assert transaction.new
    assert (store.count(), client.get_cookie("session")) == (0, None)
    cookies = []
    for change in (
        lambda s: s.login("ann"),
        lambda s: s.update(cart=["book"]),
        lambda s: s.rotate(),
        lambda s: setattr(s, "permanent", True),
    ):
        with client.session_transaction() as transaction:
            change(transaction)
        cookies.append(client.get_cookie("session"))
    first, second, third, permanent = cookies
    assert first.value == second.value != third.value == permanent.value
    assert (first.max_age, permanent.max_age is not None) == (None, True)
    with client.session_transaction() as transaction:
        assert (transaction.new, transaction.user_id, transaction["cart"]) == (False, "ann", ["book"])
        transaction.logout()
    assert (store.count(), client.get_cookie("session")) == (0, None)
    with client.session_transaction(base_url="https://localhost") as transaction:
        transaction["a"] = 1
    assert client.get("/", base_url="https://localhost").json == {"a": 1}


def test_a_session_can_be_looked_at_after_its_request(app: flask.Flask) -> None:
    """`with client:` keeps the context of the last request: `flask.session` shows what it has left."""
    with app.test_client() as client:
        client.get("/add/book")
        assert flask.session["cart"] == ["book"]
        assert not flask.session.new
        assert not flask.session.modified
        client.get("/login")
        assert session.user_id == "ann"


def test_a_slow_toggle_brings_no_old_cookie_back(app: flask.Flask) -> None:
    """11. `permanent` is set in a request that another one overtakes with a new id: the session keeps it, but
    the cookie of the old id is not sent again, as it would replace the new one.
    """
    slow, other = app.test_client(), app.test_client()

    @app.get("/rotate")
    def rotate() -> str:
        session.rotate()
        return ""

    @app.get("/slow/<moment>")
    def overtaken(moment: str) -> Any:
        if moment == "loaded":
            session.get("cart")
        other.get("/rotate")
        session.permanent = True
        return ""

    for moment in ("loaded", "unloaded"):
        slow.get("/add/book")
        cookie = slow.get_cookie("session")
        assert cookie is not None
        other.set_cookie("session", cookie.value)
        assert "Set-Cookie" not in slow.get(f"/slow/{moment}").headers
        assert other.get("/").json["_permanent"] is True
        slow = app.test_client()


def test_the_lifetime_that_flask_was_given_holds() -> None:
    """`PERMANENT_SESSION_LIFETIME` ends an idle session if it is shorter than our default, so that adopting
    scalekit makes no session live longer; `idle_timeout` says otherwise.
    """
    clock = Clock()
    for options, config, lives in (
        ({}, {}, True),
        ({}, {"PERMANENT_SESSION_LIFETIME": 1800}, False),
        ({"cookie": Cookie()}, {"PERMANENT_SESSION_LIFETIME": timedelta(minutes=30)}, False),
        ({"idle_timeout": 7200}, {"PERMANENT_SESSION_LIFETIME": 1800}, True),
        ({"idle_timeout": 1800}, {}, False),
    ):
        app = make_app(MemoryStore(clock=clock), **options)
        app.config.update(config)
        client = app.test_client()
        client.get("/add/book")
        clock.now += 1799
        assert client.get("/").json == {"cart": ["book"]}
        clock.now += 1801
        assert client.get("/").json == ({"cart": ["book"]} if lives else {}), (options, config)


def test_flash_messages(app: flask.Flask) -> None:
    """`flash` and `get_flashed_messages` work: tuples come back as tuples, Markup as Markup."""

    @app.get("/flash")
    def flash() -> str:
        flask.flash("Saved.", "info")
        flask.flash(Markup("<b>Saved.</b>"), "html")
        return ""

    @app.get("/flashed")
    def flashed() -> Any:
        messages = flask.get_flashed_messages(with_categories=True)
        return [[category, escape(message)] for category, message in messages]

    client = app.test_client()
    client.get("/flash")
    assert client.get("/flashed").json == [["info", "Saved."], ["html", "<b>Saved.</b>"]]
    assert client.get("/flashed").json == []


def test_setting_modified_is_allowed(app: flask.Flask) -> None:
    """Code that says `session.modified = True` after a nested change keeps working."""

    @app.get("/flag")
    def flag() -> str:
        flask.session["cart"].append("flagged")
        flask.session.modified = True
        assert flask.session.modified is True
        return ""

    client = app.test_client()
    client.get("/add/book")
    client.get("/flag")
    assert client.get("/").json == {"cart": ["book", "flagged"]}


def test_a_session_ends_with_the_browser_unless_it_is_permanent(app: flask.Flask) -> None:
    """As in Flask: no Max-Age by default; `session.permanent` adds it, and takes it away again."""
    client = app.test_client()
    assert "Max-Age" not in client.get("/add/book").headers["Set-Cookie"]
    (age,) = re.findall(r"Max-Age=(\d+)", client.get("/keep").headers["Set-Cookie"])
    assert 2_592_000 - 100 < int(age) <= 2_592_000  # what is left of thirty days
    assert "Set-Cookie" not in client.get("/add/pen").headers
    assert "Max-Age=2592000" in client.get("/login").headers["Set-Cookie"]
    assert "Max-Age" not in client.get("/keep").headers["Set-Cookie"]
    assert client.get("/").json == {"cart": ["book", "pen"], "_permanent": False}


def test_the_cookie_follows_the_settings_of_flask(store: MemoryStore) -> None:
    """`SESSION_COOKIE_*` settings hold unless a `Cookie` is given, and SameSite=Lax where they are silent."""
    app = make_app(store)
    line = app.test_client().get("/add/book").headers["Set-Cookie"]
    assert line.startswith("session=")
    assert line.endswith("; Path=/; HttpOnly; SameSite=Lax")
    app.config.update(
        SESSION_COOKIE_NAME="sid",
        SESSION_COOKIE_DOMAIN="example.com",
        SESSION_COOKIE_PATH="/app",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=False,
        SESSION_COOKIE_SAMESITE="None",
        SESSION_COOKIE_PARTITIONED=True,
    )
    line = app.test_client().get("/add/book").headers["Set-Cookie"]
    assert line.startswith("sid=")
    assert line.endswith("; Path=/app; Domain=example.com; Secure; SameSite=None; Partitioned")
    app = make_app(store, cookie=Cookie(name="mine"))
    app.config["SESSION_COOKIE_NAME"] = "sid"
    assert app.test_client().get("/add/book").headers["Set-Cookie"].startswith("mine=")


def test_an_impossible_cookie_of_the_settings_is_an_error(store: MemoryStore) -> None:
    """Settings that browsers refuse are reported, not sent."""
    app = make_app(store)
    app.config.update(SESSION_COOKIE_SAMESITE="None", TESTING=True)
    with pytest.raises(ConfigurationError, match="none"):
        app.test_client().get("/")


def test_templates_may_look_at_the_session(app: flask.Flask) -> None:
    """Jinja's `session` is the session too."""

    @app.get("/page")
    def page() -> str:
        return flask.render_template_string("{{ session.cart | join(',') }}")

    client = app.test_client()
    client.get("/add/book")
    assert client.get("/page").text == "book"


def test_a_stream_is_saved_before_its_first_byte(app: flask.Flask, store: MemoryStore) -> None:
    """24. What was set before a stream started is stored while the stream still runs."""
    seen: list[int] = []

    @app.get("/export")
    def export() -> Any:
        flask.session["a"] = 1

        def rows() -> Iterator[str]:
            seen.append(store.count())
            yield "row"

        return rows()

    reply = app.test_client().get("/export")
    assert (reply.text, seen, "Set-Cookie" in reply.headers) == ("row", [1], True)


def test_a_change_while_streaming_is_an_error_unless_saved(app: flask.Flask) -> None:
    """25. `stream_with_context` may read and save; a change that nobody saves is reported."""

    @app.get("/stream/<save>")
    def stream(save: str) -> Any:
        cart = flask.session["cart"]

        def body() -> Iterator[str]:
            yield "first"
            cart.append("late")
            if save == "yes":
                flask.session.save()  # type: ignore[attr-defined]

        return flask.Response(flask.stream_with_context(body()))

    client = app.test_client()
    client.get("/add/book")
    with pytest.raises(SessionCommitted):
        client.get("/stream/no", buffered=True)
    assert client.get("/").json == {"cart": ["book"]}
    client.get("/stream/yes", buffered=True)
    assert client.get("/").json == {"cart": ["book", "late"]}


class Down(MemoryStore):
    """A store that does not answer."""

    down = False

    def using(self, colour: Any) -> Any:
        return self

    def load(self, *args: Any, **options: Any) -> Any:
        self.check()
        return super().load(*args, **options)

    def save(self, *args: Any, **options: Any) -> Any:
        self.check()
        return super().save(*args, **options)

    def create(self, *args: Any, **options: Any) -> Any:
        self.check()
        return super().create(*args, **options)

    def check(self) -> None:
        if self.down:
            raise BackendUnavailable("down", backend="tests")


def test_a_store_that_is_down() -> None:
    """27. What needs the session is a 503 that names no detail; what does not is served."""
    store = Down()
    app = make_app(store)

    @app.get("/save")
    def save() -> str:
        flask.session["a"] = 1
        flask.session.save()  # type: ignore[attr-defined]
        return "success"

    @app.get("/stream")
    def stream() -> Any:
        flask.session["a"] = 1
        return flask.Response(iter(["success"]), headers={"X-Mine": "1"})

    client = app.test_client()
    client.get("/add/book")
    new = app.test_client()
    store.down = True
    assert client.get("/untouched").status_code == new.get("/untouched").status_code == 200
    assert new.get("/").json == {}
    for reply in (
        client.get("/"),
        client.get("/add/pen"),
        client.get("/login"),
        new.get("/add/pen"),
        new.get("/save"),
        new.get("/stream"),
    ):
        assert reply.status_code == 503
        assert (reply.headers["Retry-After"], "Set-Cookie" in reply.headers, "X-Mine" in reply.headers) == (
            "1",
            False,
            False,
        )
        assert "success" not in reply.text
        assert "tests" not in reply.text
    store.down = False
    assert client.get("/").json == {"cart": ["book"]}


def test_the_application_may_answer_an_outage_itself() -> None:
    """27. An error handler of the application gets the error, as ours or as an HTTP 503."""
    store = Down()
    app = make_app(store)

    @app.errorhandler(SessionUnavailable)
    def sorry(error: SessionUnavailable) -> tuple[str, int]:
        assert isinstance(error, BackendUnavailable)
        return f"back soon ({error.code}, {error.backend})", 503

    client = app.test_client()
    client.get("/add/book")
    store.down = True
    assert client.get("/").text == "back soon (503, tests)"


def test_a_change_while_the_request_is_torn_down_is_told(app: flask.Flask) -> None:
    """25. What `teardown_request` changes comes after the save: an error, not a loss."""

    @app.get("/torn")
    def torn() -> str:
        flask.session["cart"] = ["early"]
        return ""

    @app.teardown_request
    def late(error: BaseException | None) -> None:
        if flask.request.path == "/torn":
            flask.session["cart"].append("late")

    with pytest.raises(SessionCommitted):
        app.test_client().get("/torn", buffered=True)
