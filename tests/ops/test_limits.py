"""The algorithm of the limit, on servers in virtual time: the same in every run, on any machine."""

from dataclasses import replace

import pytest

from scalekit.errors import ConfigurationError
from scalekit.ops.limits import AdaptiveLimit, Limits
from tests.ops.simulation import Load, Simulation

CAPACITY = 200.0  # of both servers below
UNLOADED = 0.075  # seconds at the 99th percentile, where a tenth of that comes


def load(times: float, **options: object) -> Load:
    """So many times what the server can do: an answer takes 5 ms of the processor, and 50 ms of waiting."""
    return replace(Load(rate=lambda now: times * CAPACITY), **options)  # type: ignore[arg-type]


def pool(times: float) -> Load:
    """The same, of what ten connections can do that every answer has for 50 ms."""
    return load(times, cpu=0.0005, pool=10)


@pytest.mark.parametrize("server", [load, pool])
@pytest.mark.parametrize("seed", [1, 2])
def test_three_times_the_capacity(server: object, seed: int) -> None:
    """At 3x the goodput is within 10 % of the peak, and the p99 of who is admitted within 2x: for a processor
    and for a pool, whichever is short. The bare server has everybody wait for seconds, and ever longer.
    """
    assert callable(server)
    ours = Simulation(server(3), seed=seed).run(40)
    assert ours.goodput(15, 40) > 0.9 * CAPACITY
    assert ours.p99(15, 40) < 2 * UNLOADED
    bare = Simulation(server(3), None, seed=seed).run(20)
    assert bare.p99(10, 20) > 100 * UNLOADED


def test_ten_times_the_capacity() -> None:
    """At 10x, with two fifths of the processor gone for turning away, who is admitted is answered as soon."""
    ours = Simulation(load(10)).run(30)
    assert ours.goodput(15, 30) > 0.9 * (1 - 9 * CAPACITY * load(10).refusal) * CAPACITY
    assert ours.p99(15, 30) < 2 * UNLOADED


@pytest.mark.parametrize("server", [load, pool])
def test_no_one_is_turned_away_below_the_capacity(server: object) -> None:
    """At nine tenths of the capacity all are served."""
    assert callable(server)
    assert Simulation(server(0.9)).run(60).shed == []


def test_much_waiting_needs_a_high_limit() -> None:
    """Requests that mostly wait are let in by the hundred: 3x of 1000 a second, for 0.2 s each."""
    ours = Simulation(Load(rate=lambda now: 3000, cpu=0.001, wait=lambda now: 0.2, refusal=0.00005)).run(15)
    assert ours.goodput(8, 15) > 0.9 * 890
    assert 150 < ours.limit(14) < 300


@pytest.mark.parametrize("server", [load, pool])
def test_recovery(server: object) -> None:
    """After forty seconds of overload nobody is turned away any more, and the limit returns to its start."""
    assert callable(server)
    overload = replace(server(1), rate=lambda now: 600 if 20 <= now < 60 else 100)
    ours = Simulation(overload).run(120)
    assert ours.limit(50) < 30
    assert [at for at in ours.shed if at >= 62] == []
    assert ours.limit(119) == 100


def test_an_idle_server_keeps_its_limit() -> None:
    """Neither little traffic nor none makes the limit smaller."""
    ours = Simulation(load(0.02)).run(60)
    assert {limit for _, limit in ours.limits} == {100}
    limit = AdaptiveLimit(Limits())
    for hour in range(100):
        limit.advance(hour * 3600.0)
    assert limit.limit == 100


def test_an_overload_is_over_after_a_silence() -> None:
    """A limit that an overload made small is whole again with the first window after a long silence."""
    limit = AdaptiveLimit(Limits())
    now = 0.0
    while limit.limit > 20:
        now += 0.02
        limit.used(limit.limit)
        limit.answered(0.1)
        limit.waited(0.05)
        limit.advance(now)
    limit.advance(now + 600)
    limit.advance(now + 1200)
    assert limit.limit == 100


def lagging(limit: AdaptiveLimit, waits: list[float], *, answers: int = 0, since: float = 0.0) -> float:
    """Tell of waits, each as long after the one before as it took or 20 ms, and of answers in between."""
    now = since
    for wait in waits:
        now += max(wait, 0.02)
        limit.used(50)
        for _ in range(answers):
            limit.answered(0.05)
        limit.waited(wait)
        limit.advance(now)
    return now


