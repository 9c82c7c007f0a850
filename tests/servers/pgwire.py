"""Statements for a PostgreSQL that trusts us, by its simple query protocol: a psql for each takes far longer.

https://www.postgresql.org/docs/current/protocol-flow.html
"""

import socket
import struct
from typing import Any

from tests.servers.base import ServerFailed

_PROTOCOL = 3 << 16


def query(host: str, port: int, *statements: str, user: str, database: str, timeout: float) -> list[str]:
    """Run each statement in a transaction of its own; the rows of all, with ``|`` between their columns.

    `timeout` is in seconds, for each answer; then `TimeoutError`. `ServerFailed` carries the server's words.
    """
    try:
        with socket.create_connection((host, port), timeout=timeout) as sock, sock.makefile("rb") as replies:
            options = f"user\0{user}\0database\0{database}\0application_name\0tests\0\0".encode()
            sock.sendall(struct.pack("!ii", len(options) + 8, _PROTOCOL) + options)
            rows = _rows(replies)
            for statement in statements:
                text = statement.encode() + b"\0"
                sock.sendall(b"Q" + struct.pack("!i", len(text) + 4) + text)
                rows += _rows(replies)
            return rows
    except ConnectionError as error:
        raise ServerFailed(f"PostgreSQL at {host}:{port}: {error!r}") from error


def _rows(replies: Any) -> list[str]:
    """What comes until the server is ready for the next statement."""
    rows, failure = [], None
    while True:
        head = replies.read(5)
        if len(head) < 5:
            raise failure or ConnectionResetError("it hung up")
        kind, body = head[:1], replies.read(struct.unpack("!i", head[1:])[0] - 4)
        if kind == b"D":
            rows.append("|".join(_columns(body)))
        elif kind == b"E":
            fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0") if field}
            failure = ServerFailed(f"{fields.get(b'S')}: {fields.get(b'M')}")
        elif kind == b"R" and body[:4] != b"\0\0\0\0":
            raise ServerFailed("it asks for a password")
        elif kind == b"Z":
            if failure is not None:
                raise failure
            return rows


def _columns(body: bytes) -> list[str]:
    (count,), at, columns = struct.unpack("!h", body[:2]), 2, []
    for _ in range(count):
        (length,) = struct.unpack("!i", body[at : at + 4])
        at += 4
        columns.append(body[at : at + length].decode() if length >= 0 else "")
        at += max(length, 0)
    return columns
