"""What an application and its visitor see, the same in every framework and over every store."""

import contextlib
import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from scalekit.errors import SessionTooLarge, SessionValueError
from scalekit.sessions.session import Session
from tests.sessions.shells import Answer, Shell, Visitor


def test_a_value_is_there_on_the_next_request(visitor: Visitor) -> None:
    """What one request sets, the next one reads."""
    visitor(lambda session: session.update(name="Ann", visits=1))
    assert visitor(dict) == {"name": "Ann", "visits": 1}


def test_visitors_have_sessions_of_their_own(shell: Shell) -> None:
    """Nobody sees the data of another."""
    ann, bob = shell.visitor(), shell.visitor()
    ann(lambda session: session.update(name="Ann"))
    bob(lambda session: session.update(name="Bob"))
    assert (ann(dict), bob(dict)) == ({"name": "Ann"}, {"name": "Bob"})


def test_a_nested_change_is_saved(visitor: Visitor) -> None:
    """`session["cart"].append(...)` needs no flag, and `setdefault` works on the first visit too."""
    for sku in ("book", "pen"):
        visitor(lambda session, sku=sku: session.setdefault("cart", []).append(sku))
    visitor(lambda session: session["cart"].append("ink"))
    assert visitor(lambda session: session["cart"]) == ["book", "pen", "ink"]


def test_values_keep_their_types(visitor: Visitor) -> None:
    """Dates, UUIDs, Decimals, bytes, sets and tuples come back as what they were."""
    values = {
        "when": dt.datetime(2025, 1, 2, tzinfo=dt.UTC),
        "day": dt.date(2025, 1, 2),
        "id": UUID(int=7),
        "price": Decimal("1.10"),
        "raw": b"\0\xff",
        "tags": {"a", "b"},
        "pair": (1, [2]),
    }
    visitor(lambda session: session.update(values))
    assert visitor(lambda session: dict(session) == values) is True


def test_the_mapping_protocol(visitor: Visitor) -> None:
    """Everything that a dictionary does, on a session that came from the store."""

    def check(session: Session) -> None:
        assert (len(session), set(session), "a" in session, "z" in session) == (4, set("abcd"), True, False)
        assert (session.get("z"), session.get("z", 5), session.pop("z", 6)) == (None, 5, 6)
        with pytest.raises(KeyError):
            session["z"]
        with pytest.raises(KeyError):
            del session["z"]
        assert session.pop("a") == 1
        assert session.setdefault("b", 9) == 2
        assert session == {"b": 2, "c": 3, "d": 4}
        assert sorted(session.items()) == [("b", 2), ("c", 3), ("d", 4)]
        session.clear()
        session["new"] = 1

    visitor(lambda session: session.update(a=1, b=2, c=3, d=4))
    visitor(check)
    assert visitor(dict) == {"new": 1}


def test_a_session_can_be_emptied(visitor: Visitor) -> None:
    """`clear()` removes the data; a visitor who is not logged in keeps the session."""
    visitor(lambda session: session.update(a=1))
    cookie = visitor.cookie
    visitor(lambda session: session.clear())
    assert (visitor(dict), visitor.cookie) == ({}, cookie)


def test_clearing_logs_out(visitor: Visitor) -> None:
    """`clear()`, by which many applications log out, leaves nobody logged in, under no cookie."""
    visitor(lambda session: session.update(cart=["book"]))
    visitor(lambda session: session.login("ann"))
    copied = Visitor(visitor.shell, visitor.cookie)
    visitor(lambda session: session.clear())
    assert visitor.cookie is None
    assert visitor(lambda session: [session.user_id, dict(session)]) == [None, {}]
    assert copied(lambda session: [session.user_id, dict(session)]) == [None, {}]


def test_clearing_before_something_new(visitor: Visitor) -> None:
    """What is set after `clear()` is kept; who logs in after it is logged in."""
    visitor(lambda session: session.login("ann"))
    visitor(lambda session: [session.update(a=1), session.clear(), session.update(b=2)])
    assert visitor(lambda session: [session.user_id, dict(session)]) == [None, {"b": 2}]
    visitor(lambda session: [session.clear(), session.login("bob")])
    assert visitor(lambda session: [session.user_id, dict(session)]) == ["bob", {}]
    visitor(lambda session: [session.login("eve"), session.clear()])
    assert visitor(lambda session: [session.user_id, dict(session)]) == [None, {}]


