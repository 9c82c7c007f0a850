"""The commands, for both colours: what is sent and what the reply means."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from scalekit._memcached import errors, meta, wire
from scalekit._memcached.source import Server, Source
from scalekit._memcached.wire import Found, Reply, Stored

T = TypeVar("T")
Replies: TypeAlias = Mapping[Server, Sequence[Reply]]


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

    def together(self, commands: Sequence[meta.Command]) -> Any:
        servers = [self._source.pick(command.key) for command in commands]
        parcels: dict[Server, list[bytes]] = {}
        for command, server in zip(commands, servers, strict=True):
            parcels.setdefault(server, []).append(command.spell(self._full(command.key)))

        def read(replies: Replies) -> list[Any]:
            each = {server: iter(replies[server]) for server in parcels}
            return [
                command.read(server.name, next(each[server]))
                for command, server in zip(commands, servers, strict=True)
            ]

        return self._ask_all(parcels, read)

    def elsewhere(self, keys: Sequence[str]) -> set[str]:
        concerned = {self._source.pick(key) for key in keys}
        return {server.name for server in self._source.servers if server not in concerned}

    def ping(self) -> Any:
        def read(replies: Replies) -> None:
            for server in self._source.servers:
                meta.noticed(server.name, replies[server][0])

        return self._ask_all({server: [meta.NOOP] for server in self._source.servers}, read)

    def _ask(self, key: str, data: bytes, read: Callable[[str, Reply], T]) -> Any:
        """Send ``data`` to the server of ``key``; the answer is ``read(name, reply)``."""
        raise NotImplementedError

    def _ask_all(self, parcels: Mapping[Server, Sequence[bytes]], read: Callable[[Replies], T]) -> Any:
        """Send each server its commands in one piece; the answer is ``read`` of their replies."""
        raise NotImplementedError

    def _full(self, key: str) -> bytes:
        return self._source.key_prefix + key.encode("ascii")

    @staticmethod
    def _found(name: str, reply: Reply) -> Found | None:
        if reply.line != b"END":
            raise errors.refused(name, reply.line)
        if reply.found is not None and reply.found.version == 0:
            raise errors.without_versions(name)
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
