"""A session is used like the dict that Starlette's and Flask's sessions are."""

from collections.abc import Callable
from typing import Any

import flask.sessions
import pytest
from starlette.middleware.sessions import Session as StarletteSession

from scalekit.sessions.session import Session

START = {"a": [1], "b": 2}


def test_it_has_what_a_dict_has() -> None:
    """No method that code may call on Starlette's or Flask's session is missing."""
    ours = set(dir(Session))
    # A session is not made from keys, and has no order.
    left_out = {"fromkeys", "__annotations__", "__reversed__"}
    for peer in (dict, StarletteSession):
        assert set(dir(peer)) - ours <= left_out
    from scalekit.sessions.flask import FlaskSession

    assert set(dir(flask.sessions.SecureCookieSession)) - set(dir(FlaskSession)) <= left_out | {
        "on_update"  # how Flask's own notices changes
    }


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "get": lambda s: (s["a"], s.get("b"), s.get("x"), s.get("x", 3)),
    "missing": lambda s: s["x"],
    "set": lambda s: s.__setitem__("x", 1),
    "replace": lambda s: s.__setitem__("a", None),
    "delete": lambda s: s.__delitem__("a"),
    "delete missing": lambda s: s.__delitem__("x"),
    "pop": lambda s: (s.pop("a"), s.pop("a", 7)),
    "pop missing": lambda s: s.pop("x"),
    "popitem": lambda s: (len(s.popitem()), len(s), s.clear()),
    "setdefault": lambda s: (s.setdefault("a", 5), s.setdefault("x", 6), s.setdefault("none")),
    "update": lambda s: (s.update({"a": 1}), s.update([("x", 2)]), s.update(y=3), s.update()),
    "ior": lambda s: dict(s.__ior__({"x": 1})),
    "ior pairs": lambda s: dict(s.__ior__([("x", 1)])),
    "or": lambda s: (s | {"a": 0, "x": 1}, {"a": 0, "x": 1} | s, dict(s)),
    "copy": lambda s: (s.copy(), s.copy()["a"] is s["a"], type(s.copy()) is not None),
    "clear": lambda s: s.clear(),
    "in": lambda s: ("a" in s, "x" in s, 1 in s, None in s),
    "len": lambda s: (len(s), bool(s)),
    "iterate": lambda s: (sorted(s), sorted(s.keys()), sorted(s.items()), sorted(map(str, s.values()))),
    "equal": lambda s: (s == {"a": [1], "b": 2}, s == {"a": [1]}, s != {}),
    "unpack": lambda s: ({**s}, dict(s), list(s)),
    "nested": lambda s: s["a"].append(2),
    "unhashable": lambda s: s[[]],
}


CHANGES = {
    "set",
    "replace",
    "delete",
    "pop",
    "popitem",
    "setdefault",
    "update",
    "ior",
    "ior pairs",
    "clear",
    "nested",
}


def outcome(session: Any, operation: Callable[[Any], Any]) -> Any:
    try:
        result = operation(session)
    except (KeyError, TypeError) as error:
        result = type(error).__name__
    return result, dict(session)


def made(kind: Callable[[], Any]) -> Any:
    session = kind()
    for key, value in START.items():
        session[key] = list(value) if isinstance(value, list) else value
    return session


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_does_what_a_dict_does(name: str) -> None:
    """Each operation gives and leaves what it does with Starlette's and with Flask's session, errors too."""
    expected = outcome(made(StarletteSession), OPERATIONS[name])
    assert outcome(made(flask.sessions.SecureCookieSession), OPERATIONS[name]) == expected
    assert outcome(made(lambda: Session(None, https=True)), OPERATIONS[name]) == expected


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_look_is_an_access_and_no_change(name: str) -> None:
    """26. Every operation is an access; `modified` are those that change something, the nested change too, of
    which Starlette knows nothing.
    """
    theirs, ours = made(StarletteSession), Session(None, https=True)
    settled(ours)
    theirs.modified = False
    assert not ours.accessed
    outcome(ours, OPERATIONS[name])
    outcome(theirs, OPERATIONS[name])
    assert (ours.accessed, ours.modified) == (True, name in CHANGES)
    assert theirs.modified or name not in CHANGES - {"nested"}


def settled(session: Session) -> None:
    """Give the session the values of ``START``, as if the store had them."""
    from scalekit.sessions import codec
    from scalekit.sessions.store import Loaded

    fields = {key.encode(): codec.encode(key, value) for key, value in START.items()}
    session._arrived(Loaded(fields, 1, 2, 1))
