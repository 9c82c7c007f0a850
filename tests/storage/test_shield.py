"""Steps that come to their end although their caller is cancelled, and that cannot hold it for ever."""

import asyncio
import gc
import threading
from pathlib import Path

import anyio
import pytest

from scalekit.storage import FileStorage, MiB
from scalekit.storage._shield import in_thread, settle
from scalekit.storage.forms import stream_form
from scalekit.storage.s3 import S3Storage
from tests.storage.forms import form, part, request
from tests.storage.helpers import PNG, eventually, stream
from tests.storage.stand_in import S3StandIn


async def test_the_step_ends_and_the_cancellation_goes_on() -> None:
    """4. However often the caller is cancelled, the step ends; then come its outcome and the cancellation."""
    go, started = asyncio.Event(), asyncio.Event()
    outcomes = []

    async def step() -> str:
        started.set()
        await go.wait()
        return "done"

    async def caller() -> None:
        outcome = await settle(step())
        outcomes.append(outcome.value)
        outcome.unwrap()

    task = asyncio.create_task(caller())
    await started.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert outcomes == ["done"]


async def test_a_step_that_does_not_end_is_cancelled() -> None:
    """4. A cancelled caller waits a bounded time; then the step is cancelled too, and both are gone."""
    started = asyncio.Event()
    cancelled = []

    async def step() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def caller() -> None:
        (await settle(step(), seconds=0.05)).unwrap()

    task = asyncio.create_task(caller())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled == [True]


async def test_cancel_scopes_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """4. A cancel scope of anyio cancels at every await; the step is waited for without a busy loop."""
    go, started = asyncio.Event(), asyncio.Event()
    waits = []
    real = asyncio.wait

    def counted(*arguments, **options):
        waits.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr("scalekit.storage._shield.asyncio.wait", counted)

    async def step() -> None:
        started.set()
        await go.wait()

    with anyio.CancelScope() as scope:

        async def cancel_and_let_go() -> None:
            await started.wait()
            scope.cancel()
            for _ in range(100):
                await asyncio.sleep(0)
            go.set()

        helper = asyncio.create_task(cancel_and_let_go())
        (await settle(step())).unwrap()
    await helper
    assert scope.cancelled_caught
    assert len(waits) <= 3


async def test_threads_are_waited_for() -> None:
    """4. A thread cannot be stopped, so a cancelled caller waits for what it does before it cleans up."""
    go, started = threading.Event(), threading.Event()
    done = []

    def work() -> None:
        started.set()
        go.wait()
        done.append(True)

    async def caller() -> None:
        try:
            (await in_thread(work)).unwrap()
        finally:
            done.append(False)

    task = asyncio.create_task(caller())
    await eventually(started.is_set)
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True, False]


async def test_an_abort_that_hangs_does_not(stand_in: S3StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """4. When S3 answers nothing any more, a cancelled upload gives up its abort in bounded time."""
    monkeypatch.setattr("scalekit.storage._s3_multipart.CLEAN_UP_SECONDS", 0.2)
    async with S3Storage("media", part_size=5 * MiB, **stand_in.client_kwargs) as storage:
        arrived = asyncio.Event()

        async def source():
            async for chunk in stream(6 * MiB):
                yield chunk
            arrived.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(storage.put("a.bin", source()))
        await arrived.wait()
        await eventually(lambda: "PUT uploadId" in stand_in.requests)
        stand_in.silent = True
        task.cancel()
        async with asyncio.timeout(30):
            with pytest.raises(asyncio.CancelledError):
                await task


@pytest.mark.parametrize("kind", ["file", "s3"])
async def test_under_a_cancel_scope(kind: str, stand_in: S3StandIn, tmp_path) -> None:
    """4. What cancels a request in Starlette's middleware leaves as little as a task's own cancel()."""
    s3 = S3Storage("media", part_size=5 * MiB, **stand_in.client_kwargs)
    body = form(part("a", PNG, filename="a.png"), part("b", PNG + bytes(9 * MiB), filename="b.png"))
    chunks = [body[start : start + MiB] for start in range(0, len(body) - MiB, MiB)]
    scope, take = request(chunks)
    with anyio.CancelScope() as cancelling:

        async def receive():
            message = await take()
            if not message["more_body"]:
                cancelling.cancel()
                await asyncio.Event().wait()
            return message

        async with s3, stream_form((scope, receive), FileStorage(tmp_path) if kind == "file" else s3):
            raise AssertionError("not reached")
    assert cancelling.cancelled_caught
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert (stand_in.objects, stand_in.uploads) == ({}, {})


async def test_worker_threads_end_with_their_loop(tmp_path: Path) -> None:
    """An event loop that has come to its end leaves no thread of ours behind."""

    def workers() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if each.name.startswith("scalekit-storage-worker")}

    before = workers()
    started: set[threading.Thread] = set()

    async def store() -> None:
        await FileStorage(tmp_path).put("a.txt", b"x")
        started.update(workers() - before)

    await asyncio.to_thread(asyncio.run, store())
    assert started

    def ended() -> bool:
        gc.collect()
        return not started & workers()

    await eventually(ended)
