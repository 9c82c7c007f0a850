"""Just enough of the Redis protocol to ask a server how it is, without a client library."""

import socket
from typing import Any, BinaryIO

from tests.servers.ports import HOST


class ReplyError(Exception):
    """The server answered with an error."""


def call(port: int, *args: str | int, password: str | None = None, timeout: float = 5.0) -> Any:
    """Send one command on a connection of its own; its reply. `OSError` when nobody answers."""
    with socket.create_connection((HOST, port), timeout) as connection, connection.makefile("rb") as replies:
        if password:
            connection.sendall(_encode("AUTH", password))
            _read(replies)
        connection.sendall(_encode(*args))
        return _read(replies)


def info(port: int, section: str, *, password: str | None = None, timeout: float = 5.0) -> dict[str, str]:
    """``INFO section`` as a dictionary."""
    text: bytes = call(port, "INFO", section, password=password, timeout=timeout)
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def _encode(*args: str | int) -> bytes:
    parts = [str(arg).encode() for arg in args]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _read(replies: BinaryIO) -> Any:
    line = replies.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server hung up")
    kind, rest = line[:1], line[1:-2]
    match kind:
        case b"+":
            return rest
        case b"-":
            raise ReplyError(rest.decode())
        case b":":
            return int(rest)
        case b"$":
            return None if rest == b"-1" else replies.read(int(rest) + 2)[:-2]
        case b"*":
            return None if rest == b"-1" else [_read(replies) for _ in range(int(rest))]
        case _:
            raise ConnectionError(f"not a Redis reply: {line!r}")
