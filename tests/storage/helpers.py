"""Sources that behave and misbehave, cancellation at every await, and the S3 server that a test runs on."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

import pytest

from scalekit.storage import MiB

T = TypeVar("T")

# A test that uses S3, be it through other fixtures, runs on LocalStack; with one of these on SeaweedFS, or on
# each of the two.
on_strict_s3 = pytest.mark.parametrize("which_s3", ["strict_s3_server"])
on_each_s3 = pytest.mark.parametrize("which_s3", ["s3_server", "strict_s3_server"])

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + bytes(range(256)) * 8


class SourceBroken(Exception):
    """What a failing source raises."""


async def chunks(*content: bytes) -> AsyncGenerator[bytes, None]:
    for chunk in content:
        yield chunk


async def stream(
    size: int, *, chunk: int = 64 * 1024, counted: list[int] | None = None
) -> AsyncGenerator[bytes, None]:
    """``size`` bytes; each chunk is noted in ``counted`` when it is taken."""
    block = (b"0123456789abcdef" * (chunk // 16 + 1))[:chunk]
    sent = 0
    while sent < size:
        piece = block[: size - sent]
        sent += len(piece)
        if counted is not None:
            counted.append(len(piece))
        yield piece


async def broken(size: int) -> AsyncGenerator[bytes, None]:
    async for chunk in stream(size, chunk=MiB):
        yield chunk
    raise SourceBroken


async def eventually(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20) -> None:
    """Wait until ``condition`` holds; fail after a generous deadline."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.01)


async def settled(value: Callable[[], T], *, looks: int = 25) -> T:
    """The value once it was the same so many times, a fiftieth of a second after each other."""
    last, same = value(), 0
    async with asyncio.timeout(60):
        while same < looks:  # looks, and not seconds: in one that a busy machine takes away nothing changes
            await asyncio.sleep(0.02)
            now = value()
            last, same = now, same + 1 if now == last else 0
    return last


class _CancelAt:
    """Drives a coroutine, and cancels its task at its ``number``-th suspension."""

    def __init__(self, step: Coroutine[Any, Any, object], number: int) -> None:
        self.step, self.number, self.count = step, number, 0

    def __await__(self) -> Generator[Any, Any, object]:
        inner = self.step.__await__()
        task = asyncio.current_task()
        assert task is not None
        send: Callable[[Any], Any] = inner.send
        value: Any = None
        while True:
            try:
                future = send(value)
            except StopIteration as done:
                return done.value
            self.count += 1
            if self.count == self.number:
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                value = yield future
                send = inner.send
            except BaseException as error:  # noqa: BLE001  it belongs to the coroutine, whatever it is
                send, value = inner.throw, error


async def cancel_everywhere(
    make: Callable[[], Coroutine[Any, Any, object]],
    check: Callable[[int], Awaitable[None]],
    *,
    most: int = 400,
) -> int:
    """Run ``make()`` again and again, cancelled at its first, second, ... await; ``check`` after each.

    Returns how many awaits there were. Ends when a run is no longer interrupted.
    """
    for number in range(1, most):

        async def run(number: int = number) -> object:
            return await _CancelAt(make(), number)

        task = asyncio.create_task(run())
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
            return number - 1
        await check(number)
    raise AssertionError(f"still interrupted at await number {most}")


async def cancel_every_turn(
    make: Callable[[], Coroutine[Any, Any, object]],
    check: Callable[[int], Awaitable[None]],
    *,
    most: int = 50_000_000,
) -> int:
    """Like :func:`cancel_everywhere`, but cancelled after the first, second, ... turn of the event loop.

    That meets the moments at which tasks inside are at work while the caller only waits for them.
    """
    number = 0
    while number < most:
        task = asyncio.create_task(make())
        for _ in range(number + 1):
            await asyncio.sleep(0)
        if task.done():
            task.result()
            return number
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled(), f"turn {number}: {task}"
        await check(number)
        # Every turn at first, then fewer and fewer: while a thread waits for a busy disk, the loop goes on.
        number += 1 + (number // 20 if number < 2000 else number // 2)
    raise AssertionError(f"still running at turn {most}")
