"""How long a request to S3 may make no progress. The clock is the test's own."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from scalekit.storage import KiB, MiB
from scalekit.storage._s3_target import Target
from scalekit.storage._source import Body
from scalekit.storage.profiles import AMAZON
from scalekit.storage.s3 import S3Storage
from tests.storage.helpers import stream
from tests.storage.stand_in import S3StandIn

STALL = 100_000.0


@pytest.fixture
async def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Any]:
    """Lets so many seconds pass for the event loop, and it do what is due then."""
    loop, passed = asyncio.get_running_loop(), 0.0
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + passed)

    async def later(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        for _ in range(3):
            await asyncio.sleep(0)

    return later


async def test_patience_begins_anew_with_each_chunk(pass_time: Callable[[float], Any]) -> None:
    """A body is given up stall_seconds after the last chunk that was taken, or a little later; never earlier.

    Also after a chunk that came so soon after another that no new deadline was set.
    """
    target = Target(
        client=None,
        profile=AMAZON,
        bucket="media",
        key="a.bin",
        name="a.bin",
        content_type="application/octet-stream",
        filename=None,
        overwrite=True,
        stall_seconds=STALL,
    )
    body, reached = Body(), list[str]()
    for _ in range(4):
        body.append(bytes(64 * KiB))

    async def call() -> None:
        chunks = aiter(body)
        for pause in (0.0, 0.04 * STALL, 0.99 * STALL):
            await pass_time(pause)
            await anext(chunks)
        await pass_time(0.99 * STALL)
        reached.append("just before")
        await pass_time(0.1 * STALL)
        reached.append("after")

    with pytest.raises(TimeoutError):
        await target.watched(body, call())
    assert reached == ["just before"]


async def test_few_timers(stand_in: S3StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of hundreds of chunks does not set a timer for each."""
    loop, timers = asyncio.get_running_loop(), list[float]()
    call_at = loop.call_at
    async with S3Storage("media", part_size=8 * MiB, **stand_in.client_kwargs) as storage:
        await storage.put("warm-up", b"", overwrite=True)

        def counted(when: float, *arguments: Any, **options: Any) -> asyncio.TimerHandle:
            timers.append(when)
            return call_at(when, *arguments, **options)

        monkeypatch.setattr(loop, "call_at", counted)
        await storage.put("a.bin", stream(8 * MiB, chunk=16 * KiB), overwrite=True)
    assert len(timers) < 128  # of 512 chunks
