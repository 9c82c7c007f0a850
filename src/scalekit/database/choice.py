"""Which replica a read goes to. Pure: decided from what is known about each."""

import random
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

from scalekit.database.levels import ANY, Bounded, Consistency
from scalekit.database.tokens import Reached, Token


class Candidate(Protocol):
    """A replica that may be read from, as far as this choice is concerned."""

    @property
    def load(self) -> int:
        """How busy it is."""
        ...

    @property
    def reached(self) -> Reached:
        """What it is known to have; it may have more."""
        ...

    @property
    def order(self) -> int:
        """How far ahead of others it is."""
        ...


C = TypeVar("C", bound=Candidate)


class Choice(NamedTuple, Generic[C]):
    """Where to read; ``ask``: the token that it must be asked about first, ``None`` if nothing."""

    member: C
    ask: Token | None


def choose(
    candidates: Sequence[C],
    *,
    level: Consistency,
    token: Token | None,
    complete_until: Callable[[Reached], float | None],
    now: float,
) -> Choice[C] | None:
    """The candidate to read from; ``None``: none of them will do, it has to be the primary.

    Args:
        candidates: replicas of the system and epoch that ``token`` is of.
        level: how fresh the read must be.
        token: what the visitor was promised, if it can be compared.
        complete_until: the moment (monotonic) of which a replica has every commit, if that is known.
        now: the time on the same clock.
    """
    if isinstance(level, Bounded):
        oldest = now - level.seconds
        until = [(one, complete_until(one.reached)) for one in candidates]
        candidates = [one for one, moment in until if moment is not None and moment >= oldest]
    if not candidates:
        return None
    if level is ANY or token is None:
        return Choice(_least_busy(candidates), None)
    known = [one for one in candidates if one.reached.covers(token)]
    if known:
        return Choice(_least_busy(known), None)
    return Choice(max(candidates, key=lambda one: one.order), token)


def _least_busy(candidates: Sequence[C]) -> C:
    least = min(one.load for one in candidates)
    return random.choice([one for one in candidates if one.load == least])  # noqa: S311
