"""Read-only mode: which requests it refuses, and what they are told. Pure.

Rules:

* Refused is what may change something: every method but ``GET``, ``HEAD``, ``OPTIONS`` and ``TRACE``, which
  are safe by RFC 9110. An application that changes data on ``GET`` has to ask the switch itself.
* ``allow`` lets paths through, each with all below it: what must go on, such as ``/login``. Not those with a
  part ``..``, which some applications follow to another path.
* WebSockets pass; only their application knows what a message changes.
"""

from collections.abc import Iterable

from scalekit._options import check_items
from scalekit.errors import ConfigurationError
from scalekit.ops.probes import Answer
from scalekit.ops.refusal import check_page, refuse
from scalekit.types import Headers

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_UP = frozenset({".", ".."})
AFTER = 60.0
"""Seconds that visitors are told to wait when nobody knows how long it takes."""

FIRST_LOOK = 1.0
"""Seconds that the first request waits for the switches to be seen at all."""


class ReadOnly:
    """The rules of one middleware."""

    def __init__(self, *, allow: Iterable[str], page: str | bytes | None) -> None:
        self._allowed = tuple(_checked(path) for path in check_items(allow, option="allow="))
        self._page = check_page(page)

    def concerns(self, method: str, path: str) -> bool:
        """Whether such a request is refused while the mode is on."""
        return method not in _SAFE and (
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


def _checked(path: object) -> str:
    if not isinstance(path, str) or not path.startswith("/") or path == "/":
        raise ConfigurationError(
            f"allow={path!r:.60} must be a path, such as '/login', and not that of everything"
        )
    return path.rstrip("/")
