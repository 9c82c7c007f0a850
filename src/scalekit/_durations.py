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
    # total_seconds(), because timedelta.seconds leaves out the days.
    result = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if not math.isfinite(result) or result < minimum:
        raise ConfigurationError(f"{name}={value!r} must be a finite number of seconds, at least {minimum:g}")
    return result
