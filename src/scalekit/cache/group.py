"""Many fetches at once, in one task or thread: what they ask goes together, and the function runs once.

Each member is :meth:`Core.fetch` of one key, so all that holds for one call holds for each of them. It is
given a back end and a runtime that do nothing themselves, and say what they were asked for; the group does
that for all of its members. Rules:

* What members ask the back end at the same time goes in one trip, if the back end has a way for it
  (``together``); their lookups in any case.
* When nobody has anything left to ask, the function runs once, for all members that are to compute. Only then
  does anybody wait for other processes and tasks: two groups that wait for each other have both computed.
* Members go on in the reverse order in which they began to compute. Each has put a context around its run,
  and these are nested.
* A member that fails takes nobody along; the first error is raised when all have ended.
"""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from scalekit._steps import Steps, run_async
from scalekit.cache.backend import Lookup, elsewhere
from scalekit.cache.query import Query, Via

_Asked = Callable[[Any], Steps[Any]]
"""Asks the entries that it is given."""

_AT_ONCE = 1000
"""Members whose lookups are one question: a longer one would keep the server's other clients waiting."""

_LATE = 0.2
"""The part of a pause by which it may be longer, so that several end together."""


class Run(NamedTuple):
    """To be computed: what ``Call.run`` gives."""

    item: Any


class _Read(NamedTuple):
    lookups: Sequence[Lookup]


class _Ask(NamedTuple):
    asked: "_Asked"


class _Pause(NamedTuple):
    seconds: float
    until: float


class _Wait(NamedTuple):
    flight: Any
    for_result: bool


_OURS = (Run, _Read, _Ask, _Pause, _Wait)


class _Member:
    def __init__(self, steps: Steps[Any]) -> None:
        self.steps = steps
        self.step: Any = None  # what it asks for
        self.ended = False
        self.result: Any = None
        self.error: Exception | None = None


