"""Which replica a read goes to. No server needed."""

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from scalekit.database import ANY, CAUSAL, Bounded, Consistency, Token
from scalekit.database.choice import Choice, choose, drawn, number
from scalekit.database.tokens import Reached
from tests.database._tokens import token


@dataclass(frozen=True)
class Replica:
    position: int
    load: int = 0
    seed: int = 0
    weight: float = 1
    zone: str | None = None
    admitted: float = -math.inf

    @property
    def reached(self) -> Reached:
        return Reached("pg:1", {"1": self.position})

    @property
    def order(self) -> int:
        return self.position


def decide(
    *candidates: Replica,
    level: Consistency = CAUSAL,
    wanted: Token | None = None,
    visitor: int | None = None,
    zone: str | None = None,
    ramp: float = 0,
) -> Choice[Replica] | None:
    # Complete until as many seconds after the beginning as its position tells; beyond 90 nobody knows.
    return choose(
        candidates,
        level=level,
        token=wanted,
        complete_until=lambda reached: float(reached.marks["1"]) if reached.marks["1"] <= 90 else None,
        now=100.0,
        visitor=visitor,
        zone=zone,
        ramp=ramp,
    )


def test_the_least_busy_of_those_who_have_it() -> None:
    """3. A busier replica that has what was promised comes before an idle one that may not have it."""
    behind, busy, busier = Replica(10), Replica(50, load=2), Replica(60, load=3)
    assert decide(behind, busy, busier, wanted=token(1, 50)) == Choice(busy, ask=None)
    assert decide(behind, busy, busier) == Choice(behind, ask=None)


def test_the_one_that_is_ahead_is_asked() -> None:
    """Nobody is known to have it: the one with the best chances is asked, and no other."""
    assert decide(Replica(10), Replica(50, load=9), wanted=token(1, 70)) == Choice(
        Replica(50, load=9), ask=token(1, 70)
    )


def test_any_never_asks() -> None:
    """6. Whatever the visitor was promised."""
    assert decide(Replica(10), level=ANY, wanted=token(1, 70)) == Choice(Replica(10), ask=None)


def test_bounded_by_what_is_known() -> None:
    """5. Nothing older than that, and nothing whose age is not known; the visitor's own writes as ever."""
    assert decide(Replica(10), Replica(80), level=Bounded(30)) == Choice(Replica(80), ask=None)
    assert decide(Replica(10), Replica(95), level=Bounded(30)) is None
    assert decide(Replica(80), level=Bounded(30), wanted=token(1, 85)) == Choice(Replica(80), token(1, 85))


def test_nobody_to_choose_from() -> None:
    """The primary, then."""
    assert decide() is None
    assert decide(level=ANY) is None


def chosen(*candidates: Replica, visitor: int, level: Consistency = CAUSAL) -> Replica:
    found = decide(*candidates, visitor=visitor, level=level)
    assert found is not None
    return found.member


A, B, C = (Replica(50, seed=number(f"replica-{letter}:5432/shop")) for letter in "abc")
VISITORS = [number(f"visitor {index}") for index in range(3_000)]


@given(st.integers(0, 2**64 - 1), st.permutations([A, B, C]), st.sampled_from([ANY, CAUSAL, Bounded(60)]))
def test_a_visitor_keeps_their_replica(visitor: int, order: list[Replica], level: Consistency) -> None:
    """4. Whoever computes it, at every level, however busy it is; only the visitors of one that is lost move,
    and they come back with it."""
    own = chosen(*order, visitor=visitor, level=level)
    busy = [dataclasses.replace(one, load=9 if one is own else 0) for one in order]
    assert chosen(*busy, visitor=visitor, level=level).seed == own.seed
    for lost in order:
        left = [one for one in order if one is not lost]
        moved = chosen(*left, visitor=visitor)
        assert (moved is not own) == (lost is own)


def test_visitors_are_spread_by_weight() -> None:
    """27. A share of the visitors as of the weights, which a replica gets from each of the others alike."""
    heavy = dataclasses.replace(B, weight=2)
    even = Counter(chosen(A, B, C, visitor=one).seed for one in VISITORS)
    uneven = Counter(chosen(A, heavy, C, visitor=one).seed for one in VISITORS)
    assert all(abs(count - 1_000) < 120 for count in even.values()), even
    assert [abs(uneven[one.seed] - wanted) < 120 for one, wanted in ((A, 750), (B, 1_500), (C, 750))] == [
        True
    ] * 3
    for one in VISITORS:
        before, after = chosen(A, B, C, visitor=one), chosen(A, heavy, C, visitor=one)
        assert after.seed in (before.seed, heavy.seed), "only to the one that has become heavier"


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_what_is_drawn_is_a_positive_number(visitor: int, seed: int) -> None:
    """4. For every visitor and replica, so that each has a place in the order."""
    for near in (seed, visitor, visitor ^ 2**64 - 1):
        assert 0 < drawn(visitor, near, 1) < math.inf
        assert drawn(visitor, near, 2) > drawn(visitor, near, 1)


