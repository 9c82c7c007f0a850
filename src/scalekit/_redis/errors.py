"""What redis-py raises, in scalekit's words.

A reply that says "no" to one command (``WRONGTYPE``, ``CROSSSLOT``...) is the caller's own error and passes
as redis-py's ``ResponseError``. A reply that says that the server cannot serve anyone now (loading, read-only
after a failover, cluster down) is :class:`~scalekit.errors.BackendUnavailable`.

No message and no cause of an error has a password. One of redis-py's has: when no Sentinel names a master, it
quotes the Sentinels' clients, up to redis-py 7.1 with all their options. It gets words of our own.
"""

import redis.asyncio.sentinel
import redis.sentinel
from redis import exceptions

from scalekit.errors import BackendError, BackendTimeout, BackendUnavailable

# What can go wrong between us and a server. RedisClusterException is no RedisError.
FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError, EOFError)

REFUSED = "does not answer; the circuit breaker is open"

_MASTERLESS = (redis.sentinel.MasterNotFoundError, redis.asyncio.sentinel.MasterNotFoundError)
_NO_MASTER = (
    "no Sentinel names a master that is up; check that they can be reached, "
    "their password (sentinel_password) and the service's name"
)

REDIRECTS = (exceptions.AskError, exceptions.TryAgainError)  # MovedError is an AskError


def declines(error: exceptions.ResponseError) -> bool:
    """Whether a server as a whole declines to work, so that another one may have taken over.

    Nothing was applied. ``NOREPLICAS`` (with ``min-replicas-to-write``) says that the replicas have left.
    """
    declined = isinstance(error, exceptions.ReadOnlyError | exceptions.ClusterDownError)
    return declined or str(error).startswith("NOREPLICAS")


def unavailable(backend: str, reason: object) -> BackendUnavailable:
    if isinstance(reason, _MASTERLESS):
        reason = _NO_MASTER
    return BackendUnavailable(f"{backend}: {reason}", backend=backend)


def cause(error: BaseException) -> BaseException | None:
    """``error`` as the cause of one of ours, where a log shows it; ``None`` if it may have a password."""
    return None if isinstance(error, _MASTERLESS) else error


def timed_out(backend: str, seconds: float | None) -> BackendTimeout:
    within = f" within {seconds:g} s" if seconds is not None else ""
    return BackendTimeout(f"{backend}: no answer{within}; a write may have been applied", backend=backend)


def is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError | exceptions.TimeoutError)


def translate(error: BaseException, backend: str, timeout: float | None) -> BackendError:
    """``error``, raised by redis-py while it talked to ``backend``, as one of ours."""
    if is_timeout(error):
        return timed_out(backend, timeout)
    return unavailable(backend, error or type(error).__name__)
