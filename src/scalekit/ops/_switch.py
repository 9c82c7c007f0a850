"""One switch, and what its key in Redis says of it. Pure."""

import math
from dataclasses import dataclass

READ_ONLY, CACHE_FACTOR = "read-only", "cache-factor"
NAMES = (READ_ONLY, CACHE_FACTOR)
MAX_FACTOR = 1000.0


@dataclass(frozen=True)
class Switch:
    """How a switch stands.

    Args:
        value: 1 for on and 0 for off, or a factor.
        ends: when it goes back, on the monotonic clock; infinity for never.
    """

    value: float
    ends: float = math.inf


class NoValue(Exception):
    """What is kept for a switch is no value for it. Says what one is, and not what is there."""


def parse(name: str, raw: bytes | None, left: int, *, asked: float) -> Switch | None:
    """How a switch stands; ``None`` if it is off.

    Args:
        raw: what Redis has under its key.
        left: milliseconds that it has it for; -1 for ever, -2 for a key that is gone.
        asked: when, on the monotonic clock.

    Raises:
        NoValue: that is none.
    """
    if raw is None or left == -2:  # gone between the two
        return None
    try:
        value = float(raw)
    except ValueError:
        value = math.nan
    if name == READ_ONLY:
        if not math.isfinite(value):
            raise NoValue("it has to be 1 or 0")
        if not value:
            return None
        value = 1.0
    elif not 0 < value <= MAX_FACTOR:
        raise NoValue(f"it has to be a number above 0, and {MAX_FACTOR:g} at most")
    return Switch(value, math.inf if left < 0 else asked + left / 1000)


def spell(name: str, switch: Switch | None) -> str:
    """How it stands, for people."""
    if switch is None:
        return "off"
    return "on" if name == READ_ONLY else f"{switch.value:g}"
