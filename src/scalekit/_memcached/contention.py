"""Changes that are made on what was read: again, if somebody else has written in between."""

import random
from collections.abc import Callable
from enum import Enum
from typing import Literal, TypeAlias, TypeVar

from scalekit._memcached import errors
from scalekit._memcached.link import Commands
from scalekit._steps import Steps

T = TypeVar("T")

_ATTEMPTS = 64  # each that fails means that somebody else has succeeded
_PAUSE = 0.02  # seconds, at most


class Attempt(Enum):
    """What has become of an attempt, unless it has a result."""

    FAILED = "failed"


Outcome: TypeAlias = T | Literal[Attempt.FAILED]


def settle(commands: Commands, name: str, attempt: Callable[[], Steps[Outcome[T]]]) -> Steps[T]:
    """What ``attempt`` comes to, once nobody gets in its way.

    Args:
        name: of the link, for the message.
        attempt: reads, and writes on the condition that nobody has written since.

    Raises:
        BackendUnavailable: others got in its way each time.
    """
    for number in range(_ATTEMPTS):
        outcome = yield from attempt()
        if not isinstance(outcome, Attempt):
            return outcome
        # At random, as those who collided would collide again.
        yield commands.pause(random.uniform(0, min(_PAUSE, 0.001 * 2**number)))  # noqa: S311
    raise errors.unavailable(
        name, f"contended; {_ATTEMPTS} times others have changed the same item meanwhile"
    )
