"""One computation a key and place: the first caller who misses computes, the others wait for it.

A place is an event loop, or all the threads of this process together. Rules:

* The leader computes in its own task or thread, with its own arguments: a database session is never used
  by anybody but its owner. Or it waits for the process that has the lease, for all who wait here.
* A result is *shared* with a caller if nothing was invalidated between the function's beginning and the call.
  A call made before the function began may always share. One made later shares if what it found in the back
  end shows the leader's lease and versions; if it shows others, it starts another flight. Where the back end
  cannot tell (it is away, or refuses the lease), the call *follows*: it waits for the flight to end, and
  takes part in the next one, which begins after it. So one runs at a time, and nobody gets an old result.
* A waiter that is cancelled leaves; nobody notices. A leader that is cancelled *abandons* the flight: one of
  those who wait becomes the next leader. A leader whose result must not be shared *releases* them: each
  computes for itself, at the same time, or they would queue for what none of them may give to the next.
* An exception of the query reaches everyone who shares, also one that only the leader's session has caused.
* A flight may be *detached*: who is in it stays, who comes later starts another.
* A leader that asks for its own key again computes, or it would wait for itself.
"""

import asyncio
import concurrent.futures
import threading
import time
from abc import ABC, abstractmethod
from enum import Enum
from typing import Any, Protocol

from scalekit._forks import renew_in_children
from scalekit.cache.backend import Lease
from scalekit.cache.entry import Found, token_of, versions
from scalekit.cache.versions import version_of

ABANDONED = object()
LATE = object()
RELEASED = object()


class Part(Enum):
    """What a caller does in a flight."""

    LEAD = "compute, and share it"
    SHARE = "wait for the result"
    FOLLOW = "wait for the end, and ask again"


class Flight:
    """One computation under way.

    ``found`` is what its leader found in the back end (``None``: it could not be asked), ``lease`` the lease
    it took then, or found taken; ``begun`` the moment after that, when the function begins to run. What
    another process computes is read from the back end at the end of the flight: the same rules hold for it.
    ``wanted`` is when the last call was made that is in it; ``decoded`` the result that the first of those
    who share has made of the payload, and by which codec.
    """

    __slots__ = ("begun", "decoded", "found", "future", "lease", "owner", "place", "tags", "wanted")

    def __init__(
        self, place: Any, owner: Any, future: Any, tags: tuple[str, ...], found: Found | None
    ) -> None:
        self.place, self.owner, self.future, self.tags, self.found = place, owner, future, tags, found
        self.lease: Lease | None = None
        self.begun: float | None = None
        self.wanted = 0.0
        self.decoded: tuple[object, Any] | None = None

    def begin(self, lease: Lease | None) -> None:
        self.lease, self.begun = lease, time.monotonic()

    def part(self, found: Found | None, called: float) -> Part:
        """Of a call made at ``called`` that found ``found``; ``LEAD`` means another flight than this."""
        if self.begun is None:
            if self.found is None:  # there will be no lease; the function is about to begin
                return Part.SHARE
            # The lease is still to come, under these versions; those that were missing will be read again. If
            # a result of another process comes in its place, the flight is abandoned.
            if found is None:
                return Part.FOLLOW
            both = zip(map(version_of, self.found.tags), map(version_of, found.tags), strict=True)
            return Part.SHARE if all(seen is None or seen == now for seen, now in both) else Part.LEAD
        if called <= self.begun:
            return Part.SHARE
        if self.lease is None or found is None:
            return Part.FOLLOW
        same = token_of(found.value) == self.lease.token and versions(found.tags) == self.lease.versions
        return Part.SHARE if same else Part.LEAD


class Flights(Protocol):
    """The computations under way in this process, in one colour."""

    def enter(
        self, key: str, tags: tuple[str, ...], found: Found | None, called: float
    ) -> tuple[Flight, Part]:
        """The flight for ``key``, and the caller's part in it.

        A flight under way that is too old for the caller is detached.
        """
        ...

    def is_mine(self, flight: Flight) -> bool:
        """Whether this task or thread leads it."""
        ...

    def take(self, flight: Flight) -> None:
        """This task or thread leads it from now on."""

    def wait(self, flight: Flight, within: float | None = None) -> Any:
        """The payload, ``ABANDONED``, ``RELEASED`` or the query's exception: a value or an awaitable.

        ``LATE`` if there is none of these ``within`` seconds.
        """

    def wait_end(self, flight: Flight, within: float | None = None) -> Any:
        """Nothing, when it has ended, however, or ``within`` seconds: a value or an awaitable of it."""

    def land(self, flight: Flight, outcome: object) -> None:
        """End it, if it has not; the others get ``outcome``."""

    def crash(self, flight: Flight, error: BaseException) -> None:
        """End it, if it has not; the others raise ``error``."""

    def detach(self, keys: set[str], tags: set[str]) -> None:
        """Let nobody join the flights for these keys, or with these tags, any more."""

    def detach_all(self) -> None:
        """Let nobody join what is under way now."""


