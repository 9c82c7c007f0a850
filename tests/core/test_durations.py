"""Durations at the border."""

import re
from datetime import timedelta
from typing import Any

import pytest

from scalekit._durations import seconds
from scalekit.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "expected"), [(60, 60.0), (0.5, 0.5), (timedelta(days=1, seconds=1), 86401.0)]
)
def test_numbers_and_timedeltas(given: Any, expected: float) -> None:
    """Seconds come as a number or as a timedelta, whose days count."""
    assert seconds(given, name="ttl") == expected


@pytest.mark.parametrize("given", ["7d", "60", b"60", True, None, [60]])
def test_anything_else_is_refused(given: Any) -> None:
    """Text is no duration, not even a numeral, nor is a bool: the error names option, value and cure."""
    message = (
        f"ttl={given!r} must be seconds as a number or a timedelta, such as 60 or timedelta(days=7), not "
    )
    with pytest.raises(ConfigurationError, match=re.escape(message + type(given).__name__)):
        seconds(given, name="ttl")


@pytest.mark.parametrize("given", [-1, 0.5, float("inf"), float("nan")])
def test_limits(given: float) -> None:
    """A duration is finite, and not below the option's minimum."""
    with pytest.raises(ConfigurationError, match="finite number of seconds, at least 1"):
        seconds(given, name="idle_timeout", minimum=1)
