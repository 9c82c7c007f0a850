"""Freshness: when a result ends, who is given a stale one, and who computes it anew."""

import math
import random
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from scalekit.cache.freshness import Cooling, Plan, local_end, plan
from scalekit.cache.options import Life, Patience
from scalekit.errors import ConfigurationError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ttl": 0}, "ttl=0 .*at least 0.001"),
        ({"ttl": "60"}, "ttl='60' must be seconds"),
        ({"ttl": 1e10}, "ttl=10000000000.0 .*100 years.*timedelta"),
        ({"ttl": 60, "stale_if_error": 1e10}, "stale time.*100 years"),
        ({"ttl": 60, "jitter": 0.51}, "jitter=0.51 .*from 0 to 0.5.*0.1 is 10 %"),
        ({"ttl": 60, "jitter": -0.1}, "jitter=-0.1 .*from 0 to 0.5"),
        ({"ttl": 60, "jitter": float("nan")}, "jitter=nan .*from 0 to 0.5"),
        ({"ttl": 60, "jitter": True}, "jitter=True .*from 0 to 0.5"),
        ({"ttl": 60, "stale_while_revalidate": -1}, "stale_while_revalidate=-1 .*at least 0"),
        ({"ttl": 60, "stale_if_error": -1}, "stale_if_error=-1 .*at least 0"),
        ({"ttl": 60, "early_refresh": -1}, "early_refresh=-1 .*at least 0.*0 turns it off"),
        ({"ttl": 60, "early_refresh": float("inf")}, "early_refresh=inf must be finite"),
        ({"ttl": 60, "early_refresh": "1"}, "early_refresh='1' must be a number"),
    ],
)
def test_life_is_checked(options: dict[str, Any], words: str) -> None:
    """21, 25. A wrong option names its value, its limit and the cure when it is given."""
    with pytest.raises(ConfigurationError, match=words):
        Life(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"soft_timeout": 0}, "soft_timeout=0 .*at least 0.001"),
        ({"hard_timeout": -1}, "hard_timeout=-1 .*at least 0.001"),
        ({"soft_timeout": 1, "hard_timeout": 1}, "soft_timeout=1 must be below hard_timeout=1"),
        ({"throttle": -1}, "throttle=-1 .*at least 0"),
    ],
)
def test_patience_is_checked(options: dict[str, Any], words: str) -> None:
    """22, 23. The same of time-outs and the throttle."""
    with pytest.raises(ConfigurationError, match=words):
        Patience(**options)


def test_a_soft_timeout_needs_something_stale_to_give() -> None:
    """22. Without a window in which a stale result waits to be given, a soft time-out is refused."""
    soft = Patience(soft_timeout=0.1)
    for life in (
        Life(60),
        Life(60, stale_while_revalidate=5),
        Life(60, stale_while_revalidate=5, stale_if_error=5),
    ):
        with pytest.raises(ConfigurationError, match=r"soft_timeout=0.1 .*give stale_if_error= the longer"):
            soft.check(life)
    soft.check(Life(60, stale_if_error=5))
    Patience(hard_timeout=1).check(Life(60))


def test_options_are_values() -> None:
    """25. Durations are seconds or a timedelta; options are equal by value, and cannot be changed."""
    life = Life(timedelta(minutes=1), stale_if_error=timedelta(hours=1))
    assert life == Life(60, stale_if_error=3600)
    assert hash(life) == hash(Life(60, stale_if_error=3600))
    assert (life.ttl, life.jitter, life.stale) == (60.0, 0.1, 3600.0)
    with pytest.raises(AttributeError):
        life.ttl = 3  # type: ignore[misc]


def test_jitter_spreads_the_ends_below_the_ttl() -> None:
    """25. By default results end over the last tenth of their ttl, evenly, and never after it."""
    dice = random.Random(7)
    life = Life(100, stale_while_revalidate=5, stale_if_error=20)
    ends = [life.ends(1_000_000, dice.random) for _ in range(4000)]
    fresh = [end.soft - 1_000_000 for end in ends]
    assert {end.hard - end.soft for end in ends} == {20_000}
    assert 90_000 <= min(fresh) < 90_050
    assert 99_950 < max(fresh) <= 100_000
    # The mean of n even draws from 10,000 ms lies within 5 sigma of the middle.
    assert abs(sum(fresh) / len(fresh) - 95_000) < 5 * 10_000 / 12**0.5 / len(fresh) ** 0.5
    assert Life(100, jitter=0).ends(5, dice.random) == (100_005, 100_005)
    assert Life(0.001, jitter=0.5).ends(5, lambda: 0.999).soft == 6


