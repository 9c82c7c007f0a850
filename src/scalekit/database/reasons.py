"""Why a member is left out, and what people are told of that. Pure.

Rules:

* People are told once of each change: that a member is left out and why, that it is so for another reason
  now, and that it is back.
* What counts seconds, or what a server that is down says in turns, is one reason, however its text changes.
* What the next answers settle is not told at all: it would be told of every start.
* That a member is back is told as loudly as anything that was told while it was out.
"""

import logging
from collections.abc import Hashable
from typing import ClassVar, Literal, NamedTuple


class Reason(str):
    """For people; of one kind."""

    __slots__ = ()
    level: ClassVar[int] = logging.WARNING
    varies: ClassVar[bool] = False
    """Whether another text of the kind is no news."""


class Mistake(Reason):
    """It will be left out until somebody changes how it is set up."""

    __slots__ = ()


class Astray(Mistake):
    """It would be the primary, and is of another database."""

    __slots__ = ()
    level = logging.ERROR


class Silence(Reason):
    """It did not answer; what its driver said."""

    __slots__ = ()
    varies = True


class Suspicion(Reason):
    """A transaction could not use it; and it is being asked: with every transaction, while it answers."""

    __slots__ = ()
    level, varies = logging.DEBUG, True


class CatchingUp(Reason):
    """It answers, and it has not got yet what others have, or nobody can tell."""

    __slots__ = ()
    level, varies = logging.INFO, True


class Unsettled(Reason):
    """It depends on an answer that is to come."""

    __slots__ = ()
    level = logging.NOTSET


class _Told(NamedTuple):
    standing: str
    loudest: int


class News:
    """What people were told of each member last."""

    def __init__(self) -> None:
        self._told: dict[Hashable, _Told] = {}

    def of(
        self, member: Hashable, name: str, standing: Reason | Literal["primary", "replica"]
    ) -> tuple[int, str] | None:
        """The level and the text of what is to be told of ``member``; ``None`` if that is nothing.

        Args:
            member: whose standing it is.
            name: the member's.
            standing: what it is, or why it is left out.
        """
        last = self._told.get(member)
        if isinstance(standing, Reason):
            if not standing.level or (last is not None and _is_the_same(last.standing, standing)):
                return None
            before = last.loudest if last is not None else logging.NOTSET
            self._told[member] = _Told(standing, max(standing.level, before))
            still = "still " if before >= standing.level else ""  # who reads warnings only has heard of it
            return standing.level, f"{name} is {still}left out: {standing}"
        self._told[member] = _Told(standing, logging.NOTSET)
        if last is not None and isinstance(last.standing, Reason):
            role = "is the primary" if standing == "primary" else "is read from"
            return last.loudest, f"{name} is back, and {role}"
        if last is not None and (last.standing, standing) == ("primary", "replica"):
            return logging.WARNING, f"{name} is a replica now, and no primary any more"
        return None

    def forget(self, member: Hashable) -> None:
        """It is none any more."""
        self._told.pop(member, None)


def _is_the_same(last: str, now: Reason) -> bool:
    return type(last) is type(now) and (now.varies or last == now)
