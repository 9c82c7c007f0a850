"""What the cache asks of a back end.

Rules, which make a result that was computed before an invalidation unable to appear after it:

* A miss takes a *lease* on its key. A result is stored only while its lease is in place, and there is one
  lease at a time: who does not have it waits for who has.
* A lease that has no end, or one beyond :data:`scalekit.cache.entry.LONGEST_LEASE`, is nobody's: who asks for
  it takes it over. So has the right to replace an entry; but not word that nobody is to, ``COOLING``.
* Dropping a key voids its lease, and what is stored under it.
* A *tag* has a random version (:mod:`scalekit.cache.versions`). An entry carries the versions that were read
  *before* its query ran, and is valid while these are the present ones. Dropping a tag gives it another
  version: one command, however many entries carry it.
* A writer *marks* the tags it changes before COMMIT and *bumps* them after it. While a tag is marked there is
  no lease on anything that carries it. A mark ends by itself: a writer that died leaves misses, no old data.
* The *generation* is a tag that every lookup carries without naming it: to drop it is to drop everything.

What is under a key is described in :mod:`scalekit.cache.entry`, the record of a tag in
:mod:`scalekit.cache.versions`.

Whoever writes a back end has what it takes here: the protocols, what they speak of, and ``Steps``, a
generator that yields what a client's calls return and is sent what they answer.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar, runtime_checkable

from scalekit._steps import Steps
from scalekit.cache.entry import Found
from scalekit.types import Colour

__all__ = ["MAX_TAGS", "Backend", "Entries", "Found", "HasServers", "Lease", "Lookup", "Steps", "immediate"]

P = ParamSpec("P")
T = TypeVar("T")

MAX_TAGS = 32


class Lookup(NamedTuple):
    """What is asked for: a key, and the tags that its entry carries besides the generation."""

    key: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to store one result, whoever has it."""

    key: str
    token: bytes
    """What tells it from others: 16 bytes."""
    versions: bytes
    """The versions of the tags when it was taken, the generation first: what an entry carries."""
    mine: bool
    """Whether whoever asked for it has it now; if not, somebody else had it before."""
    left: float
    """Seconds until it ends."""
    refresh: bool = False
    """There is an entry beside it, which stays readable."""
    ages: tuple[float, ...] = ()
    """Seconds that each tag has had its version, the generation first."""
    positions: tuple[str | None, ...] = ()
    """Of each tag, the position of the primary after the commit that gave it its version, if it is known."""


class Entries(Protocol):
    """One colour of a back end.

    Each method is a generator of steps: it yields what a call of the client returned, a value or an
    awaitable, and is sent the answer; so one text serves both colours. What has nothing to wait for is a
    plain function under :func:`immediate`. A server that fails raises
    :class:`~scalekit.errors.BackendError`. Times are seconds.
    """

    limit: int | None
    """Bytes of the largest value that can be stored; ``None``: whatever fits."""

    def read(self, lookups: Sequence[Lookup]) -> Steps[list[Found]]:
        """What is under each key and the records of its tags, in their order; one round trip for all."""
        ...

    def acquire(
        self,
        lookup: Lookup,
        found: Found,
        *,
        ttl: float,
        refresh: bool = False,
        token: bytes | None = None,
    ) -> Steps[Lease | Found | None]:
        """The right to store, after ``found`` was no hit.

        Tags without a version get one. With ``refresh`` there is an entry, which stays readable while it is
        being replaced. ``token`` (16 random bytes) is what the lease is known by if it is taken: who knows it
        can give the lease back, whatever became of the answer.

        Returns:
            A lease: ``mine``, or another's. ``Found`` if there is a valid entry or pass mark by now (with
            ``refresh``: if there is none any more). ``None`` if there is no lease to be had: a tag is being
            changed, or what was written does not stay.
        """
        ...

    def renew(self, lease: Lease, *, ttl: float) -> Steps[Lease | None]:
        """The lease, to last ``ttl`` from now; ``None`` if it was voided."""
        ...

    def fill(self, lease: Lease, value: bytes, *, ttl: float) -> Steps[bool]:
        """Store ``value`` for ``ttl`` if the lease is in place; whether it was.

        It is an entry; under a ``refresh`` lease also one of the kind ``R``, with the word ``COOLING``.
        """
        ...

    def release(self, lease: Lease, *, mark: bytes = b"", ttl: float = 0.0) -> Steps[None]:
        """Give the lease back, if it is in place: put ``mark`` there for ``ttl``, or nothing.

        Of a ``refresh`` lease the entry stays, as it was.
        """
        ...

    def drop(self, keys: Sequence[str]) -> Steps[None]:
        """Remove results and void leases."""
        ...

    def drop_tags(self, tags: Sequence[str]) -> Steps[None]:
        """Make a miss of every result that carries one of ``tags``; writers' marks stay in place."""
        ...

    def mark(self, tags: Sequence[str], writer: bytes, *, ttl: float) -> Steps[None]:
        """``writer`` (8 random bytes) is about to commit changes of ``tags``: dirty, for ``ttl`` at most."""
        ...

    def bump(self, tags: Sequence[str], writer: bytes, *, position: str | None = None) -> Steps[None]:
        """``writer`` is done: what nobody else is changing has a new version.

        With ``position`` only if nobody else has marked or dropped it meanwhile: the last here may have
        committed first.
        """
        ...

    def renew_generation(self, *, older_than: float | None = None) -> Steps[None]:
        """Drop everything; with ``older_than``, only if that was not done within so many seconds."""
        ...

    def ping(self) -> Steps[None]:
        """Nothing, if the server answers."""
        ...

    def close(self) -> Any:
        """Release connections: a value or an awaitable of it."""


@runtime_checkable
class HasServers(Protocol):
    """Entries that are kept on several servers, of which one may be away while the others answer."""

    def elsewhere(self, lookup: Lookup) -> Collection[str]:
        """The servers that have no part in ``lookup``, as :attr:`scalekit.errors.BackendError.backend` names
        them, as far as that is known here. Asks nobody."""
        ...


@runtime_checkable
class Backend(Protocol):
    """Where results are kept. ``local`` says that it is this process's memory."""

    local: bool

    def using(self, colour: Colour) -> Entries:
        """The back end in one colour; raises ``WrongColour`` if its client has the other one."""
        ...


def elsewhere(entries: object, lookup: Lookup) -> Collection[str]:
    """See :class:`HasServers`: of those that have one server, none."""
    return entries.elsewhere(lookup) if isinstance(entries, HasServers) else ()


def immediate(function: Callable[P, T]) -> Callable[P, Steps[T]]:
    """A plain function as a step generator that yields nothing."""

    @wraps(function)
    def steps(*args: P.args, **kwargs: P.kwargs) -> Steps[T]:
        yield from ()  # makes this a generator
        return function(*args, **kwargs)

    return steps