class Group:
    """See the module.

    Args:
        query: of all members.
        compute: the results of several items, by item.
        missing: the result of an item that is not among these.
        is_async: the colour.
    """

    def __init__(
        self,
        query: Query,
        *,
        compute: Callable[[list[Any]], Steps[dict[Any, Any]]],
        missing: Any,
        is_async: bool,
    ) -> None:
        self.real = query.via
        via = Via(cast(Any, _Entries(self)), cast(Any, _Runtime(self)), distant=False)
        self.query = replace(query, via=via)
        self._compute, self._missing, self._is_async = compute, missing, is_async
        self._thread: int | None = None

    @property
    def asks(self) -> bool:
        """Whether it is a member that asks now, and not what it has begun in the background."""
        return self._thread == threading.get_ident()

    def results(self, fetches: Sequence[Steps[Any]]) -> Steps[list[Any]]:
        """What each of the fetches returns. Each is of :attr:`query`."""
        members = [_Member(steps) for steps in fetches]
        try:
            for member in members:
                self._go_on(member)
            while waiting := [member for member in members if not member.ended]:
                yield from self._serve(waiting)
        except BaseException:  # cancelled, interrupted: so is every member
            for member in reversed(members):
                member.steps.close()
            raise
        for member in members:
            if member.error is not None:
                raise member.error
        return [member.result for member in members]

    def _go_on(self, member: _Member, value: Any = None, *, error: Exception | None = None) -> None:
        self._thread = threading.get_ident()
        try:
            member.step = member.steps.send(value) if error is None else member.steps.throw(error)
        except StopIteration as end:
            member.ended, member.result = True, end.value
        except Exception as failure:  # noqa: BLE001  # it is raised when the others have ended
            member.ended, member.error = True, failure
        finally:
            self._thread = None

    def _serve(self, members: list[_Member]) -> Steps[None]:
        """Do what some of them ask for, so that they go on."""
        others = [member for member in members if not isinstance(member.step, _OURS)]
        for member in others:
            try:
                value = yield member.step
            except Exception as error:  # noqa: BLE001  # the member's
                self._go_on(member, error=error)
            else:
                self._go_on(member, value)
        if others:
            return
        asking = [member for member in members if isinstance(member.step, _Read | _Ask)]
        if asking:
            yield from self._ask(asking)
            return
        computing = [member for member in members if isinstance(member.step, Run)]
        if computing:
            yield from self._run(computing)
        else:
            yield from self._wait(members)

    def _ask(self, members: list[_Member]) -> Steps[None]:
        readers = [member for member in members if isinstance(member.step, _Read)]
        others = [member for member in members if isinstance(member.step, _Ask)]
        asked: list[_Asked] = [member.step.asked for member in others]
        portions = [readers[first : first + _AT_ONCE] for first in range(0, len(readers), _AT_ONCE)]
        asked += [_reading([member.step for member in portion]) for portion in portions]
        answers = yield from self._together(asked)
        for portion, found in zip(portions, answers[len(others) :], strict=True):
            start = 0
            for member in portion:
                if isinstance(found, Exception):
                    self._go_on(member, error=found)
                else:
                    end = start + len(member.step.lookups)
                    self._go_on(member, found[start:end])
                    start = end
        for member, answer in zip(others, answers, strict=False):
            if isinstance(answer, Exception):
                self._go_on(member, error=answer)
            else:
                self._go_on(member, answer)

    def _together(self, asked: list[_Asked]) -> Steps[list[Any]]:
        """The answers; of one that failed, its error."""
        entries = self.real.entries
        together = getattr(entries, "together", None)
        if together is not None and len(asked) > 1:
            return (yield from together(asked))  # type: ignore[no-any-return]
        if self._is_async and len(asked) > 1:
            steps = [run_async(ask(entries)) for ask in asked]
            return (yield asyncio.gather(*steps, return_exceptions=True))  # type: ignore[no-any-return]
        answers: list[Any] = []
        for ask in asked:
            try:
                answers.append((yield from ask(entries)))
            except Exception as error:  # noqa: BLE001  # whoever asked gets it
                answers.append(error)
        return answers

    def _run(self, members: list[_Member]) -> Steps[None]:
        try:
            computed = yield from self._compute([member.step.item for member in members])
        except Exception as error:  # noqa: BLE001  # each of them raises it
            for member in reversed(members):
                self._go_on(member, error=error)
        else:
            for member in reversed(members):
                self._go_on(member, computed.get(member.step.item, self._missing))

    def _wait(self, members: list[_Member]) -> Steps[None]:
        """Until one of them has waited long enough."""
        futures = {member.step.flight.future for member in members if isinstance(member.step, _Wait)}
        ends = [m.step.until + _LATE * m.step.seconds for m in members if isinstance(m.step, _Pause)]
        limit = max(0.0, min(ends) - time.monotonic()) if ends else None
        if not futures:
            yield self.real.runtime.pause(limit or 0.0)
        elif self._is_async:
            yield asyncio.wait(futures, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        else:
            concurrent.futures.wait(futures, timeout=limit, return_when=concurrent.futures.FIRST_COMPLETED)
        now = time.monotonic()
        for member in members:
            step = member.step
            if isinstance(step, _Pause):
                if step.until <= now:
                    self._go_on(member)
            elif step.flight.future.done():
                error = step.flight.future.exception() if step.for_result else None
                if error is None:
                    self._go_on(member, step.flight.future.result() if step.for_result else None)
                else:
                    self._go_on(member, error=error)


def _reading(steps: list[_Read]) -> _Asked:
    lookups = [lookup for step in steps for lookup in step.lookups]
    return lambda entries: entries.read(lookups)


class _Entries:
    """A back end that leaves everything to the group, as long as it is a member that asks."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.limit = group.real.entries.limit

    def read(self, lookups: Sequence[Lookup]) -> Steps[Any]:
        if self._group.asks:
            return (yield _Read(lookups))
        return (yield from self._group.real.entries.read(lookups))

    def elsewhere(self, lookup: Lookup) -> Collection[str]:
        return elsewhere(self._group.real.entries, lookup)

    def __getattr__(self, name: str) -> Callable[..., Steps[Any]]:
        def ask(entries: Any, args: Any, kwargs: Any) -> Steps[Any]:
            return getattr(entries, name)(*args, **kwargs)  # type: ignore[no-any-return]

        def steps(*args: Any, **kwargs: Any) -> Steps[Any]:
            if self._group.asks:
                return (yield _Ask(lambda entries: ask(entries, args, kwargs)))
            return (yield from ask(self._group.real.entries, args, kwargs))

        return steps


class _Flights:
    """The flights of this process, where the group does the waiting."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._flights = group.real.runtime.flights

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flights, name)

    # No query of a group has a time-out.
    def wait(self, flight: Any, within: float | None = None) -> Any:
        return _Wait(flight, for_result=True) if self._group.asks else self._flights.wait(flight, within)

    def wait_end(self, flight: Any, within: float | None = None) -> Any:
        return _Wait(flight, for_result=False) if self._group.asks else self._flights.wait_end(flight, within)


class _Runtime:
    """The runtime, where the group does the waiting."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self.flights = _Flights(group)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._group.real.runtime, name)

    def pause(self, seconds: float) -> Any:
        if self._group.asks:
            return _Pause(seconds, time.monotonic() + seconds)
        return self._group.real.runtime.pause(seconds)
