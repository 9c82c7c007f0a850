"""The state of a drain, and who hears of it."""

import asyncio
import threading
from datetime import timedelta

import pytest

from scalekit.errors import ConfigurationError
from scalekit.ops import Drain, drain
from tests.measured import numbers


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(drain, "time", clock)
    return clock


def test_drained_when_the_delay_is_over_and_nothing_is_in_flight(clock: Clock) -> None:
    """Neither half is enough: balancers still send during the delay, requests may outlast it."""
    drain = Drain(delay=5, grace=20, signals=())
    assert not drain.drained
    drain.enter()
    drain.start()
    clock.now += 5
    assert not drain.drained
    drain.leave()
    assert drain.drained
    clock.now -= 1
    assert not drain.drained


def test_drained_when_the_grace_is_over(clock: Clock) -> None:
    """A request that never ends is waited for until delay and grace are over. A timedelta is as good."""
    drain = Drain(delay=timedelta(seconds=5), grace=timedelta(seconds=20), signals=())
    drain.enter()
    drain.start()
    clock.now += 24.9
    assert not drain.drained
    clock.now += 0.1
    assert drain.drained


def test_starting_twice_is_starting_once(clock: Clock) -> None:
    """A second start does not begin the delay afresh."""
    drain = Drain(delay=5, signals=())
    drain.start()
    clock.now += 4
    drain.start()
    clock.now += 1
    assert drain.drained


def test_durations_are_checked() -> None:
    """A negative delay, or text, is refused when the drain is built."""
    with pytest.raises(ConfigurationError, match="delay=-1"):
        Drain(delay=-1)
    with pytest.raises(ConfigurationError, match="delay='10' must be seconds as a number or a timedelta"):
        Drain(delay="10")  # type: ignore[arg-type]


async def test_wait_returns_at_once_when_draining() -> None:
    """Who asks late need not wait."""
    drain = Drain(signals=())
    drain.start()
    async with asyncio.timeout(30):
        await drain.wait()


async def test_a_cancelled_waiter_leaves_the_others() -> None:
    """A stream whose client went away stops waiting; the others still hear."""
    drain = Drain(signals=())
    waiters = [asyncio.create_task(drain.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiters[0]
    threading.Thread(target=drain.start).start()  # from any thread
    async with asyncio.timeout(30):
        await asyncio.gather(*waiters[1:])


def test_every_loop_hears_and_a_closed_one_does_no_harm() -> None:
    """Waiters live on loops of their own; a loop that was closed under one is passed over."""
    drain = Drain(signals=())
    ready, heard = threading.Barrier(3), []

    async def wait() -> None:
        task = asyncio.create_task(drain.wait())
        await asyncio.sleep(0)
        ready.wait(30)
        await task
        heard.append(1)

    dead = asyncio.new_event_loop()
    left = dead.create_task(drain.wait())
    dead.run_until_complete(asyncio.sleep(0))
    threads = [threading.Thread(target=asyncio.run, args=(wait(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    ready.wait(30)
    left.cancel()
    dead.close()
    drain.start()
    for thread in threads:
        thread.join(30)
    assert heard == [1, 1]


def test_counting_holds_under_threads() -> None:
    """Requests of many threads leave nothing counted behind."""
    drain = Drain(signals=())

    def requests() -> None:
        for _ in range(5000):
            drain.enter()
            drain.leave()

    threads = [threading.Thread(target=requests) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drain.in_flight == 0


def test_a_drain_reports() -> None:
    """Whether it has begun, and what it waits for."""
    drain = Drain(signals=())
    assert numbers(drain) == {"scalekit_drain_draining": 0, "scalekit_drain_in_flight": 0}
    drain.enter()
    drain.start()
    assert numbers(drain) == {"scalekit_drain_draining": 1, "scalekit_drain_in_flight": 1}
