"""Which replica a read goes to. No server needed."""

from dataclasses import dataclass

from scalekit.database import ANY, CAUSAL, Bounded, Consistency, Token
from scalekit.database.choice import Choice, choose
from scalekit.database.tokens import Reached
from tests.database._tokens import token


@dataclass(frozen=True)
class Replica:
    position: int
    load: int = 0

    @property
    def reached(self) -> Reached:
        return Reached("pg:1", {"1": self.position})

    @property
    def order(self) -> int:
        return self.position


def decide(
    *candidates: Replica, level: Consistency = CAUSAL, wanted: Token | None = None
) -> Choice[Replica] | None:
    # Complete until as many seconds after the beginning as its position tells; beyond 90 nobody knows.
    return choose(
        candidates,
        level=level,
        token=wanted,
        complete_until=lambda reached: float(reached.marks["1"]) if reached.marks["1"] <= 90 else None,
        now=100.0,
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
