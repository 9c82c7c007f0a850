"""Many fetches at once: who waits for what, and what goes together."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from scalekit._steps import Steps, run, run_async
from scalekit.cache.backend import Lookup
from scalekit.cache.codecs import codec_of
from scalekit.cache.flights import Flight
from scalekit.cache.group import Group, Run
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.options import Life
from scalekit.cache.query import Query, Via
from scalekit.cache.runtime import runtimes

KINDS = ["async", "sync"]


class Entries(MemoryBackend):
    """A back end that one test asks something else."""

    meet: Any = None

    def ping(self) -> Steps[Any]:
        return (yield self.meet())


def group(kind: str) -> Group:
    def compute(items: list[Any]) -> Steps[dict[Any, Any]]:
        computed.append(items)
        yield None
        return {item: item for item in items if item != "missing"}

    computed: list[list[Any]] = []
    via = Via(Entries(), runtimes()[kind])  # type: ignore[index]
    query = Query(name="q", via=via, codec=codec_of(int, name="q"), life=Life(60))
    made = Group(query, compute=compute, missing=None, is_async=kind == "async")
    made.computed = computed  # type: ignore[attr-defined]
    return made


def results(kind: str, made: Group, *members: Callable[[Any], Steps[Any]]) -> list[Any]:
    """What the members return; each is given the group's way to the back end."""

    async def main() -> list[Any]:
        return await run_async(made.results([member(made.query.via) for member in members]))

    if kind == "async":
        return asyncio.run(main())
    return run(made.results([member(made.query.via) for member in members]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_function_runs_when_nobody_has_anything_to_ask(kind: str) -> None:
    """26. Once for all who are to compute; they go on in the reverse order, as their contexts are nested."""
    order: list[int] = []

    def member(number: int) -> Callable[[Any], Steps[Any]]:
        def steps(via: Any) -> Steps[Any]:
            for _ in range(number):
                yield from via.entries.read([Lookup("k")])
            result = yield Run(number if number < 3 else "missing")
            order.append(number)
            return result

        return steps

    made = group(kind)
    assert results(kind, made, *map(member, range(4))) == [0, 1, 2, None]
    assert made.computed == [[0, 1, 2, "missing"]]  # type: ignore[attr-defined]
    assert order == [3, 2, 1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_pauses_are_as_long_as_they_were_to_be(kind: str) -> None:
    """4. Who waits for another process asks no more often because others ask, too."""
    ends: list[float] = []

    def member(seconds: float) -> Callable[[Any], Steps[Any]]:
        def steps(via: Any) -> Steps[Any]:
            began = time.monotonic()
            yield via.runtime.pause(seconds)
            ends.append(time.monotonic() - began - seconds)

        return steps

    results(kind, group(kind), member(0.001), member(0.05), member(0.001))
    assert min(ends) >= -1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_goes_on_with_the_first_that_ends(kind: str) -> None:
    """26. A pause or another one's computation: it may be what the others wait for."""
    flights: dict[str, Flight] = {}

    def begin(via: Any, name: str) -> Flight:
        flights[name], _ = via.runtime.flights.enter(name, (), None, 0.0)
        return flights[name]

    def pauses(via: Any) -> Steps[Any]:
        yield via.runtime.pause(0.001)
        via.runtime.flights.land(flights["one"], b"one")

    def waits(via: Any) -> Steps[Any]:
        outcome = yield via.runtime.flights.wait(begin(via, "one"))
        via.runtime.flights.crash(flights["two"], LookupError("two"))
        return outcome

    def fails(via: Any) -> Steps[Any]:
        flight = begin(via, "two")
        yield via.runtime.flights.wait_end(flight)  # however it ends
        try:
            yield via.runtime.flights.wait(flight)
        except LookupError as error:
            return str(error)

    assert results(kind, group(kind), fails, waits, pauses) == ["two", b"one", None]


def test_what_tasks_ask_is_asked_at_the_same_time() -> None:
    """26. Commands of an event loop's turn are one write; one after the other they would be many trips."""
    made = group("async")
    barriers: list[asyncio.Barrier] = []

    def together() -> Any:
        if not barriers:
            barriers.append(asyncio.Barrier(3))
        return asyncio.wait_for(barriers[0].wait(), 30)

    made.real.entries.meet = together  # type: ignore[attr-defined]
    assert sorted(results("async", made, *[lambda via: via.entries.ping()] * 3)) == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_on_in_the_background_is_no_member(kind: str) -> None:
    """26. It asks the back end and waits by itself, also while a member is at it."""
    made, seen = group(kind), []

    def member(via: Any) -> Steps[Any]:
        def background() -> None:
            seen.append(run(via.entries.read([Lookup("k")]))[0].value)
            if kind == "sync":
                seen.append(via.runtime.pause(0.0))

        thread = threading.Thread(target=background)
        thread.start()
        thread.join(20)
        yield from via.entries.read([Lookup("k")])

    results(kind, made, member)
    run(made.query.via.entries.read([Lookup("k")]))
    assert seen == ([None, None] if kind == "sync" else [None])


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_wait_for_themselves_take_one_turn(kind: str) -> None:
    """26. A thousand misses do not take a thousand turns over all of them."""

    def member(_: Any) -> Steps[Any]:
        return (yield 1)

    made, turns = group(kind), []
    serve = made._serve
    made._serve = lambda members: (turns.append(len(members)), serve(members))[1]  # type: ignore[method-assign]
    assert results(kind, made, *[member] * 50) == [1] * 50
    assert turns == [50]
