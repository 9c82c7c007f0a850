"""After ``os.fork()``: what a child must have anew.

A child has one thread, the one that forked. A lock that another thread of the parent held at that moment
stays locked in the child for ever, and what that thread was to deliver never comes.
"""

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    def forked(self) -> None:
        """Make new locks, and give up what other threads were doing."""


_things: "weakref.WeakSet[Renewable]" = weakref.WeakSet()


def renew_in_children(thing: Renewable) -> None:
    """Call ``thing.forked()`` in every child that is forked while ``thing`` lives."""
    _things.add(thing)


def _after_fork_in_child() -> None:
    for thing in list(_things):
        thing.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