@pytest.mark.parametrize("key", [1, None, "\0user"])
def test_a_key_that_cannot_be_is_refused_where_it_is_set(visitor: Visitor, key: Any) -> None:
    """The error comes at the line that has the mistake."""

    def handler(session: Session) -> None:
        with pytest.raises(SessionValueError):
            session[key] = 1

    reply = visitor.visit(handler)
    assert (reply.status, reply.set_cookies) == (200, [])


def test_login_and_logout(visitor: Visitor) -> None:
    """`login` makes the visitor somebody, keeping what they gathered; `logout` leaves nothing of it."""
    visitor(lambda session: session.update(cart=["book"]))
    visitor(lambda session: session.login(42))
    assert visitor(lambda session: [session.user_id, session["cart"]]) == [42, ["book"]]
    visitor(lambda session: session.logout())
    assert visitor.cookie is None
    assert visitor(lambda session: [session.user_id, dict(session)]) == [None, {}]


@pytest.mark.parametrize("user", ["ann", 42, UUID(int=5)])
def test_user_ids_keep_their_type(visitor: Visitor, user: Any) -> None:
    """A str, an int and a UUID come back as given."""
    visitor(lambda session: session.login(user))
    assert visitor(lambda session: session.user_id == user and type(session.user_id) is type(user))


@pytest.mark.parametrize("user", [None, True, 1.5, ["ann"], object()])
def test_other_user_ids_are_refused(visitor: Visitor, user: Any) -> None:
    """What cannot name a user, None above all, is an error, and nobody is logged in."""

    def handler(session: Session) -> None:
        with pytest.raises(SessionValueError):
            session.login(user)
        assert session.user_id is None

    visitor(handler)
    assert visitor.cookie is None


def test_a_farewell_survives_the_logout(visitor: Visitor) -> None:
    """What is set after `logout()` goes into a new, anonymous session."""

    def leave(session: Session) -> None:
        session.logout()
        session["message"] = "Bye!"

    visitor(lambda session: session.update(secret=1))
    visitor(lambda session: session.login("ann"))
    visitor(leave)
    assert visitor(lambda session: [session.user_id, dict(session)]) == [None, {"message": "Bye!"}]


def test_another_user_gets_nothing_of_the_one_before(visitor: Visitor) -> None:
    """Logging in as somebody else without logging out drops what belonged to the first."""
    visitor(lambda session: session.login("ann"))
    visitor(lambda session: session.update(diary="secret"))
    visitor(lambda session: session.login("bob"))
    assert visitor(lambda session: [session.user_id, dict(session)]) == ["bob", {}]


def test_the_same_user_keeps_everything(visitor: Visitor) -> None:
    """Logging in again as oneself, before something delicate, loses nothing."""
    visitor(lambda session: session.login("ann"))
    visitor(lambda session: session.update(cart=["book"]))
    visitor(lambda session: session.login("ann"))
    assert visitor(dict) == {"cart": ["book"]}


def test_rotation_keeps_user_and_data(visitor: Visitor) -> None:
    """`rotate()` changes the id and nothing else; changes of the same request come along."""

    def handler(session: Session) -> None:
        session["b"] = 2
        del session["a"]
        session.rotate()
        session["c"].append(3)

    visitor(lambda session: session.update(a=1, c=[]))
    visitor(lambda session: session.login("ann"))
    cookie = visitor.cookie
    visitor(handler)
    assert visitor.cookie not in (None, cookie)
    assert visitor(lambda session: [session.user_id, dict(session)]) == ["ann", {"b": 2, "c": [3]}]


def test_rotating_nothing_makes_nothing(visitor: Visitor) -> None:
    """A visitor without data is not given a session by `rotate()` or `logout()`."""
    assert visitor.visit(lambda session: session.rotate()).set_cookies == []
    assert visitor.visit(lambda session: session.logout()).set_cookies == []


