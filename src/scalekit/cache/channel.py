"""What the processes of a fleet tell each other: which tags and keys were dropped.

Rules, which keep a process's first tier right:

* Messages are numbered, one after the other. Who has heard number 7 and hears 9, or can no longer find what
  it has heard last, has *lost* the channel: what it missed may be anything.
* A message is sent after the change that it tells of, or at one with it: who hears it and asks the back end
  sees the change.
* The first tier is trusted until ``local_ttl`` seconds after the last moment of which the channel is known
  to be complete. Nobody has to notice a failure for that to end.
* A channel that is noticed to be lost is distrusted at once, and the first tier is emptied before it is
  trusted again.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from scalekit._steps import Steps
from scalekit.types import Colour


class Lost(Exception):
    """Messages were missed."""


class Message(NamedTuple):
    """What one change dropped; ``everything``: all there is."""

    number: int
    keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    everything: bool = False


class Cursor(NamedTuple):
    """A place in the channel: the last message that was heard."""

    id: bytes
    number: int


class Heard(NamedTuple):
    """What was said after a cursor."""

    cursor: Cursor
    messages: Sequence[Message]
    # Whether that is all there was when it was asked for.
    complete: bool


class Channel(Protocol):
    """A channel in one colour. A server that fails raises :class:`~scalekit.errors.BackendError`."""

    name: str
    """Where it is, for messages; no credentials."""
    colour: Colour

    def position(self) -> Steps[Cursor]:
        """Where the channel stands now."""
        ...

    def next(self, cursor: Cursor, *, block: float) -> Steps[Heard]:
        """What comes after ``cursor``; if that is nothing, wait ``block`` seconds for it.

        Raises:
            Lost: something between ``cursor`` and what was heard is missing.
        """
        ...

    def close(self) -> Any:
        """Release connections, and fail what waits: a value or an awaitable of it."""


@runtime_checkable
class HasChannel(Protocol):
    """A back end that has one."""

    def channel(self, *, block: float) -> Channel:
        """The channel, for who waits ``block`` seconds at a time; synchronous if it can be."""
        ...


def follow(cursor: Cursor, heard: Sequence[tuple[bytes, Message]]) -> Cursor:
    """The cursor after ``heard``, messages with their ids.

    Raises:
        Lost: their numbers do not follow.
    """
    for id, message in heard:
        if message.number != cursor.number + 1:
            raise Lost(f"message {cursor.number + 1} was to come, and {message.number} came")
        cursor = Cursor(id, message.number)
    return cursor
