"""2 to 20 replicas: what choosing one costs, and how many visitors move when one is added. The replicas are
simulated; the choice is the one that is made for each read."""

import math
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from benchmarks._scale_series import Series
from scalekit.database.choice import Choice, choose, number
from scalekit.database.levels import CAUSAL
from scalekit.database.tokens import Reached, Token

COUNTS = (2, 3, 5, 8, 12, 16, 20)
_TIMES = 2_000
_ROUNDS = 5
_VISITORS = 20_000


@dataclass(frozen=True)
class Replica:
    """One that is up, in step and has been for long; see :class:`scalekit.database.choice.Candidate`."""

    seed: int
    load: int = 0
    weight: float = 1.0
    zone: str | None = None
    admitted: float = -math.inf
    order: int = 100
    reached: Reached = field(default_factory=lambda: Reached("pg:1", {"1": 100}))


_WRITTEN = Token("pg:1", 1, (("1", 50),))  # what the visitor has written, and each replica has


def chosen(replicas: list[Replica], visitor: int | None, token: Token | None = None) -> Replica:
    found: Choice[Replica] | None = choose(
        replicas,
        level=CAUSAL,
        token=token,
        complete_until=lambda reached: 100.0,
        now=100.0,
        visitor=visitor,
        ramp=30.0,
    )
    assert found is not None
    return found.member


def microseconds(call: Callable[[], object]) -> float:
    """Of the best of some rounds: others are at work, too, and what they take is none of it."""
    best = math.inf
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(_TIMES):
            call()
        best = min(best, time.perf_counter() - start)
    return best / _TIMES * 1e6


async def series(most: int = COUNTS[-1]) -> AsyncIterator[Series]:
    visitors = [random.getrandbits(64) for _ in range(_VISITORS)]
    rows = []
    for count in (count for count in COUNTS if count <= most):
        replicas = [Replica(number(f"replica-{each}")) for each in range(count + 1)]
        before = [chosen(replicas[:count], visitor) for visitor in visitors]
        after = [chosen(replicas, visitor) for visitor in visitors]
        moved = sum(one is not other for one, other in zip(before, after, strict=True)) / _VISITORS
        most_of_one = max(before.count(one) for one in replicas[:count]) / (_VISITORS / count)
        visitor = visitors[0]
        rows.append(
            [
                count,
                microseconds(lambda: chosen(replicas[:count], visitor)),  # noqa: B023
                microseconds(lambda: chosen(replicas[:count], visitor, _WRITTEN)),  # noqa: B023
                microseconds(lambda: chosen(replicas[:count], None)),  # noqa: B023
                moved * 100,
                100 / (count + 1),
                most_of_one,
            ]
        )
    yield Series(
        name="replicas",
        title="Microseconds to choose a replica, by how many there are",
        columns=[
            "replicas",
            "for a visitor, us",
            "who has written, us",
            "for nobody in particular, us",
            "visitors that one more moves, %",
            "of which its share is, %",
            "the busiest one's visitors, of the mean",
        ],
        rows=rows,
        drawn={
            "for a visitor, us": "for a visitor",
            "who has written, us": "who has just written",
            "for nobody in particular, us": "for nobody in particular",
        },
        notes=(
            f"Replicas are simulated and in step. Best of {_ROUNDS} rounds of {_TIMES}; no server is asked.",
        ),
        log_x=False,
    )