def test_logging_in_and_out_in_one_request(visitor: Visitor) -> None:
    """The last word counts: out after in is out, in after out is in, without the old data."""

    def in_and_out(session: Session) -> None:
        session.login("ann")
        session.logout()

    def out_and_in(session: Session) -> None:
        session.logout()
        session.login("bob")

    visitor(lambda session: session.update(a=1))
    visitor(in_and_out)
    assert visitor(lambda session: [session.user_id, dict(session)]) == [None, {}]
    visitor(lambda session: session.update(a=1))
    visitor(out_and_in)
    assert visitor(lambda session: [session.user_id, dict(session)]) == ["bob", {}]


def test_is_new_until_it_is_stored(visitor: Visitor) -> None:
    """A session is new until a response has stored it."""

    def handler(session: Session) -> bool:
        session["a"] = 1
        return session.is_new

    assert visitor(handler) is True
    assert visitor(handler) is False


@pytest.mark.parametrize("status", [500, 503, 599])
def test_a_response_that_failed_saves_nothing(visitor: Visitor, status: int) -> None:
    """A 5xx leaves the session as it was: no change, no new id, nobody logged in or out."""

    def fail(change: Any) -> Any:
        def handler(session: Session) -> Answer:
            change(session)
            return Answer(status=status)

        return handler

    visitor(lambda session: session.update(a=[1]))
    cookie = visitor.cookie
    for change in (
        lambda session: session.update(b=1),
        lambda session: session["a"].append(2),
        lambda session: session.login("ann"),
        lambda session: session.logout(),
        lambda session: session.rotate(),
    ):
        reply = visitor.visit(fail(change))
        assert (reply.status, reply.set_cookies) == (status, [])
    assert visitor(lambda session: [session.user_id, dict(session)]) == [None, {"a": [1]}]
    assert visitor.cookie == cookie


@pytest.mark.parametrize("status", [201, 302, 404, 422])
def test_other_responses_save(visitor: Visitor, status: int) -> None:
    """Redirects and the client's own errors save: a failed log-in may count its attempts."""

    def handler(session: Session) -> Answer:
        session["tries"] = 1
        return Answer(status=status)

    assert visitor.visit(handler).status == status
    assert visitor(dict) == {"tries": 1}


def test_a_handler_that_raises_saves_nothing(make_shell: Any) -> None:
    """An exception that leaves the application changes neither the session nor the id."""

    def handler(session: Session) -> None:
        session.login("ann")
        session["a"] = 2
        raise ZeroDivisionError

    visitor = make_shell().visitor()
    visitor(lambda session: session.update(a=1))
    cookie = visitor.cookie
    with contextlib.suppress(ZeroDivisionError):  # a bare application has nobody to turn it into a response
        assert visitor.visit(handler).status == 500
    assert visitor(lambda session: [session.user_id, dict(session)]) == [None, {"a": 1}]
    assert visitor.cookie == cookie


@pytest.mark.parametrize(
    ("value", "error"),
    [(object(), SessionValueError), ("x" * 300_000, SessionTooLarge)],
    ids=["object", "large"],
)
def test_what_cannot_be_stored_is_an_error_and_stores_nothing(
    make_shell: Any, value: Any, error: Any
) -> None:
    """The key is named, nothing is written, and the response is no success."""
    visitor = make_shell().visitor()
    visitor(lambda session: session.update(a=1))
    try:
        reply = visitor.visit(lambda session: session.update(b=2, bad=value))
        assert reply.status == 500
    except error as raised:  # a bare application has nobody to turn it into a response
        assert raised.key == "bad"  # noqa: PT017
    assert visitor(dict) == {"a": 1}


def test_a_repr_shows_nothing(visitor: Visitor) -> None:
    """Sessions end up in logs and error pages: their repr has neither id nor data."""
    visitor(lambda session: session.update(password="hunter2"))
    shown = visitor(repr)
    assert "hunter2" not in shown
    assert visitor.cookie is not None
    assert visitor.cookie[:20] not in shown
