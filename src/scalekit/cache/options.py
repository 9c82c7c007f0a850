"""How long a result lives, and how long a caller waits for one: options as values, checked when built.

A result is *fresh* until its soft end, then *stale* until its hard end, then gone. Stale is about age alone:
what was invalidated is neither, and is never served.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from scalekit._durations import Duration, seconds
from scalekit.errors import ConfigurationError

MAX_JITTER = 0.5
_MAX_LIFE = 100 * 365 * 24 * 3600.0  # seconds; a server refuses an expiry that it cannot count


class Ends(NamedTuple):
    """When a result ends, in milliseconds on the clock that :meth:`Life.ends` was given."""

    soft: int
    """Fresh before it."""
    hard: int
    """Of use before it, if only in an emergency; the back end drops it then."""


@dataclass(frozen=True, slots=True, init=False)
class Life:
    """How long a result is served.

    Args:
        ttl: seconds that it is fresh at most.
        jitter: the part of ``ttl``, 0 to 0.5, by which that is shortened at random, for each result anew:
            results that were stored in the same second do not all end in another same second. Default 0.1.
        stale_while_revalidate: seconds after it has ended for which it is served at once, while one caller's
            call has it computed anew in the background (RFC 5861). Default 0.
        stale_if_error: seconds after it has ended for which it is served if the function raises or takes
            longer than the soft time-out (RFC 5861). Default 0. Both windows begin at the same moment.
        early_refresh: XFetch's beta: how eagerly a result is computed anew in the background before it ends.
            1 is the paper's, more is earlier; 0 (default) never does.

    Raises:
        ConfigurationError: a value is out of range.
    """

    ttl: float
    jitter: float
    stale_while_revalidate: float
    stale_if_error: float
    early_refresh: float

    def __init__(
        self,
        ttl: Duration,
        *,
        jitter: float = 0.1,
        stale_while_revalidate: Duration = 0.0,
        stale_if_error: Duration = 0.0,
        early_refresh: float = 0.0,
    ) -> None:
        revalidate = seconds(stale_while_revalidate, name="stale_while_revalidate")
        if_error = seconds(stale_if_error, name="stale_if_error")
        _set(
            self,
            ttl=seconds(ttl, name="ttl", minimum=0.001),
            jitter=_number(
                jitter,
                name="jitter",
                most=MAX_JITTER,
                cure="it is a part of ttl: 0.1 is 10 %, 0 turns it off",
            ),
            stale_while_revalidate=revalidate,
            stale_if_error=if_error,
            early_refresh=_number(
                early_refresh, name="early_refresh", cure="1 is the usual eagerness, 0 turns it off"
            ),
        )
        if self.ttl + self.stale > _MAX_LIFE:
            raise ConfigurationError(
                f"ttl={ttl!r} and the stale time after it are over {_MAX_LIFE:g} seconds (100 years); for "
                "what never changes, timedelta(days=365) will do"
            )

    @property
    def stale(self) -> float:
        """Seconds after its soft end for which a result may be of use."""
        return max(self.stale_while_revalidate, self.stale_if_error)

    def ends(self, now: int, random: Callable[[], float], factor: float = 1.0) -> Ends:
        """The ends of a result that is stored at ``now`` (milliseconds); ``random`` gives 0 to 1.

        The jitter shortens: nothing is fresh for longer than ``factor`` times ``ttl``, nor for 100 years.
        """
        fresh = self.ttl * (1.0 - self.jitter * random()) if self.jitter else self.ttl
        soft = now + max(1, round(min(fresh * factor, _MAX_LIFE - self.stale) * 1000))
        return Ends(soft, soft + round(self.stale * 1000))


@dataclass(frozen=True, slots=True, init=False)
class Patience:
    """How long a caller waits for the function, and how often a failing one is tried.

    Args:
        soft_timeout: seconds after which a caller is given a stale result that is at hand, while the
            function goes on in the background. Default ``None``: it waits.
        hard_timeout: seconds after which a caller gives up with
            :class:`~scalekit.errors.QueryTimeout`. Default ``None``: never.
        throttle: seconds between two attempts while the function fails and a stale result is served instead.
            Default 1; 0 tries at every call.

    Raises:
        ConfigurationError: a value is out of range.
    """

    soft_timeout: float | None
    hard_timeout: float | None
    throttle: float

    def __init__(
        self,
        *,
        soft_timeout: Duration | None = None,
        hard_timeout: Duration | None = None,
        throttle: Duration = 1.0,
    ) -> None:
        soft, hard = (
            None if value is None else seconds(value, name=name, minimum=0.001)
            for name, value in (("soft_timeout", soft_timeout), ("hard_timeout", hard_timeout))
        )
        for name, value in (("soft_timeout", soft), ("hard_timeout", hard)):
            if value is not None and value > _MAX_LIFE:  # no clock counts so far
                raise ConfigurationError(
                    f"{name}={value:g} is over {_MAX_LIFE:g} seconds (100 years); None waits for ever"
                )
        if soft is not None and hard is not None and soft >= hard:
            raise ConfigurationError(
                f"soft_timeout={soft_timeout!r} must be below hard_timeout={hard_timeout!r}: a caller would "
                "give up before it is given what is at hand"
            )
        _set(self, soft_timeout=soft, hard_timeout=hard, throttle=seconds(throttle, name="throttle"))

    def check(self, life: Life) -> None:
        """Refuse what has no meaning for results of ``life``.

        Raises:
            ConfigurationError: a soft time-out, and never a stale result to give.
        """
        # Up to stale_while_revalidate a stale result is given without any wait.
        if self.soft_timeout is not None and life.stale_if_error <= life.stale_while_revalidate:
            raise ConfigurationError(
                f"soft_timeout={self.soft_timeout:g} gives a stale result to who has waited so long, but "
                f"with stale_if_error={life.stale_if_error:g} and "
                f"stale_while_revalidate={life.stale_while_revalidate:g} there is never one to wait with; "
                "give stale_if_error= the longer time, such as stale_if_error=3600"
            )


def _number(value: object, *, name: str, most: float = math.inf, cure: str) -> float:
    """``value``, if it is a number from 0 to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        limit = "a number, at least 0" if most == math.inf else f"a number from 0 to {most:g}"
    elif value == math.inf:
        limit = "finite"
    else:
        try:
            return float(value)
        except OverflowError:  # an int that no float comes near
            limit = "finite"
    raise ConfigurationError(f"{name}={value!r:.60} must be {limit}; {cure}")


def _set(options: object, **values: float | None) -> None:
    for name, value in values.items():
        object.__setattr__(options, name, value)  # frozen for everybody else
