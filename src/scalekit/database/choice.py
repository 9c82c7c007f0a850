"""Which replica a read goes to. Pure: decided from what is known about each.

Rules:

* A visitor keeps their replica, so that what they have seen once they see again: each replica draws a number
  for each visitor, the same on every server, and the highest one wins. One replica less or more moves only
  the visitors that it had or gets (weighted rendezvous hashing).
* Who is nobody in particular gets the replica with the least to do, in proportion to its weight.
* One in the zone of this process comes before one in another; both after one that has what is wanted.
* One that comes back gets a growing share: each visitor that it gets moves to it once, and stays.
* At most one replica is asked anything: the visitor's own, unless it is known to be behind the others.
"""

import math
import random
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Generic, NamedTuple, Protocol, TypeVar

from scalekit.database.admission import share
from scalekit.database.levels import ANY, Bounded, Consistency
from scalekit.database.tokens import Reached, Token

_BITS = 2**64 - 1
_BEHIND = 1.0  # seconds; another's chances to have what was just written are better by then


class Candidate(Protocol):
    """A replica that may be read from, as far as this choice is concerned."""

    @property
    def seed(self) -> int:
        """A number of 64 bits that stands for it on every server."""
        ...

    @property
    def weight(self) -> float:
        """How many visitors it gets, in proportion to the others; more than 0."""
        ...

    @property
    def zone(self) -> str | None:
        """Where it is."""
        ...

    @property
    def admitted(self) -> float:
        """When it came back; on the same clock as everything here."""
        ...

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
    visitor: int | None = None,
    zone: str | None = None,
    ramp: float = 0.0,
) -> Choice[C] | None:
    """The candidate to read from; ``None``: none of them will do, it has to be the primary.

    Args:
        candidates: replicas of the system and epoch that ``token`` is of.
        level: how fresh the read must be.
        token: what the visitor was promised, if it can be compared.
        complete_until: the moment (monotonic) of which a replica has every commit, if that is known.
        now: the time on the same clock.
        visitor: a number of 64 bits that stands for who reads; ``None``: nobody in particular.
        zone: where this process is; ``None`` if that does not matter.
        ramp: seconds over which one that came back gets more and more.
    """

    def pick(among: Sequence[C]) -> C:
        near = among if zone is None else [one for one in among if one.zone == zone] or among
        return near[0] if len(near) == 1 else _pick(near, visitor, now, ramp)

    if isinstance(level, Bounded):
        oldest = now - level.seconds
        until = [(one, complete_until(one.reached)) for one in candidates]
        candidates = [one for one, moment in until if moment is not None and moment >= oldest]
    if not candidates:
        return None
    if level is ANY or token is None:
        return Choice(pick(candidates), None)
    known = [one for one in candidates if one.reached.covers(token)]
    if known:
        return Choice(pick(known), None)
    asked = ahead = max(candidates, key=lambda one: one.order)
    if visitor is not None:
        own = pick(candidates)
        has, best = complete_until(own.reached), complete_until(ahead.reached)
        if best is None or (has is not None and has >= best - _BEHIND):
            asked = own
    return Choice(asked, token)


def _pick(candidates: Sequence[C], visitor: int | None, now: float, ramp: float) -> C:
    parts = [share(one.admitted, now=now, ramp=ramp) for one in candidates]
    if visitor is not None:
        draws = [
            drawn(visitor, one.seed, one.weight * part) for one, part in zip(candidates, parts, strict=True)
        ]
        return candidates[draws.index(max(draws))]
    ready = [one for one, part in zip(candidates, parts, strict=True) if part == 1 or random.random() < part]  # noqa: S311
    # Of those with equally little to do, each in proportion to its weight.
    return min(ready or candidates, key=lambda one: (one.load / one.weight, random.expovariate(one.weight)))


def drawn(visitor: int, seed: int, weight: float) -> float:
    """What the replica of ``seed`` draws for ``visitor``; of two, it wins in proportion to its weight."""
    # The finaliser of MurmurHash3, which turns each bit of its input into half of the bits of the result.
    mixed = visitor ^ seed
    mixed = (mixed ^ (mixed >> 33)) * 0xFF51AFD7ED558CCD & _BITS
    mixed = (mixed ^ (mixed >> 33)) * 0xC4CEB9FE1A85EC53 & _BITS
    return -weight / math.log(((mixed ^ (mixed >> 33)) // 2**12 + 0.5) / 2**52)  # of what is above 0, below 1


def number(text: str) -> int:
    """64 bits that stand for ``text`` in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def anybody() -> int:
    """64 bits that stand for a visitor of whom nothing is known."""
    return random.getrandbits(64)
