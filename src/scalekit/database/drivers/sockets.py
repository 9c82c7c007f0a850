"""What is done to a driver's socket behind its back."""

import contextlib
import os
import select
import socket
from typing import Any

# Errors and POLLHUP are always reported; where POLLRDHUP is unknown, they alone are.
_HANG_UP = getattr(select, "POLLRDHUP", 0)


def shut_socket(descriptor: int, *, addresses: tuple[Any, Any] | None) -> None:
    """Shut the socket down under a driver that waits on it in another thread.

    Args:
        descriptor: what the driver says its file descriptor is.
        addresses: local and peer address at connect time. Between asking and acting the descriptor may
            have been closed and given to somebody else, whose addresses are not these.
    """
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
        if addresses is None or (copy.getsockname(), copy.getpeername()) == addresses:
            copy.shutdown(socket.SHUT_RDWR)


def hung_up(descriptor: int) -> bool:
    """Whether the peer has closed the connection, as far as has arrived here."""
    poll = select.poll()
    poll.register(descriptor, _HANG_UP)
    return bool(poll.poll(0))


def addresses(descriptor: int) -> tuple[Any, Any] | None:
    """Local and peer address of a connected socket."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            return copy.getsockname(), copy.getpeername()
    except OSError:
        return None