class Aged(NamedTuple):
    soft_end: int
    delta: int = 200
    refreshing: bool = False
    cooling: bool = False


def test_early_refreshes_follow_the_formula() -> None:
    """21. Of the reads `left` before the end, exp(-left / (beta * delta)) refresh: within 5 sigma."""
    dice, reads = random.Random(1), 4000
    for beta in (0.5, 1.0, 3.0):
        life = Life(60, early_refresh=beta)
        for left in (10, 100, 200, 700, 2000):
            begun = sum(
                plan(Aged(left), life, 0, dice.random) is Plan.SERVE_AND_REFRESH for _ in range(reads)
            )
            chance = math.exp(-left / (beta * 200))
            sigma = math.sqrt(reads * chance * (1 - chance))
            assert abs(begun - reads * chance) <= max(5 * sigma, 1), (beta, left)


def test_the_first_early_refresh_comes_when_the_formula_says() -> None:
    """21. With 100 reads a second the first refresh begins 0.72 s before the end, on average."""
    dice, life, cycles = random.Random(2), Life(60, early_refresh=1.0), 1000
    first = []
    for _ in range(cycles):
        left = 3000
        while left > 0 and plan(Aged(left), life, 0, dice.random) is Plan.SERVE:
            left -= 10
        first.append(left)
    alive, mean, square = 1.0, 0.0, 0.0
    for left in range(3000, 0, -10):
        chance = math.exp(-left / 200)
        mean += alive * chance * left
        square += alive * chance * left * left
        alive *= 1 - chance
    assert 700 < mean < 730
    assert abs(sum(first) / cycles - mean) < 5 * math.sqrt(square - mean * mean) / math.sqrt(cycles)


@pytest.mark.parametrize(
    ("age", "hit", "planned"),
    [
        (-1, {}, Plan.SERVE),
        (0, {}, Plan.SERVE_AND_REFRESH),
        (9_999, {}, Plan.SERVE_AND_REFRESH),
        (9_999, {"refreshing": True}, Plan.SERVE),
        (10_000, {}, Plan.WAIT),
        (59_999, {"refreshing": True}, Plan.WAIT),
        (59_999, {"refreshing": True, "cooling": True}, Plan.SERVE),
        (60_000, {}, Plan.EXPIRED),
        (60_000, {"refreshing": True, "cooling": True}, Plan.EXPIRED),
    ],
)
def test_the_windows(age: int, hit: dict[str, bool], planned: Plan) -> None:
    """21, 23. Fresh, then served and refreshed, then served only if the function fails, then gone."""
    life = Life(60, stale_while_revalidate=10, stale_if_error=60)
    assert plan(Aged(1_000_000, **hit), life, 1_000_000 + age, lambda: 0.99) is planned


def test_no_option_no_plan() -> None:
    """21. Without options a result is served until its end and no longer, and no dice are thrown."""
    life = Life(60)
    assert plan(Aged(1000), life, 999, pytest.fail) is Plan.SERVE
    assert plan(Aged(1000), life, 1000, pytest.fail) is Plan.EXPIRED
    assert plan(Aged(1000, refreshing=True), Life(60, early_refresh=9), 999, pytest.fail) is Plan.SERVE


def test_the_first_tier_ends_before_the_early_zone() -> None:
    """21. What this process serves from memory is past when 2 of 100 reads would refresh."""
    assert local_end(10_000, 200, Life(60)) == 10_000
    ends = local_end(10_000, 200, Life(60, early_refresh=2.0))
    assert ends == 10_000 - 1600
    assert math.exp(-(10_000 - ends) / (2.0 * 200)) == pytest.approx(0.018, abs=0.001)


def test_cooling_lasts_for_the_throttle() -> None:
    """23. What has failed is not tried again for so long; keys that are over do not pile up."""
    now = 100.0
    cooling = Cooling(lambda: now)
    cooling.failed("a", 1.0)
    assert not cooling.is_over("a")
    assert cooling.is_over("b")
    now += 1.0
    assert cooling.is_over("a")
    for key in range(9_999):
        cooling.failed(str(key), 1.0)
    now += 1.0
    cooling.failed("c", 1.0)
    assert len(cooling._until) == 1
    for key in range(25_000):
        cooling.failed(str(key), 1.0)
        assert len(cooling._until) <= 10_000
    assert not cooling.is_over("24999")
