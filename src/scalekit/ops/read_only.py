"""Read-only mode: which requests it refuses, and what they are told. Pure.

Rules:

* Refused is what may change something: every method but ``GET``, ``HEAD``, ``OPTIONS`` and ``TRACE``, which
  are safe by RFC 9110. An application that changes data on ``GET`` has to ask the switch itself.
* So is a safe one with a header by which some applications take it for another method, such as
  ``X-HTTP-Method-Override: DELETE``; or with a query that says so, such as ``?_method=DELETE``: some go by it
  with ``GET`` as well, among them all on ``routes.middleware`` that have not switched it off. Of a query only
  the methods count that forms and scripts write by; ``_method=stripe`` is no method at all.
* What is in a body need not be looked at: nobody looks for a method there but in a ``POST``.
* ``allow`` lets paths through, each with all below it: what must go on, such as ``/login``. Not those with a
  part ``..``, which some applications follow to another path.
* WebSockets pass; only their application knows what a message changes.
"""

from collections.abc import Iterable
from urllib.parse import parse_qsl

from scalekit._options import check_items
from scalekit.errors import ConfigurationError
from scalekit.ops.probes import Answer
from scalekit.ops.refusal import check_page, plain_page, refuse
from scalekit.types import Headers

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
OVERRIDING = ("x-http-method-override", "x-http-method", "x-method-override")
"""Headers that name another method, in lower case."""

_PARAMETERS = frozenset({"_method", "__method_override__"})
_WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})

_PAGE = plain_page(
    "Not at the moment",
    "Nothing can be changed at the moment",
    "You can look at everything. What you have just sent was not carried out: please send it again later.",
)
_UP = frozenset({".", ".."})
AFTER = 60.0
"""Seconds that visitors are told to wait when nobody knows how long it takes."""

FIRST_LOOK = 1.0
"""Seconds that the first request waits for the switches to be seen at all."""


def check_switches(switches: object) -> None:
    """Say at start-up, and not with the first request, that they are none.

    Raises:
        ConfigurationError: there is no read-only mode that could be asked for.
    """
    if not callable(getattr(switches, "is_read_only", None)):
        raise ConfigurationError(
            f"switches= must be the fleet's, such as Switches.from_url(url), not {type(switches).__name__}"
        )


class ReadOnly:
    """The rules of one middleware."""

    def __init__(self, *, allow: Iterable[str], page: str | bytes | None) -> None:
        self._allowed = tuple(_checked(path) for path in check_items(allow, option="allow="))
        self._page = check_page(page, otherwise=_PAGE)

    def concerns(self, method: str, path: str, overriding: Iterable[str] = (), query: str = "") -> bool:
        """Whether such a request is refused while the mode is on.

        Args:
            overriding: what its headers of :data:`OVERRIDING` say.
            query: as it was sent.
        """
        return (method not in _SAFE or any(map(_is_unsafe, overriding)) or _asks_to_write(query)) and (
            not _UP.isdisjoint(path.split("/"))
            or not any(path == allowed or path.startswith(f"{allowed}/") for allowed in self._allowed)
        )

    def refusal(self, request: Headers, left: float | None) -> Answer:
        """What it is told; ``left`` are the seconds until the mode ends, if that is known."""
        return refuse(
            request,
            title="Nothing can be changed at the moment",
            detail="The site is in read-only mode. Nothing was changed by this request; send it again later.",
            after=AFTER if left is None else left,
            page=self._page,
        )


def _is_unsafe(said: str) -> bool:
    # Of several lines, which WSGI joins, whichever the application takes.
    return any(name.strip().upper() not in _SAFE for name in said.split(",") if name.strip())


def _asks_to_write(query: str) -> bool:
    if "method" not in query.lower() and "%" not in query:  # hardly any has it: they need not be taken apart
        return False
    # Older parsers separate by both.
    pairs = parse_qsl(query.replace(";", "&"))
    return any(name.lower() in _PARAMETERS and value.strip().upper() in _WRITING for name, value in pairs)


def _checked(path: object) -> str:
    if not isinstance(path, str) or not path.startswith("/") or path == "/":
        raise ConfigurationError(
            f"allow={path!r:.60} must be a path, such as '/login', and not that of everything"
        )
    return path.rstrip("/")
