"""The circuit breaker: small, and right under threads."""

import asyncio
import threading
from typing import Any

import redis.asyncio

from scalekit._redis.breaker import Breaker
from scalekit._redis.coalesce import Call, Coalescer, PoolConnections


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def make(cooldown: float = 1.0, patience: float = 2.0) -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(cooldown=cooldown, patience=patience, clock=clock), clock


def test_closed_lets_everyone_through() -> None:
    """Nothing is refused while nothing has failed."""
    breaker, _ = make()
    assert all(breaker.allows() for _ in range(3))
    assert not breaker.open


def test_a_failure_refuses_until_the_cooldown_is_over() -> None:
    """The first failure opens it; for `cooldown` seconds nobody is let through."""
    breaker, clock = make()
    breaker.failed()
    assert breaker.open
    assert not breaker.allows()
    clock.now += 0.99
    assert not breaker.allows()


def test_one_caller_probes() -> None:
    """When the cooldown is over exactly one caller goes on; the others are still refused."""
    breaker, clock = make()
    breaker.failed()
    clock.now += 1.0
    assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]


def test_a_probe_that_succeeds_closes_it() -> None:
    """One answer from the server, and everyone is let through."""
    breaker, clock = make()
    breaker.failed()
    clock.now += 1.0
    assert breaker.allows()
    breaker.succeeded()
    assert not breaker.open
    assert breaker.allows()


def test_a_probe_that_fails_starts_the_cooldown_again() -> None:
    """The next probe comes one cooldown after the failed one."""
    breaker, clock = make()
    breaker.failed()
    clock.now += 1.0
    assert breaker.allows()
    clock.now += 0.5
    breaker.failed()
    clock.now += 0.99
    assert not breaker.allows()
    clock.now += 0.01
    assert breaker.allows()


def test_a_probe_that_never_reports_does_not_keep_it_open_for_ever() -> None:
    """A prober may die; after `patience` seconds another caller may probe."""
    breaker, clock = make(cooldown=1.0, patience=2.0)
    breaker.failed()
    clock.now += 1.0
    assert breaker.allows()
    clock.now += 1.99
    assert not breaker.allows()
    clock.now += 0.01
    assert breaker.allows()


def test_threads_send_one_probe() -> None:
    """Of 32 threads that ask at the same moment one is the probe."""
    for _ in range(50):
        breaker, clock = make()
        breaker.failed()
        clock.now += 1.0
        start = threading.Barrier(32)
        answers: list[bool] = []

        def ask(
            breaker: Breaker = breaker, start: threading.Barrier = start, out: list[bool] = answers
        ) -> None:
            start.wait()
            out.append(breaker.allows())

        threads = [threading.Thread(target=ask) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(answers) == 1


class Observed(PoolConnections):
    """Connections of a pool; says when one was given back."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.released = asyncio.Event()

    async def release(self, connection: Any) -> None:
        await super().release(connection)
        self.released.set()


async def test_a_probe_whose_caller_gave_up_is_no_answer(redis_url: str) -> None:
    """Cancelled while it waited for a connection, it was never sent: that says nothing about the server."""
    breaker, clock = make()
    async with redis.asyncio.from_url(redis_url) as client:
        connections = Observed(client.connection_pool)
        coalescer = Coalescer(
            connections, backend="redis", breaker=breaker, lanes=1, connect_timeout=10, timeout=10
        )
        breaker.failed()
        clock.now += 1.0
        probe: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        coalescer.submit(Call(("PING",), b"*1\r\n$4\r\nPING\r\n", probe))
        probe.cancel()
        await connections.released.wait()
        assert breaker.open
        await coalescer.close()
