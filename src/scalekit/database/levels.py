"""How fresh a read must be."""

from dataclasses import dataclass
from typing import TypeAlias

from scalekit._durations import Duration, seconds
from scalekit.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Level:
    """A consistency level without a parameter: :data:`ANY`, :data:`CAUSAL` or :data:`STRONG`."""

    name: str

    def __repr__(self) -> str:
        return self.name


ANY = Level("ANY")
"""Any replica that is within the cluster's ``max_lag``. Never asks a server anything."""

CAUSAL = Level("CAUSAL")
"""Never older than what this visitor has written or been promised. The default."""

STRONG = Level("STRONG")
"""The primary."""


@dataclass(frozen=True, slots=True, init=False)
class Bounded:
    """At most so old, whoever wrote it, and never older than the visitor's own writes.

    Args:
        seconds: the age that is still acceptable, in seconds or as a ``timedelta``.

    Raises:
        ConfigurationError: not a positive, finite duration.
    """

    seconds: float

    def __init__(self, seconds: Duration) -> None:
        object.__setattr__(self, "seconds", positive(seconds, name="seconds"))


def positive(value: Duration, *, name: str) -> float:
    """``value`` in seconds; more than nothing."""
    result = seconds(value, name=name)
    if result == 0:
        raise ConfigurationError(f"{name}=0 can be met by no replica; use STRONG")
    return result


Consistency: TypeAlias = Level | Bounded
"""What ``consistency=`` takes: ``ANY``, ``CAUSAL``, ``Bounded(seconds)`` or ``STRONG``."""
