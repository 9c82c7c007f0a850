"""Connections that wait for their next command."""

import select
import socket


def readable(sock: socket.socket) -> bool:
    """Whether the server has closed the connection, or said something: unasked, if nothing is in flight."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