def test_a_server_that_gets_next_to_nothing_done() -> None:
    """One that is so late that it answers nobody, and has no latency to tell, cuts its limit, too."""
    limit = AdaptiveLimit(Limits())
    assert lagging(limit, [0.7] * 10) < 8
    assert limit.limit < 10


def test_growth_is_careful_once_answers_are_slower() -> None:
    """Each window without a queue lets twice as much in as the one before, up to the first whose answers take
    more than 1.2 times the usual: that one adds a tenth."""
    limit, grown = AdaptiveLimit(Limits(initial=100)), []
    limit.advance(0)
    for window, (used, latency) in enumerate([(0.1, 0.05), *[(1, 0.05)] * 3, (1, 0.07)], 1):
        before = limit.limit
        limit.used(round(used * before))
        for _ in range(20):
            limit.answered(latency)
        limit.advance(window)
        grown.append(round(limit.limit / before - 1, 1))
    assert grown == [0, 0.1, 0.2, 0.4, 0.1]  # in the first little is going on


def test_a_single_stall() -> None:
    """One second in which nothing ran is no overload."""
    limit = AdaptiveLimit(Limits())
    now = lagging(limit, [0.0] * 100, answers=1)
    now = lagging(limit, [1.0], since=now)
    lagging(limit, [0.0] * 200, answers=1, since=now)
    assert limit.limit == 100


@pytest.mark.parametrize("slow", [0.5, 2.0])
def test_a_slow_service_behind(slow: float) -> None:
    """A dependency that takes 10 or 40 times as long leads to more requests at once, never to a limit that
    stays down; and all is as before when it is quick again.
    """
    ours = Simulation(load(0.5, wait=lambda now: slow if 20 <= now < 80 else 0.05)).run(120)
    assert ours.goodput(50, 80) > 0.9 * 100
    assert [at for at in ours.shed if at >= 50] == []
    assert ours.p99(90, 120) < 2 * UNLOADED


def test_a_slow_service_behind_an_overload() -> None:
    """Also at 3x the limit goes up with what the answers take, and comes down again after."""
    ours = Simulation(load(3, wait=lambda now: 1.0 if 20 <= now < 120 else 0.05)).run(180)
    assert ours.goodput(80, 120) > 0.7 * CAPACITY  # needs 200 in flight, where 15 were enough
    assert ours.goodput(140, 180) > 0.85 * CAPACITY
    assert ours.p99(150, 180) < 2 * UNLOADED


def test_another_process_takes_the_processor() -> None:
    """A timer that is always late, without a queue of ours, costs no lasting goodput."""
    late = load(0.8, late=lambda now: 0.02 if now >= 20 else 0.0)
    ours = Simulation(late, Limits(initial=20)).run(120)
    assert ours.goodput(60, 120) > 0.9 * 0.8 * CAPACITY


def test_a_fixed_limit() -> None:
    """With all three the same the limit never moves."""
    ours = Simulation(load(3), Limits(minimum=12, initial=12, maximum=12)).run(20)
    assert {limit for _, limit in ours.limits} == {12}
    assert ours.goodput(5, 20) > 0.8 * CAPACITY


def test_the_limit_stays_in_its_range() -> None:
    """Whatever happens, the limit is within minimum and maximum."""
    limits = Limits(minimum=8, initial=10, maximum=16)
    for times in (0.5, 3, 10):
        assert {8, *range(9, 17)} >= {limit for _, limit in Simulation(load(times), limits).run(30).limits}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial": 0}, "initial= must be a whole number"),
        ({"minimum": 2.5}, "minimum= must be a whole number"),
        ({"maximum": True}, "maximum= must be a whole number"),
        ({"minimum": 50, "initial": 20}, "must lie between minimum=50 and maximum=1000"),
        ({"maximum": 50}, "initial=100 must lie between minimum=2 and maximum=50"),
    ],
)
def test_a_range_that_is_none(options: dict[str, int], message: str) -> None:
    """Numbers that cannot be meant are refused at start-up."""
    with pytest.raises(ConfigurationError, match=message):
        Limits(**options)
