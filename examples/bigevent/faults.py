"""What breaks, when, and how it is put right again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from examples.bigevent.fleet import Fleet
from examples.bigevent.servers import Servers
from tests.faults import freeze
from tests.servers.base import Server

SCHEDULE = (
    (0.05, "process killed"),
    (0.10, "process drained"),
    (0.14, "replica paused"),
    (0.20, "replica resumed"),
    (0.22, "replica killed"),
    (0.28, "replica back"),
    (0.29, "replica lags"),  # through the burst: there are many writes then that it does not have yet
    (0.30, "burst of 10x"),
    (0.34, "process killed"),
    (0.38, "burst over"),
    (0.40, "replica in step"),
    (0.45, "Redis master killed"),
    (0.52, "Redis server back"),
    (0.55, "S3 stalled"),
    (0.59, "S3 goes on"),
    (0.61, "primary killed"),
    (0.67, "old primary back"),
    (0.70, "CDN stopped"),
    (0.82, "CDN back"),
    (0.84, "new release"),
)
"""When, as a share of the run, and what. Each is over before the next of its kind, so that a recovery time
says what it took to recover from one."""

SHORT = (
    (0.10, "process killed"),
    (0.20, "process drained"),
    (0.30, "replica paused"),
    (0.50, "replica resumed"),
    (0.55, "Redis master killed, replica promoted"),
)
"""Of the shorter run, in the tests."""

ENDS = ("replica resumed", "replica in step", "burst over", "S3 goes on", "CDN back")
"""What ends a fault and is none."""


LAG = 3.0
"""Seconds by which a replica lags: more than a visitor takes from a write to the next page."""


@dataclass
class Fault:
    """Args:
    at: seconds since the run began.
    what: its name.
    """

    at: float
    what: str


STRAYS = ("process killed", "process drained")

_EVERY = 15.0  # seconds
_APART = 3.0


def plan(
    seconds: float, *, schedule: Iterable[tuple[float, str]] = SCHEDULE, seed: int | None = None
) -> list[Fault]:
    """The faults of a run of so many seconds, in order.

    Args:
        seed: of chance, by which processes are killed and drained besides, at moments when nothing else
            happens; ``None`` for none of that.
    """
    faults = [Fault(round(share * seconds, 1), what) for share, what in schedule]
    if seed is not None:
        chance = random.Random(seed)
        for _ in range(int(seconds / _EVERY)):
            stray = Fault(round(chance.uniform(0.05, 0.95) * seconds, 1), chance.choice(STRAYS))
            if all(abs(stray.at - fault.at) >= _APART for fault in faults):
                faults.append(stray)
    return sorted(faults, key=lambda fault: fault.at)


@dataclass
class Faults:
    """Does them. What blocks runs in a thread.

    Args:
        burst: lets a crowd in, or out when it is called with ``False``.
    """

    servers: Servers
    fleet: Fleet
    burst: Callable[[bool], None]
    done: list[Fault] = field(default_factory=list)
    masters_lost: list[float] = field(default_factory=list)
    _chance: random.Random = field(default_factory=lambda: random.Random(11))  # which process
    _stalled: ExitStack = field(default_factory=ExitStack)
    _down: list[Server] = field(default_factory=list)

    async def carry_out(self, faults: Iterable[Fault], began: float, say: Callable[[str], None]) -> None:
        """Each at its time, or as soon as the one before is done.

        Args:
            began: when the run began, in seconds of ``time.monotonic``.
        """
        try:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
                if fault.what in STRAYS and len(self.fleet.serving) < 2:
                    say(f"{fault.at:6.1f} s  {fault.what}: left out, as no other one serves")
                    continue
                if fault.what == "Redis server back":
                    # One that is back before its replica has taken over is the master again, and empty: what
                    # is lost by that is not lost by a fail-over.
                    await self.settle()
                actual = Fault(time.monotonic() - began, fault.what)
                self.done.append(actual)
                say(f"{actual.at:6.1f} s  {fault.what}")
                await self._do(fault.what)
        finally:
            await asyncio.to_thread(self._stalled.close)

    async def _do(self, what: str) -> None:
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "process killed": self._kill_process,
            "process drained": self._drain_process,
            "replica paused": self._pause_replica,
            "replica resumed": self._resume_replica,
            "replica lags": self._delay_replica,
            "replica in step": self._hurry_replica,
            "replica killed": self._kill_replica,
            "replica back": self._start_replica,
            "burst of 10x": self._burst,
            "burst over": self._burst_over,
            "Redis master killed": self._kill_redis,
            "Redis master killed, replica promoted": self._promote_redis,
            "Redis server back": self._start_down,
            "S3 stalled": self._stall_s3,
            "S3 goes on": self._resume_s3,
            "primary killed": self._kill_primary,
            "old primary back": self._rejoin,
            "CDN stopped": self._stop_cdn,
            "CDN back": self._start_down,
            "new release": self._deploy,
        }
        await acts[what]()

    async def _kill_process(self) -> None:
        self.fleet.kill(self._chance.choice(self.fleet.serving))

    async def _drain_process(self) -> None:
        self.fleet.spawn(self.fleet.drain(self._chance.choice(self.fleet.serving)))

    async def _pause_replica(self) -> None:
        await asyncio.to_thread(self.servers.databases.replicas[0].pause_replay)

    async def _resume_replica(self) -> None:
        await asyncio.to_thread(self.servers.databases.replicas[0].resume_replay)

    async def _delay_replica(self) -> None:
        """As one that has much to do. One that is paused tells, and is not read from."""
        databases = self.servers.databases
        await asyncio.to_thread(databases.delay, databases.replicas[0], LAG)

    async def _hurry_replica(self) -> None:
        databases = self.servers.databases
        await asyncio.to_thread(databases.delay, databases.replicas[0], 0.0)

    async def _kill_replica(self) -> None:
        await asyncio.to_thread(self.servers.databases.replicas[1].kill)

    async def _start_replica(self) -> None:
        databases = self.servers.databases
        await asyncio.to_thread(databases.start_replica, databases.replicas[1])

    async def _burst(self) -> None:
        self.burst(True)

    async def _burst_over(self) -> None:
        self.burst(False)

    async def _kill_redis(self) -> None:
        self._down.append(await asyncio.to_thread(self.servers.redis.kill_master))
        self.masters_lost.append(time.monotonic())

    async def _promote_redis(self) -> None:
        """The same without the patience of the others, which has to be long where a machine is busy."""
        killed = await asyncio.to_thread(self.servers.redis.kill_master)
        self.masters_lost.append(time.monotonic())
        await asyncio.to_thread(self.servers.redis.promote, killed)

    async def _start_down(self) -> None:
        while self._down:
            await asyncio.to_thread(self._down.pop().start)

    async def _stall_s3(self) -> None:
        await asyncio.to_thread(self._stalled.enter_context, freeze(self.servers.s3))

    async def _resume_s3(self) -> None:
        await asyncio.to_thread(self._stalled.close)

    async def _kill_primary(self) -> None:
        self._down.append(await asyncio.to_thread(self.servers.databases.fail_over))

    async def _rejoin(self) -> None:
        await asyncio.to_thread(self.servers.databases.rejoin, self._down.pop())

    async def _stop_cdn(self) -> None:
        await asyncio.to_thread(self.servers.cdn.stop, timeout=1.0)
        self._down.append(self.servers.cdn)

    async def _deploy(self) -> None:
        await self.fleet.deploy()

    async def settle(self) -> None:
        """Return when Redis has a master again."""
        if self.masters_lost:
            await asyncio.to_thread(self.servers.redis.wait)
