"""One algorithm, two colours: `run` and `run_async` treat a generator alike."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from scalekit._steps import Steps, run, run_async
from scalekit.errors import WrongColour


def sync_client(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


async def async_client(answer: Any) -> Any:
    await asyncio.sleep(0)
    return sync_client(answer)


def drive(colour: str, steps: Callable[[Callable[[Any], Any]], Steps[Any]]) -> Any:
    if colour == "sync":
        return run(steps(sync_client))
    return asyncio.run(run_async(steps(async_client)))


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_values_travel(colour: str) -> None:
    """A step receives what its client answered, and the result is what the generator returns."""

    def steps(client: Callable[[Any], Any]) -> Steps[list[Any]]:
        first = yield client(1)
        second = yield client(None)
        return [first, second]

    assert drive(colour, steps) == [1, None]


def test_a_value_of_any_attribute_travels(colour: str) -> None:
    """A dict that is read by attributes, say, as a cached function may return one, is nothing to wait for."""

    class Anything:
        def __getattr__(self, name: str) -> "Anything":
            return self

    value = Anything()

    def steps(client: Callable[[Any], Any]) -> Steps[Any]:
        return (yield client(value))

    assert drive(colour, steps) is value


def test_no_step_at_all(colour: str) -> None:
    """A generator that needs no client returns at once."""

    def steps(client: Callable[[Any], Any]) -> Steps[str]:
        return "done"
        yield

    assert drive(colour, steps) == "done"


def test_nested_steps(colour: str) -> None:
    """Steps are made of steps."""

    def inner(client: Callable[[Any], Any]) -> Steps[int]:
        return (yield client(2)) * 2

    def steps(client: Callable[[Any], Any]) -> Steps[int]:
        return (yield from inner(client)) + (yield from inner(client))

    assert drive(colour, steps) == 8


def test_errors_are_caught_where_they_happen(colour: str) -> None:
    """An error of the client is raised at its step, where `except` and `finally` see it."""
    seen: list[str] = []

    def steps(client: Callable[[Any], Any]) -> Steps[str]:
        try:
            yield client(ValueError("no"))
        except ValueError as error:
            seen.append(str(error))
        finally:
            seen.append("finally")
        return (yield client("went on"))

    assert drive(colour, steps) == "went on"
    assert seen == ["no", "finally"]


def test_an_error_that_ends_the_steps_returns_nothing_else(colour: str) -> None:
    """An error that nobody catches reaches the caller, after `finally`; one that is caught can end them."""
    seen: list[str] = []

    def failing(client: Callable[[Any], Any]) -> Steps[None]:
        try:
            yield client(ValueError("no"))
        finally:
            seen.append("finally")

    def recovering(client: Callable[[Any], Any]) -> Steps[str]:
        try:
            yield client(ValueError("no"))
        except ValueError:
            return "recovered"
        return "unreachable"

    with pytest.raises(ValueError, match="no"):
        drive(colour, failing)
    assert seen == ["finally"]
    assert drive(colour, recovering) == "recovered"


def test_plain_values_are_answers_in_async_code() -> None:
    """A store in process memory answers at once; `run_async` takes the value as it is."""

    def steps() -> Steps[int]:
        return (yield 1) + (yield 2)

    assert asyncio.run(run_async(steps())) == 3


def test_an_awaitable_in_sync_code_is_the_wrong_colour() -> None:
    """`run` names the mistake, leaves no coroutine behind, and lets `finally` run."""
    seen: list[str] = []
    coroutine = async_client(1)

    def steps() -> Steps[None]:
        try:
            yield coroutine
        finally:
            seen.append("finally")

    with pytest.raises(WrongColour) as caught:
        run(steps())
    assert (caught.value.found, caught.value.wanted) == ("async", "sync")
    assert seen == ["finally"]
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


async def test_cancellation_reaches_the_step() -> None:
    """A task that is cancelled runs the `finally` of the step it waits in."""
    seen: list[str] = []
    waiting = asyncio.Event()

    async def forever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def steps() -> Steps[None]:
        try:
            yield forever()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        finally:
            seen.append("finally")

    task = asyncio.create_task(run_async(steps()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled", "finally"]


async def test_steps_may_wait_after_a_cancellation() -> None:
    """What a `finally` yields is awaited too, as in a coroutine."""
    seen: list[str] = []
    waiting = asyncio.Event()

    async def forever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def clean_up() -> None:
        await asyncio.sleep(0)
        seen.append("cleaned")

    def steps() -> Steps[None]:
        try:
            yield forever()
        finally:
            yield clean_up()

    task = asyncio.create_task(run_async(steps()))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cleaned"]


def test_any_awaitable_will_do() -> None:
    """A step may yield whatever can be awaited, not only coroutines."""

    class Answer:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return 7

    def steps() -> Steps[int]:
        answer: Awaitable[int] = Answer()
        return (yield answer)

    assert asyncio.run(run_async(steps())) == 7
