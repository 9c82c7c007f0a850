"""Replies from the bytes of the Redis protocol (RESP2): bytes, integers, ``None`` and lists of them.

An error that the server answered with is the redis-py exception that it stands for, and is not raised.

A time limit for a reply begins again with every 64 KiB of it: a large one may take its time over a slow link,
and one that trickles is no answer. At one second that is half a megabit a second, less than a store can be
used over; a socket's own time-out would begin again with every byte, and so never pass. After sixty times the
limit it begins no more, so that nobody is held for hours: at one second the largest reply that there is takes
70 megabits a second.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from redis._parsers import BaseParser
from redis.exceptions import InvalidResponse

_STEP = 16  # 64 KiB, as a power of 2
_LONGEST = 60  # times the limit
_LARGEST = 513 << 20  # bytes; Redis has no value of more than 512 MiB

NOTHING: Final = False
"""What ``gets`` returns when no whole reply has arrived: RESP2 has no booleans."""


MALFORMED: Final = (TypeError, MemoryError)
"""What hiredis raises, too: for a map that has a list as a key, for a list of more items than can be."""


class Replies(Protocol):
    """Takes bytes as they arrive, and gives whole replies."""

    def feed(self, data: bytes, /) -> object: ...

    def gets(self) -> Any:
        """The next reply, or ``NOTHING``.

        Raises:
            redis.exceptions.InvalidResponse: this is not the Redis protocol.
        """

    def has_data(self) -> bool:
        """Whether bytes are left that are not given out: a part of the next reply."""
        ...


class Arriving:
    """How much has arrived of a reply that is not whole yet, for a time limit of so many seconds."""

    __slots__ = ("_limit", "_size", "_until")

    def __init__(self, limit: float) -> None:
        self._limit, self._size, self._until = limit, 0, 0.0

    def whole(self) -> None:
        """It is; the next one begins."""
        self._size = 0

    def more(self, size: int) -> bool:
        """Count ``size`` bytes more; whether the time limit begins again, see the module.

        Raises:
            redis.exceptions.InvalidResponse: it is larger than any reply of Redis.
        """
        before, self._size = self._size, self._size + size
        if not before:
            self._until = time.monotonic() + self._limit * _LONGEST
        if self._size > _LARGEST:
            raise InvalidResponse(f"a reply of more than {_LARGEST >> 20} MiB")
        return before >> _STEP != self._size >> _STEP and time.monotonic() < self._until


_parse_error: Callable[[str], Exception] = BaseParser.parse_error


def _error(line: str) -> Exception:
    try:
        return _parse_error(line)
    except ValueError:  # a redirection to nowhere
        return InvalidResponse(f"the server says {line[:100]!r}")


class PythonReplies:
    """See :class:`Replies`."""

    def __init__(self) -> None:
        self._data, self._at = bytearray(), 0
        self._needed = 0  # bytes; with fewer there is no use in looking

    def feed(self, data: bytes, /) -> None:
        del self._data[: self._at]
        self._at = 0
        self._data += data

    def gets(self) -> Any:
        if len(self._data) - self._at < self._needed:
            return NOTHING
        try:
            reply, at = _parse(self._data, self._at)
        except _Incomplete as incomplete:
            self._needed = incomplete.end - self._at
            return NOTHING
        except ValueError:
            raise InvalidResponse("the server does not speak the Redis protocol") from None
        self._at, self._needed = at, 0
        return reply

    def has_data(self) -> bool:
        return self._at < len(self._data)


class _Incomplete(Exception):
    def __init__(self, end: int) -> None:
        self.end = end  # where it ends at the earliest


_DEEPEST = 8  # lists in lists; hiredis has as many


def _parse(data: bytearray, at: int, depth: int = 0) -> tuple[Any, int]:
    """The reply that begins at ``at``, and where the next one does; ``ValueError`` if it is none."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise _Incomplete(len(data) + 1)
    kind, line, after = bytes(data[at : at + 1]), bytes(data[at + 1 : end]), end + 2
    if kind == b"+":
        return line, after
    if kind == b"-":
        return _error(line.decode(errors="replace")), after
    if kind not in (b":", b"$", b"*"):
        raise ValueError
    number = int(line)
    if kind == b":":
        return number, after
    if number == -1:
        return None, after
    if number < 0 or depth > _DEEPEST:
        raise ValueError
    if kind == b"$":
        if len(data) < after + number + 2:
            raise _Incomplete(after + number + 2)
        return bytes(data[after : after + number]), after + number + 2
    items: list[Any] = []
    for _ in range(number):
        item, after = _parse(data, after, depth + 1)
        items.append(item)
    return items, after


make_replies: Callable[[], Replies] = PythonReplies
with contextlib.suppress(ImportError):  # optional: it is faster, nothing else
    import hiredis

    def make_replies() -> Replies:
        replies: Replies = hiredis.Reader(protocolError=InvalidResponse, replyError=_error)
        return replies
