"""What can go wrong between us and a Memcached server, in scalekit's words."""

from scalekit.errors import BackendTimeout, BackendUnavailable

DOWN = "does not answer; the circuit breaker is open"
CLOSED = "the client was closed"


class Refused(BackendUnavailable):
    """The server has answered, and does not do what it was asked. Nothing was stored."""


class Full(Refused):
    """It has no room, and is not allowed to make any (option -M). What was to be replaced may be gone."""


class Malformed(Exception):
    """What came is not the Memcached protocol. Internal: becomes :class:`BackendUnavailable`."""


def unavailable(backend: str, reason: object) -> BackendUnavailable:
    return BackendUnavailable(f"{backend}: {reason}", backend=backend)


def timed_out(backend: str, seconds: float) -> BackendTimeout:
    return BackendTimeout(
        f"{backend}: no answer within {seconds:g} s; a write may have been applied", backend=backend
    )


def without_versions(backend: str) -> BackendUnavailable:
    return unavailable(backend, "runs without versions (option -C), which keep concurrent writes apart")


def refused(backend: str, line: bytes, *, hint: str = "") -> Refused:
    text = line.decode("ascii", "replace")
    if "too large" in text:
        hint = "; the limit is memcached's option -I, by default 1 MiB"
    kind = Full if "out of memory" in text else Refused
    return kind(f"{backend} refused: {text:.200}{hint}", backend=backend)
