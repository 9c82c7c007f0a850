"""Memcached's meta commands: as bytes, and what their replies mean. Pure, no I/O.

They tell the number of what was written and how long it has left, and remove on condition, which the classic
commands cannot. A server knows them as they are written here since memcached 1.6.10; few proxies do.
"""

from typing import NamedTuple, TypeAlias

from scalekit._memcached import errors
from scalekit._memcached.wire import Reply

NOOP = b"mn\r\n"

_WRITTEN = {b"HD": True, b"NS": False, b"EX": False, b"NF": False}


class Item(NamedTuple):
    """A value, and what the server says of it."""

    value: bytes
    version: int
    """The number by which it can be replaced or removed; never 0."""
    left: int | None
    """Seconds until it expires; ``None``: never."""


class Get(NamedTuple):
    """Gives an :class:`Item`, or ``None``."""

    key: str

    def spell(self, key: bytes) -> bytes:
        return b"mg %b v c t\r\n" % key

    def read(self, name: str, reply: Reply) -> Item | None:
        if reply.found is None:
            if reply.line.split(b" ", 1)[0] != b"EN":
                raise _refused(name, reply.line)
            return None
        words = reply.line.split(b" ")
        if len(words) == 4 and words[2][:1] == b"c" and words[3][:1] == b"t":  # as we have asked
            version, left = words[2][1:], words[3][1:]
        else:
            flags = _flags(reply.line)
            version, left = flags.get(b"c", b""), flags.get(b"t", b"")
        if not left.removeprefix(b"-").isdigit():
            raise _refused(name, reply.line)
        return Item(reply.found.value, _version(name, version), None if left == b"-1" else int(left))


class Set(NamedTuple):
    """Gives the number of what was stored, or 0: it was not, for there is another version than that, or none.

    ``version`` 0: there must be nothing. ``seconds`` are as Memcached counts, see :class:`Commands`.
    """

    key: str
    value: bytes
    seconds: int
    version: int = 0

    def spell(self, key: bytes) -> bytes:
        condition = b"C%d" % self.version if self.version else b"ME"
        return b"ms %b %d T%d %b c\r\n%b\r\n" % (key, len(self.value), self.seconds, condition, self.value)

    def read(self, name: str, reply: Reply) -> int:
        return _version(name, _flags(reply.line).get(b"c", b"")) if _written(name, reply) else 0


class Delete(NamedTuple):
    """Gives whether it has removed something: that version, or with 0 whatever there is."""

    key: str
    version: int = 0

    def spell(self, key: bytes) -> bytes:
        return b"md %b C%d\r\n" % (key, self.version) if self.version else b"md %b\r\n" % key

    def read(self, name: str, reply: Reply) -> bool:
        return _written(name, reply)


Command: TypeAlias = Get | Set | Delete


def noticed(name: str, reply: Reply) -> None:
    """Check the reply to ``NOOP``.

    Raises:
        Refused: it is none.
    """
    if reply.line != b"MN":
        raise _refused(name, reply.line)


def _written(name: str, reply: Reply) -> bool:
    word = reply.line.split(b" ", 1)[0]
    if word not in _WRITTEN or reply.found is not None:
        raise _refused(name, reply.line)
    return _WRITTEN[word]


def _flags(line: bytes) -> dict[bytes, bytes]:
    """A letter each, and what belongs to it. Those that were not asked for do no harm."""
    return {word[:1]: word[1:] for word in line.split(b" ")[1:]}


def _version(name: str, digits: bytes) -> int:
    if not digits.isdigit():
        raise errors.unavailable(name, "told no version of an item, which was asked for")
    if not int(digits):
        raise errors.without_versions(name)
    return int(digits)


def _refused(name: str, line: bytes) -> errors.Refused:
    # An older server does not know them, or wants the size of a value elsewhere.
    old = line in (b"ERROR", b"OK") or line.startswith(b"CLIENT_ERROR bad ")
    return errors.refused(name, line, hint="; memcached 1.6.10 or newer is needed" if old else "")
