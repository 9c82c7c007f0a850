"""Replies from the bytes of the Redis protocol (RESP2): bytes, integers, ``None`` and lists of them.

An error that the server answered with is the redis-py exception that it stands for, and is not raised.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Final, Protocol

from redis._parsers import BaseParser
from redis.exceptions import InvalidResponse

NOTHING: Final = False
"""What ``gets`` returns when no whole reply has arrived: RESP2 has no booleans."""


class Replies(Protocol):
    """Takes bytes as they arrive, and gives whole replies."""

    def feed(self, data: bytes, /) -> object: ...

    def gets(self) -> Any:
        """The next reply, or ``NOTHING``.

        Raises:
            redis.exceptions.InvalidResponse: this is not the Redis protocol.
        """


_error: Callable[[str], Exception] = BaseParser.parse_error


class PythonReplies:
    """See :class:`Replies`."""

    def __init__(self) -> None:
        self._data, self._at = b"", 0

    def feed(self, data: bytes, /) -> None:
        self._data, self._at = self._data[self._at :] + data, 0

    def gets(self) -> Any:
        try:
            reply, self._at = _parse(self._data, self._at)
        except _Incomplete:
            return NOTHING
        except ValueError:
            raise InvalidResponse("the server does not speak the Redis protocol") from None
        return reply


class _Incomplete(Exception):
    pass


def _parse(data: bytes, at: int) -> tuple[Any, int]:
    """The reply that begins at ``at``, and where the next one does; ``ValueError`` if it is none."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise _Incomplete
    kind, line, after = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b"+":
        return line, after
    if kind == b"-":
        return _error(line.decode(errors="replace")), after
    if kind not in (b":", b"$", b"*"):
        raise ValueError
    number = int(line)
    if kind == b":":
        return number, after
    if number < 0:
        return None, after
    if kind == b"$":
        if len(data) < after + number + 2:
            raise _Incomplete
        return data[after : after + number], after + number + 2
    items: list[Any] = []
    for _ in range(number):
        item, after = _parse(data, after)
        items.append(item)
    return items, after


make_replies: Callable[[], Replies] = PythonReplies
with contextlib.suppress(ImportError):  # optional: it is faster, nothing else
    import hiredis

    def make_replies() -> Replies:
        replies: Replies = hiredis.Reader(protocolError=InvalidResponse, replyError=_error)
        return replies
