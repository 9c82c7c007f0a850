"""Checks that wait for time to pass, at once: a contract about time need not take the sum of its waits."""

from collections.abc import Callable, Sequence
from typing import Any

from scalekit._steps import Steps

WAIT = object()
"""What a check yields that would ask again a little later."""

Pause = Callable[[], Any]
"""Waits a moment: gives a value, or an awaitable of it."""


def in_turns(checks: Sequence[Steps[None]], pause: Pause) -> Steps[None]:
    """Run ``checks``; one that yields :data:`WAIT` goes on after a pause."""
    going = list(checks)
    while going:
        for check in list(going):
            answer = None
            try:
                while (step := check.send(answer)) is not WAIT:
                    answer = yield step
            except StopIteration:
                going.remove(check)
        if going:
            yield pause()
