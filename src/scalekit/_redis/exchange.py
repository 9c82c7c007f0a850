"""One command over one connection of a synchronous pool."""

from typing import Any

from redis import exceptions

from scalekit._breaker import Breaker
from scalekit._redis import errors


def exchange(
    pool: Any, data: bytes, *, backend: str, breaker: Breaker, timeout: float | None, prelude: int = 0
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
    whole = False
    try:
        connection.send_packed_command([data], check_health=False)
        for _ in range(prelude):
            connection.read_response(disable_decoding=True)
        reply = connection.read_response(disable_decoding=True)
        whole = True
    except exceptions.ResponseError as error:
        if errors.declines(error):
            # Say, a primary that has become a replica: another connection may find the new one.
            raise errors.unavailable(backend, error) from error
        whole = True
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
