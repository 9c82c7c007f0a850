"""The commands, for both colours: what is sent and what the reply means."""

from collections.abc import Callable
from typing import Any, TypeVar

from scalekit._memcached import errors, wire
from scalekit._memcached.source import Source
from scalekit._memcached.wire import Found, Reply, Stored

T = TypeVar("T")


class CommandSet:
    """What the colours share; see :class:`scalekit._memcached.Commands`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def gets(self, key: str) -> Any:
        return self._ask(key, wire.gets(self._full(key)), self._found)

    def add(self, key: str, value: bytes, *, seconds: int) -> Any:
        return self._ask(key, wire.add(self._full(key), value, seconds), self._stored)

    def cas(self, key: str, value: bytes, version: int, *, seconds: int) -> Any:
        return self._ask(key, wire.cas(self._full(key), value, version, seconds), self._stored)

    def delete(self, key: str) -> Any:
        return self._ask(key, wire.delete(self._full(key)), self._deleted)

    def _ask(self, key: str, data: bytes, read: Callable[[str, Reply], T]) -> Any:
        """Send ``data`` to the server of ``key``; the answer is ``read(name, reply)``."""
        raise NotImplementedError

    def _full(self, key: str) -> bytes:
        return self._source.key_prefix + key.encode("ascii")

    @staticmethod
    def _found(name: str, reply: Reply) -> Found | None:
        if reply.line != b"END":
            raise errors.refused(name, reply.line)
        if reply.found is not None and reply.found.version == 0:
            raise errors.unavailable(
                name, "runs without versions (option -C), which keep concurrent writes apart"
            )
        return reply.found

    @staticmethod
    def _stored(name: str, reply: Reply) -> Stored:
        if reply.line not in wire.STORED:
            raise errors.refused(name, reply.line)
        return wire.STORED[reply.line]

    @staticmethod
    def _deleted(name: str, reply: Reply) -> bool:
        if reply.line not in wire.DELETED:
            raise errors.refused(name, reply.line)
        return wire.DELETED[reply.line]
