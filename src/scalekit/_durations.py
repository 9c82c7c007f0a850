"""Durations: seconds or a ``timedelta`` at the border, ``float`` seconds inside."""

import math
from datetime import timedelta
from typing import TypeAlias

from scalekit.errors import ConfigurationError

Duration: TypeAlias = float | timedelta
"""Seconds as a number, or a ``timedelta``."""


def seconds(value: Duration, *, name: str, minimum: float = 0.0) -> float:
    """``value`` in seconds; ``name`` is the option's name, for the message.

    Raises:
        ConfigurationError: below ``minimum``, infinite or not a number.
    """
    # Text is refused, numerals too: what "60" is taken for, "7d" or "1m" would not be.
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise ConfigurationError(
            f"{name}={value!r:.60} must be seconds as a number or a timedelta, such as 60 or "
            f"timedelta(days=7), not {type(value).__name__}"
        )
    # total_seconds(), because timedelta.seconds leaves out the days.
    try:
        result = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except OverflowError:  # an int that no float comes near
        result = math.inf
    if not math.isfinite(result) or result < minimum:
        raise ConfigurationError(
            f"{name}={value!r:.60} must be a finite number of seconds, at least {minimum:g}"
        )
    return result
