"""Freshness: when a result ends, who is given a stale one, and who computes it anew."""

import random
from datetime import timedelta
from typing import Any

import pytest

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
    assert (life.ttl, life.jitter, life.stale, life.in_background) == (60.0, 0.1, 3600.0, False)
    assert Life(60, early_refresh=1).in_background
    assert Life(60, stale_while_revalidate=1).in_background
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
