"""What redis-py raises, in scalekit's words.

A reply that says "no" to one command (``WRONGTYPE``, ``CROSSSLOT``...) is the caller's own error and passes
as redis-py's ``ResponseError``. A reply that says that the server cannot serve anyone now (loading, read-only
after a failover, cluster down) is :class:`~scalekit.errors.BackendUnavailable`.
"""

from redis import exceptions

from scalekit.errors import BackendError, BackendTimeout, BackendUnavailable

# What can go wrong between us and a server. RedisClusterException is no RedisError.
FAILURES = (exceptions.RedisError, exceptions.RedisClusterException, OSError, EOFError)

# Replies by which a server as a whole declines to work: nothing was applied.
DECLINED = (exceptions.ReadOnlyError, exceptions.ClusterDownError)

REFUSED = "does not answer; the circuit breaker is open"

REDIRECTS = (exceptions.AskError, exceptions.TryAgainError)  # MovedError is an AskError


def unavailable(backend: str, reason: object) -> BackendUnavailable:
    return BackendUnavailable(f"{backend}: {reason}", backend=backend)


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
