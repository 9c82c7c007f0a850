"""Options at the border: typical mistakes, in words."""

import functools
from decimal import Decimal
from typing import Any, TypedDict

import pytest

from scalekit._options import check_application, check_items, check_kind, check_names, in_colour
from scalekit.errors import ConfigurationError, WrongColour
from scalekit.types import Colour


class Known(TypedDict, total=False):
    """The options that there are."""

    lifetime: float
    max_size: int


class Sync:
    """Something that has one colour."""

    def using(self, colour: Colour) -> str:
        if colour == "async":
            raise WrongColour(found="sync", wanted="async", what="a link", cure="use the other one")
        return "answers"


@pytest.mark.parametrize(
    ("given", "found"),
    [("redis://:s3cret@host", "str"), (None, "None"), (Decimal, "the class Decimal"), (Decimal, "the class")],
)
def test_something_else_is_told_by_its_type(given: Any, found: str) -> None:
    """The message names the option, what it wants and the type that it got, never the value."""
    with pytest.raises(ConfigurationError, match=rf"^store= must be a store, not {found}") as caught:
        check_kind(given, Decimal, option="store=", wanted="a store")
    assert "s3cret" not in str(caught.value)


def test_what_is_wanted_passes() -> None:
    """An instance is no mistake."""
    check_kind(Decimal(1), Decimal, option="price=", wanted="a price")


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application."""


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """A WSGI application."""
    return []


class Application:
    """An object that is a WSGI application, and has another as a method."""

    __call__ = staticmethod(wsgi)

    def other(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


@functools.wraps(wsgi)
async def adapter(*args: Any) -> None:
    """An ASGI application that names the WSGI application in it."""


class Iterated:
    """A WSGI application of which each request makes one."""

    def __init__(self, environ: Any, start_response: Any) -> None:
        pass


class Static:
    """An ASGI application without a self."""

    __call__ = staticmethod(asgi)


class Legacy:
    """Takes more than it must."""

    def __call__(self, environ: Any, start_response: Any, debug: bool = False) -> list[bytes]:
        return []


@pytest.mark.parametrize("app", [wsgi, Application(), Application().other, functools.partial(wsgi), Iterated])
def test_the_other_interface_is_refused(app: Any) -> None:
    """An application is told by how many arguments it takes; the message has the cure."""
    with pytest.raises(
        ConfigurationError, match=r"^the ASGI gate was put around a WSGI application; use that"
    ):
        check_application(app, "ASGI", taker="the ASGI gate", cure="use that")
    with pytest.raises(
        ConfigurationError, match=r"^the WSGI gate was put around an ASGI application; use this"
    ):
        check_application(asgi, "WSGI", taker="the WSGI gate", cure="use this")


@pytest.mark.parametrize(
    "app", [asgi, adapter, print, Static(), Legacy(), lambda *args: None, None, functools.partial(asgi)]
)
def test_what_may_be_of_the_interface_passes(app: Any) -> None:
    """What may take the right number of arguments, or cannot be told."""
    check_application(app, "ASGI", taker="the ASGI gate", cure="")


@pytest.mark.parametrize("app", [wsgi, adapter, print, Legacy(), Application()])
def test_what_may_be_wsgi_passes(app: Any) -> None:
    """So in the other direction."""
    check_application(app, "WSGI", taker="the WSGI gate", cure="")


@pytest.mark.parametrize(
    ("given", "items"), [([1], (1,)), ((), ()), ({"a"}, ("a",)), (iter("ab"), ("a", "b"))]
)
def test_lists_are_any_iterable(given: Any, items: tuple[Any, ...]) -> None:
    """A tuple, a set or a generator is a list too."""
    assert check_items(given, option="tags=") == items


@pytest.mark.parametrize(
    ("given", "found"), [("ab", "str"), (b"ab", "bytes"), (Sync, "the class Sync"), (1, "int")]
)
def test_a_lone_item_is_no_list(given: Any, found: str) -> None:
    """A str is not the list of its letters: the message says to put it into one."""
    with pytest.raises(ConfigurationError) as caught:
        check_items(given, option="tags=")
    assert str(caught.value) == f"tags= must be a list, not {found}; put what it names into one: tags=[...]"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ttl", "; it takes lifetime, max_size"),
        ("lifetme", "; did you mean lifetime=? It takes lifetime, max_size"),
    ],
)
def test_unknown_options(name: str, hint: str) -> None:
    """An option that there is not is told with those that there are, and with the one that was meant."""
    with pytest.raises(ConfigurationError) as caught:
        check_names({"lifetime": 1, name: 2}, Known, taker="the middleware")
    assert str(caught.value) == f"the middleware has no option {name}={hint}"
    check_names({"lifetime": 1}, Known, taker="the middleware")


def test_the_wrong_colour_is_told_of_the_taker() -> None:
    """Who wants the other colour is what the reader has written; facts and cure stay."""
    assert in_colour(Sync(), "sync", taker="the middleware") == "answers"
    with pytest.raises(WrongColour, match=r"^the middleware wants an asynch.*; use the other one$") as caught:
        in_colour(Sync(), "async", taker="the middleware")
    assert (caught.value.found, caught.value.wanted) == ("sync", "async")
