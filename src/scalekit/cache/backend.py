"""What the cache asks of a back end, and the shape in which entries are kept.

Rules, which make a result that was computed before an invalidation unable to appear after it:

* A miss takes a *lease* on the key. A result is stored only while its lease is in place.
* Dropping a key voids its lease. Callers who miss under the same versions share one lease; the first to
  store wins.
* A tag has a random version. Entries carry the versions that were read *before* the query ran, and are
  valid while these are the present ones. Dropping a tag takes its version away: one command, however
  many entries carry it. A version that is missing, dropped or evicted, makes misses; the next
  one is random again, so no old entry ever matches it.

An entry is one value: ``L``, a token and a header is a lease; a header and the payload is a result. The
header is ``V``, the number of tags and their versions.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar, runtime_checkable

from scalekit._steps import Steps
from scalekit.types import Colour

P = ParamSpec("P")
T = TypeVar("T")

LEASE_TTL = 60.0
"""Seconds that a lease lasts. The result of a query that takes longer is returned but not stored."""

VERSION_BYTES = 8
TOKEN_BYTES = 16
MAX_TAGS = 32


@dataclass(frozen=True, slots=True)
class Miss:
    """No result. ``versions`` are the tags' present ones, in their order, ``None`` where one is missing;
    ``token`` is the lease in place, if there is one."""

    versions: tuple[bytes | None, ...] = ()
    token: bytes | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to store one result: what is under the key meanwhile, and how the result will begin."""

    token: bytes
    header: bytes

    def admits(self, found: Miss) -> bool:
        """Whether ``found``, read later, shows the same lease and versions."""
        return found.token == self.token and _header(found.versions) == self.header


class Entries(Protocol):
    """One colour of a back end.

    Each method is a generator, driven by :func:`scalekit._steps.run` or ``run_async``. A server that fails
    raises :class:`~scalekit.errors.BackendError`.
    """

    def read(self, key: str, tags: Sequence[str]) -> Steps[bytes | Miss]:
        """The payload under ``key`` if it is valid."""
        ...

    def lease(self, key: str, tags: Sequence[str], miss: Miss) -> Steps[bytes | Lease | None]:
        """A lease for ``key`` after ``miss``, or a payload if there is one by now, or neither."""
        ...

    def fill(self, key: str, lease: Lease, payload: bytes, ttl: float) -> Steps[bool]:
        """Store ``payload`` for ``ttl`` seconds if ``lease`` is in place; whether it was."""
        ...

    def drop(self, keys: Sequence[str]) -> Steps[None]:
        """Remove results and void leases."""
        ...

    def drop_tags(self, tags: Sequence[str]) -> Steps[None]:
        """Make every result that carries one of ``tags`` a miss."""
        ...

    def close(self) -> Any:
        """Release connections: a value or an awaitable of it."""


@runtime_checkable
class Backend(Protocol):
    """Where results are kept. ``local`` says that it is this process's memory."""

    local: bool

    def using(self, colour: Colour) -> Entries:
        """The back end in one colour; raises ``WrongColour`` if its client has the other one."""
        ...


def new_version() -> bytes:
    return secrets.token_bytes(VERSION_BYTES)


def header(versions: Sequence[bytes]) -> bytes:
    """What a value begins with that was computed under these versions of its tags."""
    return b"V%c%b" % (len(versions), b"".join(versions))


def _header(versions: Sequence[bytes | None]) -> bytes | None:
    present = [version for version in versions if version is not None]
    return header(present) if len(present) == len(versions) else None


def new_lease(start: bytes) -> Lease:
    return Lease(b"L%b%b" % (secrets.token_bytes(TOKEN_BYTES), start), start)


def shared_lease(token: bytes | None, start: bytes) -> Lease | None:
    """The lease that is in place, if it was taken under the same versions."""
    if token is not None and token[1 + TOKEN_BYTES :] == start:
        return Lease(token, start)
    return None


def judge(value: bytes | None, versions: Sequence[bytes | None]) -> bytes | Miss:
    """What is under a key: a payload, if it is a result and its tags have their versions still."""
    if value is None:
        return Miss(tuple(versions))
    if value.startswith(b"L"):
        return Miss(tuple(versions), value)
    start = _header(versions)
    if start is not None and value.startswith(start):
        return value[len(start) :]
    return Miss(tuple(versions))


def immediate(function: Callable[P, T]) -> Callable[P, Steps[T]]:
    """A plain function as a step generator that yields nothing."""

    @wraps(function)
    def steps(*args: P.args, **kwargs: P.kwargs) -> Steps[T]:
        yield from ()  # makes this a generator
        return function(*args, **kwargs)

    return steps
