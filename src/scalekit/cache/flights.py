"""One computation a key and process: the first caller who misses computes, the others wait for it.

Rules:

* The leader computes in its own task or thread, with its own arguments: a database session is never used
  by anybody but its owner.
* A waiter that is cancelled leaves; nobody notices. A leader that is cancelled, or whose result must not be
  shared, *abandons* the flight: one of those who wait becomes the next leader.
* An exception of the query reaches everyone who waits.
* A flight may be *detached*: who is in it stays, who comes later starts another.
* A leader that asks for its own key again computes, or it would wait for itself.
"""

import asyncio
import concurrent.futures
import threading
import time
from abc import ABC, abstractmethod
from typing import Any, Protocol

from scalekit.cache.backend import Lease, Miss

ABANDONED = object()


class Flight:
    """One computation under way.

    ``found`` is what its leader found in the back end (``None``: it could not be asked), ``lease`` the lease
    it took then; ``begun`` the moment after that, when the function begins to run.
    """

    __slots__ = ("begun", "found", "future", "lease", "owner", "place", "tags")

    def __init__(
        self, place: Any, owner: Any, future: Any, tags: tuple[str, ...], found: Miss | None
    ) -> None:
        self.place, self.owner, self.future, self.tags, self.found = place, owner, future, tags, found
        self.lease: Lease | None = None
        self.begun: float | None = None

    def begin(self, lease: Lease | None) -> None:
        self.lease, self.begun = lease, time.monotonic()

    def may_join(self, found: Miss | None, since: float) -> bool | None:
        """Whether who asked at ``since`` and found ``found`` can take its result.

        They can if nothing was invalidated since it began. ``None``: what was found is too old to tell.
        """
        if found is None:
            # The back end is away: only this process can invalidate now, and that detaches flights.
            return True
        if self.begun is not None:
            if self.lease is not None and self.lease.admits(found):
                return True
            return None if since <= self.begun else False
        # The lease is still to come, and so is the query. Versions that were missing will be read again.
        return self.found is not None and all(
            seen is None or seen == now for seen, now in zip(self.found.versions, found.versions, strict=True)
        )


class Flights(Protocol):
    """The computations under way in this process, in one colour."""

    def enter(
        self, key: str, tags: tuple[str, ...], found: Miss | None, since: float
    ) -> tuple[Flight, bool] | None:
        """The flight to wait for, or one that the caller leads (``True``); ``None``: ask the back end again.

        A flight under way that cannot be joined is detached.
        """
        ...

    def is_mine(self, flight: Flight) -> bool:
        """Whether this task or thread leads it."""
        ...

    def wait(self, flight: Flight) -> Any:
        """The payload, or ``ABANDONED``, or the query's exception: a value or an awaitable of it."""

    def land(self, flight: Flight, outcome: object) -> None:
        """End it; the others get ``outcome``."""

    def crash(self, flight: Flight, error: Exception) -> None:
        """End it; the others raise ``error``."""

    def detach(self, keys: set[str], tags: set[str]) -> None:
        """Let nobody join the flights for these keys, or with these tags, any more."""


class _Register(ABC):
    """The flights by place: the key, and for asyncio the loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Any, Flight] = {}

    def enter(
        self, key: str, tags: tuple[str, ...], found: Miss | None, since: float
    ) -> tuple[Flight, bool] | None:
        place = self._place(key)
        with self._lock:  # of two threads that come at the same time one leads
            flight = self._flights.get(place)
            if flight is not None:
                joins = flight.may_join(found, since)
                if joins is not False:
                    return (flight, False) if joins else None
            flight = self._flights[place] = self._new(place, tags, found)
            return flight, True

    @abstractmethod
    def _place(self, key: str) -> Any:
        """Where the calls of ``key`` that may share a flight meet."""

    @abstractmethod
    def _new(self, place: Any, tags: tuple[str, ...], found: Miss | None) -> Flight:
        """A flight that nobody else knows yet."""

    def _remove(self, flight: Flight) -> None:
        with self._lock:
            if self._flights.get(flight.place) is flight:
                del self._flights[flight.place]

    def detach(self, keys: set[str], tags: set[str]) -> None:
        with self._lock:
            for place, flight in list(self._flights.items()):
                if place[0] in keys or not tags.isdisjoint(flight.tags):
                    del self._flights[place]


class AsyncFlights(_Register):
    """Flights of tasks. Futures belong to an event loop, so each loop has its own flights."""

    def _place(self, key: str) -> Any:
        return key, asyncio.get_running_loop()

    def _new(self, place: Any, tags: tuple[str, ...], found: Miss | None) -> Flight:
        return Flight(place, asyncio.current_task(), place[1].create_future(), tags, found)

    def is_mine(self, flight: Flight) -> bool:
        return flight.owner is asyncio.current_task()

    def wait(self, flight: Flight) -> Any:
        # Shielded: a future that is awaited by many would be cancelled for all by the first of them.
        return asyncio.shield(flight.future)

    def land(self, flight: Flight, outcome: object) -> None:
        self._remove(flight)
        if not flight.future.done():
            flight.future.set_result(outcome)

    def crash(self, flight: Flight, error: Exception) -> None:
        self._remove(flight)
        if not flight.future.done():
            flight.future.set_exception(error)
            flight.future.exception()  # seen: it may be that nobody waits


class SyncFlights(_Register):
    """Flights of threads."""

    def _place(self, key: str) -> Any:
        return (key,)

    def _new(self, place: Any, tags: tuple[str, ...], found: Miss | None) -> Flight:
        return Flight(place, threading.get_ident(), concurrent.futures.Future[object](), tags, found)

    def is_mine(self, flight: Flight) -> bool:
        return bool(flight.owner == threading.get_ident())

    def wait(self, flight: Flight) -> Any:
        return flight.future.result()

    def land(self, flight: Flight, outcome: object) -> None:
        self._remove(flight)
        flight.future.set_result(outcome)

    def crash(self, flight: Flight, error: Exception) -> None:
        self._remove(flight)
        flight.future.set_exception(error)