def test_the_visitors_own_replica_is_asked() -> None:
    """4. Not the one that is ahead by what happened between two probes; but never one that is far behind."""
    for visitor in VISITORS[:50]:
        own = chosen(A, B, visitor=visitor)
        other = B if own is A else A
        ahead = dataclasses.replace(other, position=51)
        assert decide(own, ahead, wanted=token(1, 70), visitor=visitor) == Choice(own, token(1, 70))
        far = dataclasses.replace(other, position=52)
        assert decide(own, far, wanted=token(1, 70), visitor=visitor) == Choice(far, token(1, 70))
        late = [dataclasses.replace(own, position=95), dataclasses.replace(other, position=96)]
        assert decide(*late, wanted=token(1, 99), visitor=visitor) == Choice(late[0], token(1, 99)), (
            "no history"
        )


def test_numbers_of_names_are_the_same_in_every_process() -> None:
    """4. Or two servers would send a visitor to two replicas."""
    assert number("replica-a:5432/shop") == 12144573737684122325
    assert number("\udcff") != number("\ud800"), "whatever a header may contain"


SHARES = st.floats(0, 10)


@given(visitor=st.integers(0, 2**64 - 1), earlier=SHARES, later=SHARES)
def test_a_visitor_moves_once_to_one_that_comes_back(visitor: int, earlier: float, later: float) -> None:
    """15. Its share grows: who has moved to it stays, and nobody moves between the others."""
    earlier, later = sorted((earlier, later))

    def at(moment: float) -> Choice[Replica] | None:
        back = Replica(50, seed=number("back"), admitted=100 - moment)
        others = [Replica(50, seed=number(name)) for name in ("one", "two")]
        return decide(back, *others, visitor=visitor, ramp=10)

    before, after = at(earlier), at(later)
    assert before is not None
    assert after is not None
    if before.member.seed == number("back"):
        assert after.member.seed == number("back")
    elif after.member.seed != number("back"):
        assert after.member == before.member


def test_a_share_that_grows() -> None:
    """15. Of visitors as of those who are nobody in particular, about as many as its share says."""
    for moment, least, most in ((0.0, 0, 40), (5.0, 120, 280), (10.0, 300, 500)):
        back, other = (
            Replica(50, seed=number("back"), admitted=100 - moment),
            Replica(50, seed=number("other")),
        )
        for visitors in ([number(str(one)) for one in range(800)], [None] * 800):
            found = [decide(back, other, visitor=visitor, ramp=10) for visitor in visitors]
            count = Counter(one.member.seed for one in found if one is not None)[number("back")]
            assert least <= count <= most, (moment, count)
    assert decide(back, ramp=1000) == Choice(back, ask=None), (
        "alone it gets all: the primary is not spared less"
    )


def test_weights_of_those_with_as_little_to_do() -> None:
    """27. In proportion to their weights, and so is what they have to do."""
    heavy, light = Replica(50, weight=3), Replica(50, weight=1)
    found = Counter(
        one.member.weight for one in (decide(heavy, light) for _ in range(800)) if one is not None
    )
    assert 500 <= found[3] <= 700
    busy = Replica(50, weight=3, load=2)
    assert decide(busy, dataclasses.replace(light, load=1)) == Choice(busy, ask=None)
    assert decide(dataclasses.replace(busy, load=4), dataclasses.replace(light, load=1)) == Choice(
        Replica(50, weight=1, load=1), ask=None
    )


def test_zones() -> None:
    """27. The near one, though busier; a far one, where the near one has not got it or is none."""
    near, far = Replica(50, load=5, zone="a"), Replica(60, zone="b")
    assert decide(near, far, zone="a") == Choice(near, ask=None)
    assert decide(near, far, zone="a", wanted=token(1, 55)) == Choice(far, ask=None)
    assert decide(near, far, zone="c") == Choice(far, ask=None)
    assert decide(near, far) == Choice(far, ask=None)
    assert decide(near, far, zone="a", visitor=1) == decide(near, far, zone="a", visitor=2)
