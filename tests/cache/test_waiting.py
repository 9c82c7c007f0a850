"""When to ask again for what another process computes: pure."""

import pytest

from scalekit.cache.waiting import pause


def questions(*, seconds: float, random: float, lease: float = 5.0) -> list[float]:
    """The moments at which a process asks, if the lease is renewed all the time."""
    now, moments = 0.0, []
    while True:
        now += pause(now, lease, random)
        if now > seconds:
            return moments
        moments.append(now)


@pytest.mark.parametrize("random", [0.0, 0.5, 1.0])
def test_questions_a_second(random: float) -> None:
    """4. At most 19 in the first second, besides the one for the lease, and fewer in each later one."""
    moments = questions(seconds=20, random=random)
    counts = [sum(start <= moment < start + 1 for moment in moments) for start in range(20)]
    assert max(counts) == counts[0] <= 19
    assert min(counts[2:]) >= 3


@pytest.mark.parametrize("query", [0.05, 0.2, 0.7, 1.2])
def test_a_result_is_noticed_soon(query: float) -> None:
    """A fifth later than it was there, at most (a quarter with the spread), or 18 ms."""
    for random in (0.0, 0.3, 1.0):
        noticed = next(moment for moment in questions(seconds=30, random=random) if moment >= query)
        assert noticed - query <= max(0.24 * noticed, 0.018)


def test_the_end_of_the_lease_is_not_missed() -> None:
    """2. Whoever holds it may be dead; then somebody takes its place within 5 ms."""
    assert pause(4.0, 0.1, 1.0) == pytest.approx(0.105)
    assert pause(4.0, -0.1, 0.0) == 0.25
