"""What a checker has found.

* Redis replicates behind. A change of a session that was acknowledged within `BEHIND` seconds before its
  master was lost may be lost with it. That is no other kind of loss, but it has a name of its own, so that
  it does not hide one that scalekit would have to answer for.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from examples.bigevent.history import Event

BEHIND = 2.0
FAIL_OVER = "session writes lost at fail-over"

CHECKERS = (
    "acknowledged writes", "stale reads", "other users' data", "carts", "uploads", "dead assets", "log-ins",
    "requests of drained servers", FAIL_OVER,
)  # fmt: skip
"""Names, in the order of the report."""


@dataclass(frozen=True)
class Violation:
    """Args:
    checker: which found it.
    user: whom it hit.
    at: when it showed, in seconds.
    text: what was wrong.
    written: when the change of a session was acknowledged that is missing.
    """

    checker: str
    user: str
    at: float
    text: str
    written: float | None = None

    @classmethod
    def at_event(cls, checker: str, event: Event, text: str, *, written: float | None = None) -> Self:
        """What an event shows."""
        return cls(checker, event.user, event.ended, text, written)


def attribute(violations: Iterable[Violation], masters_lost: Sequence[float]) -> list[Violation]:
    """The same, with what was lost at a fail-over of Redis under that name.

    Args:
        masters_lost: when Redis lost a master, in seconds.
    """
    return [
        Violation(FAIL_OVER, each.user, each.at, f"{each.checker}: {each.text}", each.written)
        if each.written is not None and any(lost - BEHIND <= each.written <= lost for lost in masters_lost)
        else each
        for each in violations
    ]


def counts(violations: Iterable[Violation]) -> dict[str, int]:
    """Checker to violations, those with none too."""
    counted = Counter(violation.checker for violation in violations)
    return {checker: counted[checker] for checker in CHECKERS}