class _Register(ABC):
    """The flights by place: the key, and for asyncio the loop."""

    def __init__(self) -> None:
        self.forked()
        renew_in_children(self)

    def forked(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[Any, Flight] = {}  # what threads of the parent compute never lands here

    def enter(
        self, key: str, tags: tuple[str, ...], found: Found | None, called: float
    ) -> tuple[Flight, Part]:
        place = self._place(key)
        with self._lock:  # of two threads that come at the same time one leads
            flight = self._flights.get(place)
            part = Part.LEAD if flight is None else flight.part(found, called)
            if flight is None or part is Part.LEAD:
                flight = self._flights[place] = self._new(place, tags, found)
            flight.wanted = max(flight.wanted, called)
            return flight, part

    @abstractmethod
    def _place(self, key: str) -> Any:
        """Where the calls of ``key`` that may share a flight meet."""

    @abstractmethod
    def _me(self) -> Any:
        """This task or thread."""

    def is_mine(self, flight: Flight) -> bool:
        return bool(flight.owner == self._me())

    def take(self, flight: Flight) -> None:
        flight.owner = self._me()

    @abstractmethod
    def _new(self, place: Any, tags: tuple[str, ...], found: Found | None) -> Flight:
        """A flight that nobody else knows yet."""

    def land(self, flight: Flight, outcome: object) -> None:
        self._remove(flight)
        if not flight.future.done():
            flight.future.set_result(outcome)

    def crash(self, flight: Flight, error: BaseException) -> None:
        self._remove(flight)
        if not flight.future.done():
            flight.future.set_exception(error)
            flight.future.exception()  # seen: it may be that nobody waits

    def _remove(self, flight: Flight) -> None:
        with self._lock:
            if self._flights.get(flight.place) is flight:
                del self._flights[flight.place]

    def detach(self, keys: set[str], tags: set[str]) -> None:
        with self._lock:
            for place, flight in list(self._flights.items()):
                if place[0] in keys or not tags.isdisjoint(flight.tags):
                    del self._flights[place]

    def detach_all(self) -> None:
        with self._lock:
            self._flights.clear()


class AsyncFlights(_Register):
    """Flights of tasks. Futures belong to an event loop, so each loop has its own flights."""

    def _place(self, key: str) -> Any:
        return key, asyncio.get_running_loop()

    def _me(self) -> Any:
        return asyncio.current_task()

    def _new(self, place: Any, tags: tuple[str, ...], found: Found | None) -> Flight:
        return Flight(place, self._me(), place[1].create_future(), tags, found)

    def wait(self, flight: Flight, within: float | None = None) -> Any:
        # Shielded: a future that is awaited by many would be cancelled for all by the first of them.
        return asyncio.shield(flight.future) if within is None else self._wait(flight, within)

    async def _wait(self, flight: Flight, within: float) -> Any:
        await self.wait_end(flight, within)
        return flight.future.result() if flight.future.done() else LATE

    def wait_end(self, flight: Flight, within: float | None = None) -> Any:
        return asyncio.wait([flight.future], timeout=within)


class SyncFlights(_Register):
    """Flights of threads."""

    def _place(self, key: str) -> Any:
        return (key,)

    def _me(self) -> Any:
        return threading.get_ident()

    def _new(self, place: Any, tags: tuple[str, ...], found: Found | None) -> Flight:
        return Flight(place, self._me(), concurrent.futures.Future[object](), tags, found)

    def wait(self, flight: Flight, within: float | None = None) -> Any:
        self.wait_end(flight, within)
        return flight.future.result() if flight.future.done() else LATE

    def wait_end(self, flight: Flight, within: float | None = None) -> Any:
        concurrent.futures.wait([flight.future], timeout=within)
