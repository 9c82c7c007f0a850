"""Commands over one connection of a synchronous pool.

redis-py connects, authenticates and sends. What comes back is read here: its socket time-outs begin again
with every byte. ``timeout`` is for each reply, and begins again with every 64 KiB of a large one.
"""

import contextlib
import threading
import time
from typing import Any

from redis import exceptions

from scalekit._breaker import Breaker
from scalekit._redis import errors
from scalekit._redis.replies import MALFORMED, NOTHING, Arriving, Replies, make_replies
from scalekit._redis.wire import PING
from scalekit.errors import BackendError

_CHUNK = 1 << 16
_SOON = 0.01  # seconds


def exchange(
    pool: Any,
    data: bytes,
    tail: bytes = b"",
    *,
    backend: str,
    breaker: Breaker,
    timeout: float,
    spare_callers: bool = False,
) -> Any:
    """Send the one command ``data`` and return its reply; raises one that refuses it.

    With ``tail``, a command that goes right behind it, the replies to both.
    """
    trip = Trip(
        pool, data + tail, backend=backend, breaker=breaker, timeout=timeout, spare_callers=spare_callers
    )
    return settled(trip.replies(2 if tail else 1), paired=bool(tail))


def settled(replies: list[Any], *, paired: bool) -> Any:
    """The last of ``replies``, or the last two if ``paired``; raises one that refuses its command."""
    wanted = replies[-2:] if paired else replies[-1:]
    for reply in wanted:
        if isinstance(reply, Exception):
            raise reply
    return wanted if paired else wanted[0]


class Trip:
    """Commands that were sent over one connection of ``pool``, and whose replies are to come.

    Whoever has made one takes its replies, or gives it up.

    Args:
        spare_callers: where one would be the breaker's probe, a thread is that ends with it.
        probe: this is that thread's.

    Raises:
        BackendUnavailable: they could not be sent, or the breaker is open.
        BackendTimeout: in time.
    """

    __slots__ = ("_backend", "_breaker", "_connection", "_pool", "_timeout")

    def __init__(
        self,
        pool: Any,
        data: bytes,
        *,
        backend: str,
        breaker: Breaker,
        timeout: float,
        spare_callers: bool = False,
        probe: bool = False,
    ) -> None:
        if breaker.open and not probe:
            due = breaker.allows()
            if due and spare_callers:
                _probe(pool, backend=backend, breaker=breaker, timeout=timeout)
            if spare_callers or not due:
                raise errors.unavailable(backend, errors.REFUSED)
        try:
            # Notices a connection that the server has closed meanwhile, and opens it again.
            self._connection = _take(pool)
        except exceptions.MaxConnectionsError as error:  # says nothing about the server
            raise errors.unavailable(backend, error) from error
        except errors.FAILURES as error:
            breaker.failed()
            raise errors.unavailable(backend, error) from errors.cause(error)
        self._pool, self._backend, self._breaker, self._timeout = pool, backend, breaker, timeout
        sent = False
        try:
            self._connection.send_packed_command([data], check_health=False)
            sent = True
        except errors.FAILURES as error:
            raise self._failure(error) from errors.cause(error)
        finally:
            if not sent:
                self.give_up()

    def replies(self, count: int, *, hurry: bool = False) -> list[Any]:
        """The next ``count`` replies, which are all; one that refuses its command is an exception among them.

        With ``hurry`` they are not waited for: another server has used up the time.

        Raises:
            BackendUnavailable: the server declines to work, or the connection broke.
            BackendTimeout: no answer in time.
        """
        found: list[Any] = []
        whole, declined, replies = False, None, make_replies()
        sock = self._connection._sock
        try:
            if sock is None:
                raise exceptions.ConnectionError("another thread has closed the client")
            if hurry:
                sock.settimeout(_SOON)
            for _ in range(count):
                reply = _receive(sock, replies, self._timeout)
                if isinstance(reply, Exception):
                    if not isinstance(reply, exceptions.ResponseError):
                        raise reply  # the server refuses to talk to us at all
                    if errors.declines(reply):
                        # Say, a primary that has become a replica: another connection may find the new one.
                        declined = reply
                        break
                found.append(reply)
            else:
                whole = not replies.has_data()
            if hurry:
                sock.settimeout(self._timeout)
        except errors.FAILURES as error:
            raise self._failure(error) from errors.cause(error)
        finally:
            # Also when the thread was interrupted: the reply that is still to come is nobody else's.
            if whole:
                self._pool.release(self._connection)
            else:
                self.give_up()
        if declined is not None:
            raise errors.unavailable(self._backend, declined) from declined
        # A refusal is an answer, too. A restarted server says NOSCRIPT first, and what follows must be let
        # through.
        self._breaker.succeeded()
        return found

    def give_up(self) -> None:
        self._connection.disconnect()
        self._pool.release(self._connection)

    def _failure(self, error: BaseException) -> Exception:
        if errors.is_timeout(error):
            self._breaker.failed()
        return errors.translate(error, self._backend, self._timeout)


def _take(pool: Any) -> Any:
    try:
        return pool.get_connection()
    except exceptions.RedisError:
        raise
    except BaseException:
        # The application's own, say, from a signal handler that limits a task's time. redis-py keeps the
        # connection for the next one, in whatever state: not logged in, another database, a reply to come.
        pool.disconnect(inuse_connections=False)
        raise


def _probe(pool: Any, *, backend: str, breaker: Breaker, timeout: float) -> None:
    """Ask the server for a sign of life, while nobody waits for it."""

    def ask() -> None:
        with contextlib.suppress(BackendError):  # the breaker has been told
            Trip(pool, PING, backend=backend, breaker=breaker, timeout=timeout, probe=True).replies(1)

    with contextlib.suppress(RuntimeError):  # no thread starts while the interpreter ends
        threading.Thread(target=ask, name="scalekit-probe", daemon=True).start()


def _receive(sock: Any, replies: Replies, timeout: float) -> Any:
    """The next reply, which may be an error. ``timeout`` is also that of ``sock``, before and after."""
    reply = _next(replies)
    if reply is NOTHING:
        until = time.monotonic() + timeout
        replies.feed(_some(sock))
        reply = _next(replies)
        if reply is NOTHING:
            reply = _rest(sock, replies, timeout, until)
            sock.settimeout(timeout)
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
