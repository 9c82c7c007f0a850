"""Memcached's text protocol: commands as bytes, and replies as they come in. Pure, no I/O.

The classic commands, which every server and proxy knows; those that begin with an m are in
:mod:`scalekit._memcached.meta`.
"""

from typing import NamedTuple, TypeAlias

from scalekit._memcached.errors import Malformed

_LINE = 2048  # bytes; no line of the protocol is as long
_VALUE = 1 << 30  # bytes; the largest item that memcached can be told to take


class Found(NamedTuple):
    """A value, and the number of its version for ``cas``."""

    value: bytes
    version: int


class Reply(NamedTuple):
    """The line that ends a reply, and the value that came before it."""

    line: bytes
    found: Found | None

    @property
    def fit(self) -> bool:
        """Whether the connection is of further use: after some errors the two sides may disagree where a
        command begins."""
        line = self.line
        return line in _LINES or line.split(b" ", 1)[0] in META or line.startswith(b"SERVER_ERROR ")


Stored: TypeAlias = bool | None
"""``True``: stored. ``False``: not, for somebody else has stored. ``None``: not, for there is nothing."""

STORED: dict[bytes, Stored] = {b"STORED": True, b"NOT_STORED": False, b"EXISTS": False, b"NOT_FOUND": None}
DELETED: dict[bytes, bool] = {b"DELETED": True, b"NOT_FOUND": False}
_LINES = {b"END", *STORED, *DELETED}
META = {b"VA", b"HD", b"EN", b"NS", b"EX", b"NF", b"MN"}
"""What the reply to a meta command begins with."""


def gets(key: bytes) -> bytes:
    return b"gets %b\r\n" % key


def add(key: bytes, value: bytes, seconds: int) -> bytes:
    return b"add %b 0 %d %d\r\n%b\r\n" % (key, seconds, len(value), value)


def cas(key: bytes, value: bytes, version: int, seconds: int) -> bytes:
    return b"cas %b 0 %d %d %d\r\n%b\r\n" % (key, seconds, len(value), version, value)


def delete(key: bytes) -> bytes:
    return b"delete %b\r\n" % key


class Replies:
    """Bytes in, replies out, in whatever pieces the network cuts them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._size: int | None = None  # of a value whose bytes are still to come
        self._version = 0
        self._found: Found | None = None
        self._meta: bytes | None = None  # the line of a meta reply whose value is still to come

    @property
    def pending(self) -> bool:
        """Whether there is something that has not been given out."""
        return bool(self._buffer) or self._size is not None or self._found is not None

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Reply | None:
        """The next reply that is complete.

        Raises:
            Malformed: this is no Memcached.
        """
        while self._take_value():
            line, self._meta = self._meta, None
            if line is None and (line := self._line()) is None:
                return None
            if self._found is None and line.startswith(b"VA"):
                words = line.split(b" ")
                if words[0] == b"VALUE" and len(words) == 5:
                    self._announce(words[3], words[4])
                    continue
                if words[0] == b"VA" and len(words) > 1:
                    self._announce(words[1], b"0")
                    self._meta = line  # the reply, once its value is here
                    continue
                raise Malformed("a VALUE without a size and a version")
            found, self._found = self._found, None
            return Reply(line, found)
        return None

    def _announce(self, size: bytes, version: bytes) -> None:
        if not (size.isdigit() and version.isdigit()):
            raise Malformed("a VALUE without a size and a version")
        self._size, self._version = int(size), int(version)
        if self._size > _VALUE:
            raise Malformed("a VALUE that is larger than any")

    def _take_value(self) -> bool:
        """Take the value that is announced; ``False`` if it has not come completely."""
        size = self._size
        if size is not None:
            if len(self._buffer) < size + 2:
                return False
            if self._buffer[size : size + 2] != b"\r\n":
                raise Malformed("a VALUE that is not as long as it says")
            self._found, self._size = Found(bytes(self._buffer[:size]), self._version), None
            del self._buffer[: size + 2]
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, _LINE)
        if end < 0:
            if len(self._buffer) >= _LINE:
                raise Malformed("a line that does not end")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line
