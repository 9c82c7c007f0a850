"""Computations that no caller does: refreshes in the background, and those that a caller may leave behind.

Rules:

* Each leads a flight like any other computation, so there is one a key and process, and whoever needs the
  result joins it; and it computes under a lease, so there is one across processes.
* It runs in a task or thread of its own, and with a session of its own (:mod:`scalekit.cache.afresh`): a
  computation in its caller's session could not be left behind. So it is decided before it begins, not when a
  time-out is over.
* An error is told to those who wait. One that a result at hand hides is logged, by its type and its place and
  not by its message, which may show the arguments: once a ``throttle`` for each function.
"""

import logging
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from scalekit._steps import Steps
from scalekit.cache.afresh import Afresh, Opened
from scalekit.cache.apart import Apart, places
from scalekit.cache.entry import Hit
from scalekit.cache.flights import ABANDONED, Flight, Part
from scalekit.cache.freshness import Cooling
from scalekit.cache.leading import Lead
from scalekit.cache.query import Asked, Call, Query
from scalekit.errors import ScalekitError
from scalekit.types import Colour

if TYPE_CHECKING:
    from scalekit.cache._core import Core

log = logging.getLogger("scalekit.cache")

CLOSE_WITHIN = 5.0
"""Seconds that closing waits for what is under way."""


class Refreshes:
    """Those of one cache.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, core: "Core", clock: Callable[[], float]) -> None:
        self._core, self._clock = core, clock
        self._places: dict[Colour, Apart] = places()
        self.forget()

    def forget(self) -> None:
        """Let what has failed be tried again."""
        self._told = Cooling(self._clock)
        self.cooling = Cooling(self._clock)

    def start(self, query: Query, call: Call, asked: Asked, hit: Hit) -> None:
        """Have ``hit`` computed anew in the background, if nobody here does."""
        if query.afresh is None:
            return
        flight, part = query.via.runtime.flights.enter(call.key, call.tags, asked.found, time.monotonic())
        if part is Part.LEAD:
            self.lead(query, call, flight, asked, hit, optional=True)

    def lead(
        self,
        query: Query,
        call: Call,
        flight: Flight,
        asked: Asked,
        replaces: Hit | None,
        *,
        optional: bool = False,
    ) -> None:
        """Have a flight led apart from everybody who waits for it."""
        assert query.afresh is not None
        flight.owner = None  # until somebody takes it: not who has asked for it, and who may ask again
        flights, opened = query.via.runtime.flights, query.afresh.open(call.arguments)
        own = replace(call, run=opened.run, left_out=opened.own)
        limit = query.patience.hard_timeout if query.leaves_behind else None

        def steps() -> Steps[None]:
            if limit is not None and time.monotonic() > flight.wanted + limit:
                return  # all threads were busy, and whoever has asked for it has gone
            flights.take(flight)
            leading = Lead(self._core, query, own, flight, replaces, apart=True).steps(asked)
            yield from self._run(query, opened, leading, hidden=replaces is not None)

        def ended() -> None:
            flights.land(flight, ABANDONED)  # if nothing else was its end: others wait

        started = False
        try:
            started = self._place(query.afresh).start(
                steps, name=f"compute {query.name}", optional=optional, ended=ended
            )
        finally:
            if not started:
                ended()
        if started and optional:
            self._core.count("refreshes")

    def alone(self, query: Query, call: Call) -> "Future[Any]":
        """Run the function for one caller, in a thread that it may leave. It is not run once cancelled."""
        assert query.afresh is not None
        opened, future = query.afresh.open(call.arguments), Future[Any]()

        def compute() -> Steps[None]:
            if not future.set_running_or_notify_cancel():
                return
            self._core.count("computes")
            try:
                future.set_result((yield opened.run()))
            except BaseException as error:
                future.set_exception(error)
                raise

        self._place(query.afresh).start(
            lambda: self._run(query, opened, compute(), hidden=False), name=f"run {query.name}"
        )
        return future

    def tell(self, query: Query, error: Exception) -> None:
        """Log a failure that no caller sees."""
        if self._told.is_over(query.name):
            self._told.failed(query.name, query.patience.throttle)
            where = traceback.extract_tb(error.__traceback__)
            log.warning(
                "%s could not be computed anew: %s at %s",
                query.name,
                f"{type(error).__name__}: {error}"
                if isinstance(error, ScalekitError)
                else type(error).__name__,
                f"{where[-1].filename}:{where[-1].lineno}" if where else "an unknown place",
            )

    def close(self, colour: Colour) -> Any:
        """End what is under way in one colour: nothing, or an awaitable of it."""
        return self._places[colour].close(within=CLOSE_WITHIN)

    def _run(self, query: Query, opened: Opened, steps: Steps[Any], *, hidden: bool) -> Steps[None]:
        """Drive ``steps``, with a session that ends after them. Raises nothing but what ends the task.

        Their errors are logged if they are ``hidden`` from everybody else.
        """
        failed: BaseException | None = None
        try:
            yield from steps
        except Exception as error:  # noqa: BLE001  told to those who wait
            failed = error
            if hidden:
                self.tell(query, error)
        except BaseException as error:
            yield opened.close(error)
            raise
        try:
            yield opened.close(failed)
        except Exception as error:  # noqa: BLE001  nobody else hears of it
            if error is not failed:
                self.tell(query, error)

    def _place(self, afresh: Afresh) -> Apart:
        return self._places[afresh.colour]
