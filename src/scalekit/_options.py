"""Options, checked where they are taken: a typical mistake is told at start-up, in the words of its caller.

What stands in a wrong place may be a URL with a password or a secret, so these messages name the type of
what was given, never its value.
"""

import functools
import inspect
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Literal, Protocol, TypedDict, TypeVar

from scalekit.errors import ConfigurationError, WrongColour
from scalekit.types import Colour

T = TypeVar("T", covariant=True)


class _Coloured(Protocol[T]):
    def using(self, colour: Colour) -> T: ...


def check_kind(value: object, kind: Any, *, option: str, wanted: str) -> None:
    """Refuse a ``value`` that is no instance of ``kind``: a class, several, or a run-time protocol.

    Args:
        option: what it was given as, such as ``"store="``.
        wanted: completes "must be ...", with an example to copy.

    Raises:
        ConfigurationError: it is none.
    """
    # A class has the methods of its instances, and so would pass for a protocol.
    if isinstance(value, type) or not isinstance(value, kind):
        raise ConfigurationError(f"{option} must be {wanted}, not {_kind_of(value)}")


SECONDS = "a number of seconds, such as 0.5"
"""What a time-out is."""


def check_application(app: Any, interface: Literal["ASGI", "WSGI"], *, taker: str, cure: str) -> None:
    """Refuse an application of the other interface: ASGI's take three arguments, and WSGI's two.

    Args:
        cure: what to use instead of ``taker``.

    Raises:
        ConfigurationError: it is one for certain.
    """
    # inspect takes one argument off a __call__ that is a static method, where there is no self.
    plain = inspect.isroutine(app) or isinstance(app, type | functools.partial)
    try:
        # Not of what it wraps, which an adapter may name that has the other interface.
        signature = inspect.signature(app if plain else app.__call__, follow_wrapped=False)
    except (AttributeError, TypeError, ValueError):
        return  # written in C, perhaps; nothing can be told of it
    wanted, other = (3, 2) if interface == "ASGI" else (2, 3)
    if _takes(signature, other) and not _takes(signature, wanted):
        found = "a WSGI" if interface == "ASGI" else "an ASGI"
        raise ConfigurationError(f"{taker} was put around {found} application; {cure}")


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def check_items(value: Any, *, option: str) -> tuple[Any, ...]:
    """The items of a list. A lone str or class is what was meant to be its only item.

    Raises:
        ConfigurationError: it is no list.
    """
    if isinstance(value, str | bytes | type) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"{option} must be a list, not {_kind_of(value)}; put what it names into one: {option}[...]"
        )
    return tuple(value)


def check_count(value: Any, *, option: str, least: int, cure: str) -> int:
    """``value``, if it is a whole number of at least ``least``.

    Raises:
        ConfigurationError: it is none; ``cure`` ends the message.
    """
    number = isinstance(value, int) and not isinstance(value, bool)
    if not number or value < least:
        given = f"{value:d}" if number and abs(value) < 10**30 else _kind_of(value)
        raise ConfigurationError(f"{option} must be a whole number, at least {least}, not {given}; {cure}")
    return int(value)


def check_function(value: object, *, option: str, wanted: str) -> None:
    """Refuse what cannot be called; ``wanted`` completes "must be ...".

    Raises:
        ConfigurationError: it cannot.
    """
    if not callable(value):
        raise ConfigurationError(f"{option} must be {wanted}, not {_kind_of(value)}")


def check_text(value: object, *, option: str, wanted: str) -> None:
    """Refuse what is no text, or an empty one.

    Raises:
        ConfigurationError: it is.
    """
    if not isinstance(value, str) or not value:
        given = "an empty one" if value == "" else _kind_of(value)
        raise ConfigurationError(f"{option} must be {wanted}, not {given}")


class LinkOptions(TypedDict, total=False):
    """What ``from_url`` takes for the way to a server.

    * ``timeout``: seconds that an answer may take; default 1.
    * ``connect_timeout``: seconds that connecting may take; default 0.5.
    * ``max_connections``: connections for threads; more threads wait, for ``timeout`` at most; default 32.
    * ``cooldown``: seconds for which the circuit breaker refuses before it lets a probe through; default 1.
    """

    timeout: float
    connect_timeout: float
    max_connections: int
    cooldown: float


def check_names(given: Iterable[str], known: type, *, taker: str, named: Iterable[str] = ()) -> None:
    """Refuse options that are not in ``known``, the ``TypedDict`` of those that ``taker`` has.

    Args:
        named: what it takes besides.

    Raises:
        ConfigurationError: there is one; the message lists those that there are.
    """
    names = [*named, *known.__annotations__]
    for name in given:
        if name not in names:
            close = get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]}=? It" if close else "it"
            raise ConfigurationError(f"{taker} has no option {name}=; {hint} takes {', '.join(names)}")


def in_colour(source: _Coloured[T], colour: Colour, *, taker: str) -> T:
    """``source.using(colour)``, for ``taker``: readers know what they have written, and no link behind it.

    Raises:
        WrongColour: it has only the other colour.
    """
    try:
        return source.using(colour)
    except WrongColour as error:
        raise WrongColour(
            found=error.found, wanted=error.wanted, what=taker, kind=error.kind, cure=error.cure
        ) from error


def _kind_of(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "None" if value is None else type(value).__name__
