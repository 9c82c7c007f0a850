"""One command over one connection of a synchronous pool.

redis-py connects, authenticates and sends. What comes back is read here: its socket time-outs begin again
with every byte. ``timeout`` is for each reply, and begins again with every 64 KiB of a large one.
"""

import time
from typing import Any

from redis import exceptions

from scalekit._breaker import Breaker
from scalekit._redis import errors
from scalekit._redis.replies import MALFORMED, NOTHING, Arriving, Replies, make_replies

_CHUNK = 1 << 16


def exchange(
    pool: Any, data: bytes, *, backend: str, breaker: Breaker, timeout: float, prelude: int = 0
) -> Any:
    """Send ``data``, skip ``prelude`` replies, return the next; redirections are raised as they come."""
    if not breaker.allows():
        raise errors.unavailable(backend, errors.REFUSED)
    try:
        # Notices a connection that the server has closed meanwhile, and opens it again.
        connection = pool.get_connection()
    except exceptions.MaxConnectionsError as error:  # says nothing about the server
        raise errors.unavailable(backend, error) from error
    except errors.FAILURES as error:
        breaker.failed()
        raise errors.unavailable(backend, error) from errors.cause(error)
    whole, replies = False, make_replies()
    try:
        connection.send_packed_command([data], check_health=False)
        for _ in range(prelude):
            _receive(connection._sock, replies, timeout)
        reply = _receive(connection._sock, replies, timeout)
        whole = not replies.has_data()
    except exceptions.ResponseError as error:
        if errors.declines(error):
            # Say, a primary that has become a replica: another connection may find the new one.
            raise errors.unavailable(backend, error) from error
        whole = not replies.has_data()
        # An answer too. A restarted server answers NOSCRIPT first, and what follows must not be refused.
        breaker.succeeded()
        raise
    except errors.FAILURES as error:
        if errors.is_timeout(error):
            breaker.failed()
        raise errors.translate(error, backend, timeout) from errors.cause(error)
    finally:
        # Also when the thread was interrupted: the reply that is still to come is nobody else's.
        if not whole:
            connection.disconnect()
        pool.release(connection)
    breaker.succeeded()
    return reply


def _receive(sock: Any, replies: Replies, timeout: float) -> Any:
    """The next reply; an error is raised. ``timeout`` is also that of ``sock``, before and after."""
    reply = _next(replies)
    if reply is NOTHING:
        until = time.monotonic() + timeout
        replies.feed(_some(sock))
        reply = _next(replies)
        if reply is NOTHING:
            reply = _rest(sock, replies, timeout, until)
            sock.settimeout(timeout)
    if isinstance(reply, Exception):
        raise reply
    return reply


def _rest(sock: Any, replies: Replies, timeout: float, until: float) -> Any:
    """A reply that comes in pieces."""
    arriving = Arriving(timeout)
    while True:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        sock.settimeout(left)
        data = _some(sock)
        replies.feed(data)
        reply = _next(replies)
        if reply is not NOTHING:
            return reply
        if arriving.more(len(data)):
            until = time.monotonic() + timeout


def _some(sock: Any) -> bytes:
    data: bytes = sock.recv(_CHUNK)
    if not data:
        raise exceptions.ConnectionError("the server has closed the connection")
    return data


def _next(replies: Replies) -> Any:
    try:
        return replies.gets()
    except MALFORMED as error:
        raise exceptions.InvalidResponse(f"a malformed reply: {error!r}") from error
