"""Checks that block, hang, raise and lie."""

import asyncio
import functools
import json
import logging
import threading
import time
from collections.abc import Callable

import pytest

from scalekit.ops import Check, Health
from scalekit.ops.checks import refresh, refresh_async


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def results(health: Health) -> dict[str, dict[str, object]]:
    checks: dict[str, dict[str, object]] = json.loads(health.report(time.monotonic()).body)["checks"]
    return checks


def fail() -> None:
    raise ConnectionError("redis://:hunter2@redis-1:6379")


async def test_every_kind_of_callable_on_a_loop() -> None:
    """Plain functions, coroutine functions, partials and functions that return awaitables all run."""

    async def coroutine(result: object = None) -> object:
        return result

    async def broken() -> None:
        raise ConnectionError

    health = Health(
        [
            Check("plain", lambda: None),
            Check("plain false", lambda: False),
            Check("plain raises", fail),
            Check("coroutine", coroutine),
            Check("partial", functools.partial(coroutine, 1)),
            Check("coroutine false", functools.partial(coroutine, False)),
            Check("awaitable", lambda: coroutine(True)),
            Check("coroutine raises", broken),
        ]
    )
    tasks: set[asyncio.Task[None]] = set()
    await refresh_async(health, tasks)
    await until(lambda: not tasks)
    assert {name: result.get("error") for name, result in results(health).items()} == {
        "plain": None,
        "plain false": "returned False",
        "plain raises": "ConnectionError",
        "coroutine": None,
        "partial": None,
        "coroutine false": "returned False",
        "awaitable": None,
        "coroutine raises": "ConnectionError",
    }


ODD = [StopIteration(), StopAsyncIteration(), SystemExit(1), GeneratorExit(), asyncio.CancelledError()]


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
async def test_whatever_a_check_raises_it_has_failed(error: BaseException) -> None:
    """Errors that are no ``Exception``, or that no future can carry, end neither the loop nor later runs."""
    errors = [error]

    def once() -> None:
        if errors:
            raise errors.pop()

    health = Health([Check("odd", once, ttl=0.001)])
    tasks: set[asyncio.Task[None]] = set()
    await refresh_async(health, tasks)
    await until(lambda: not tasks)
    assert results(health)["odd"]["error"] == type(error).__name__
    await asyncio.sleep(0.002)
    await refresh_async(health, tasks)
    await until(lambda: not tasks)
    assert results(health)["odd"]["ok"] is True
    errors.append(error)
    await asyncio.sleep(0.002)
    refresh(health)
    await until(lambda: results(health)["odd"].get("error") == type(error).__name__)


async def test_a_coroutine_that_exits_has_failed() -> None:
    """``SystemExit`` out of an asynchronous check does not end the server's event loop."""

    async def leave() -> None:
        raise SystemExit(1)

    health = Health([Check("leaves", leave)])
    tasks: set[asyncio.Task[None]] = set()
    await refresh_async(health, tasks)
    await until(lambda: not tasks)
    assert results(health)["leaves"]["error"] == "SystemExit"


def test_every_kind_of_callable_in_threads() -> None:
    """Without a loop plain functions run; one that answers with an awaitable fails, and says why."""

    async def coroutine() -> None: ...

    health = Health([Check("plain", lambda: None), Check("raises", fail), Check("coroutine", coroutine)])
    refresh(health)
    deadline = time.monotonic() + 30
    while any(result["ok"] is None for result in results(health).values()) and time.monotonic() < deadline:
        pass
    assert {name: result.get("error") for name, result in results(health).items()} == {
        "plain": None,
        "raises": "ConnectionError",
        "coroutine": "WrongColour",
    }


async def test_a_blocking_check_does_not_block_the_loop() -> None:
    """A plain function that blocks leaves the loop free, and runs once however many ask."""
    release, calls = threading.Event(), []

    def block() -> None:
        calls.append(1)
        assert release.wait(30)

    health, tasks = Health([Check("slow", block, timeout=60)]), set[asyncio.Task[None]]()
    first = asyncio.create_task(refresh_async(health, tasks))
    await until(lambda: bool(calls))
    for _ in range(50):
        await refresh_async(health, tasks)  # answered at once: a run is under way
    assert not first.done()
    release.set()
    await first
    await until(lambda: not tasks)
    assert calls == [1]
    assert results(health)["slow"]["ok"] is True


@pytest.mark.usefixtures("impatience")
async def test_a_hanging_coroutine_is_stopped_at_its_timeout() -> None:
    """A coroutine that hangs is cancelled at its timeout; the probe that started it did not wait for it."""
    cancelled = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    health, tasks = Health([Check("hang", hang, timeout=0.4)]), set[asyncio.Task[None]]()
    await refresh_async(health, tasks)
    assert not cancelled.is_set()
    await until(lambda: not tasks)
    assert cancelled.is_set()
    assert results(health)["hang"]["error"] == "timeout"


async def test_a_cancelled_probe_harms_no_check() -> None:
    """When the balancer hangs up on a probe, the run goes on for all others."""
    release = asyncio.Event()
    health, tasks = Health([Check("wait", release.wait, timeout=60)]), set[asyncio.Task[None]]()
    probe = asyncio.create_task(refresh_async(health, tasks))
    await until(lambda: bool(tasks))
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    release.set()
    await until(lambda: not tasks)
    assert results(health)["wait"]["ok"] is True


@pytest.mark.usefixtures("impatience")
async def test_a_cancelled_run_can_be_started_again() -> None:
    """A run that was cancelled with its loop leaves nothing marked as running."""
    health, tasks = (
        Health([Check("wait", asyncio.Event().wait, timeout=60, ttl=0.001)]),
        set[asyncio.Task[None]](),
    )
    await refresh_async(health, tasks)
    for task in tasks:
        task.cancel()
    await until(lambda: not tasks)
    assert results(health)["wait"]["error"] == "cancelled"
    assert health.begin(time.monotonic() + 1)


def test_secrets_stay_out_of_reports_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    """An error's message may carry a password: only its class is told. An outage is logged once."""
    caplog.set_level(logging.DEBUG, "scalekit.ops")
    check = Check("redis", fail, ttl=0.001)
    health = Health([check])
    for _ in range(3):
        refresh(health)
        while not health.begin(time.monotonic() + 60):
            pass
        health.finish(check, time.monotonic(), "ConnectionError")
    assert b"hunter2" not in health.report(time.monotonic()).body
    assert "hunter2" not in caplog.text
    assert [record.getMessage() for record in caplog.records] == [
        "health: check redis fails: ConnectionError"
    ]
