"""One run: everything is started, visitors come, things break, the visitors look whether all is there."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from examples.bigevent import checkers
from examples.bigevent.autoscaler import Autoscaler, Target
from examples.bigevent.client import Browser, Traffic
from examples.bigevent.faults import SCHEDULE, Faults, plan
from examples.bigevent.fleet import Fleet
from examples.bigevent.history import Event, Final
from examples.bigevent.journeys import Visitor
from examples.bigevent.models import Order, Photo, Profile, Review, create_tables
from examples.bigevent.redises import Cluster, Sentinel
from examples.bigevent.report import Run
from examples.bigevent.servers import BUCKET, Servers
from examples.bigevent.settings import Settings
from examples.bigevent.violations import attribute
from tests.servers import ServerFailed

LATER = 20.0
"""Seconds for which a visitor goes on trying at the end."""

LOOK = 60.0
"""Seconds for which visitors try to see again what they have, after that."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Args:
    seconds: how long visitors come.
    users: visitors at a time; ten times as many in the burst.
    without: names of pieces that are switched off.
    wait_replicas: replicas that a session's write waits for.
    schedule: what breaks, and when.
    seed: of what breaks besides, by chance; ``None`` for nothing.
    target: how many processes.
    redis: "sentinel", or "cluster" of three masters.
    down_after: milliseconds of its patience.
    drain_delay: seconds that a process serves on when it is told to leave.
    """

    seconds: float = 120.0
    users: int = 12
    without: tuple[str, ...] = ()
    wait_replicas: int = 0
    schedule: Iterable[tuple[float, str]] = SCHEDULE
    seed: int | None = 1
    target: Target = field(default_factory=Target)
    redis: Literal["sentinel", "cluster"] = "sentinel"
    down_after: int = 2_000
    drain_delay: float = 5.0


class Crowd:
    """Everybody who visits the shop."""

    def __init__(self, http: aiohttp.ClientSession, front: str, *, users: int, until: float) -> None:
        self._http, self._front, self._users, self._until = http, front, users, until
        self.traffic, self.events = Traffic(), list[Event]()
        self.visitors: list[Visitor] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._burst: list[Visitor] = []

    def enter(self, count: int, name: str) -> list[Visitor]:
        come = []
        for number in range(count):
            user = f"{name}{number}"
            browser = Browser(
                self._http,
                front=self._front,
                traffic=self.traffic,
                until=self._until + LATER,
                agent=f"the browser of {user}",
            )
            visitor = Visitor(user, browser, self.events, leave=self._until)
            come.append(visitor)
            self._tasks.append(asyncio.create_task(visitor.stay()))
        self.visitors += come
        return come

    def burst(self, begins: bool) -> None:
        """Nine times as many more, until it is over."""
        if begins:
            self._burst = self.enter(self._users * 9, "b")
        for visitor in [] if begins else self._burst:
            visitor.leave = 0.0

    async def left(self) -> None:
        """Return when all have left, those too who come meanwhile."""
        waited_for = 0
        while waited_for < len(self._tasks):
            tasks = self._tasks[waited_for:]
            waited_for += len(tasks)
            await asyncio.gather(*tasks)

    async def look_again(self) -> None:
        slots, until = asyncio.Semaphore(16), time.monotonic() + LOOK

        async def one(visitor: Visitor) -> None:
            async with slots:
                await visitor.look_again(until)

        await asyncio.gather(*(one(visitor) for visitor in self.visitors))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()


async def run(options: Options, say: Callable[[str], None] = lambda text: None) -> Run:
    """Start everything, run, stop everything.

    Args:
        say: told what happens, in a line each.

    Raises:
        ServerMissing: one of the servers is not installed; its `cure` says how to.
        ServerFailed: something did not start; what it said is in the message.
    """
    redis = (Cluster if options.redis == "cluster" else Sentinel)(down_after=options.down_after)
    with Servers(redis) as servers:
        await asyncio.to_thread(servers.start)
        say(f"nginx, Redis ({options.redis}), PostgreSQL with two replicas, S3 and a CDN")
        databases = servers.databases
        await create_tables(databases.url(databases.primary))
        settings = Settings(
            database=databases.url(databases.primary),
            replicas=tuple(databases.url(replica) for replica in databases.replicas),
            redis=servers.redis.url,
            s3={"bucket": BUCKET, **servers.s3.client_kwargs},
            cdn=servers.cdn.url,
            drain_delay=options.drain_delay,
            wait_replicas=options.wait_replicas,
            without=options.without,
        )
        fleet = Fleet(servers, settings, Autoscaler(options.target))
        async with fleet.running(), _http() as http:
            await _open(http, servers.front.url)
            say(f"{len(fleet.serving)} processes of the shop")
            return await _visits(options, servers, fleet, http, say)


async def _open(http: aiohttp.ClientSession, front: str, *, timeout: float = 30.0) -> None:
    """Return when nginx sends to the shop: its workers from before the reload still answer 502."""
    status, deadline = 0, time.monotonic() + timeout
    while status != 200:
        if time.monotonic() > deadline:
            raise ServerFailed(f"the shop's front page is answered {status} at {front}")
        await asyncio.sleep(0.05)
        async with http.get(front) as answer:
            status = answer.status


async def _visits(
    options: Options, servers: Servers, fleet: Fleet, http: aiohttp.ClientSession, say: Callable[[str], None]
) -> Run:
    began = time.monotonic()
    crowd = Crowd(http, servers.front.url, users=options.users, until=began + options.seconds)
    faults = Faults(servers, fleet, crowd.burst)
    samples: list[tuple[float, int, int, int]] = []
    sampling = asyncio.create_task(_sample(fleet, samples))
    planned = plan(options.seconds, schedule=options.schedule, seed=options.seed)
    breaking = asyncio.create_task(faults.carry_out(planned, began, say))
    try:
        crowd.enter(options.users, "u")
        await crowd.left()
        ended = time.monotonic()
        await breaking
        await faults.settle()
        say("the visitors have left, and look whether everything is there")
        await crowd.look_again()
        final = await _final(servers)
    finally:
        for task in (sampling, breaking):
            task.cancel()
        crowd.close()
        await asyncio.gather(sampling, breaking, return_exceptions=True)
    found = checkers.shown_by(crowd.events, final)
    found += checkers.lost_by_drains(crowd.traffic.failures, fleet.drains)
    # Without sessions in Redis there is nothing of them to lose there.
    masters_lost = [] if "sessions" in options.without else faults.masters_lost
    for said in fleet.crashes:
        say(f"a process ended unasked:\n{said}")
    return Run(
        began=began,
        ended=ended,
        traffic=crowd.traffic,
        faults=faults.done,
        violations=sorted(attribute(found, masters_lost), key=lambda each: each.at),
        servers=samples,
        without=options.without,
        settings={"users": options.users, "redis": options.redis, "wait_replicas": options.wait_replicas},
    )


@asynccontextmanager
async def _http() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=15, sock_connect=3)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
    ) as http:
        yield http


async def _sample(fleet: Fleet, samples: list[tuple[float, int, int, int]]) -> None:
    while True:
        there = [process for process in fleet.processes if not process.draining]
        samples.append((time.monotonic(), len(fleet.serving), len(there), fleet.in_flight))
        await asyncio.sleep(0.5)


async def _final(servers: Servers) -> Final:
    """What the primary has."""
    engine = create_async_engine(servers.databases.url(servers.databases.primary))
    try:
        async with AsyncSession(engine) as session:
            profiles = await session.execute(select(Profile.user, Profile.version))
            reviews = await session.execute(select(Review.user, Review.product, Review.version))
            orders = await session.execute(select(Order.once, Order.user, Order.items))
            photos = await session.execute(select(Photo.key, Photo.user))
            versions = {(user, "account/profile"): version for user, version in profiles}
            versions |= {(user, f"review/{product}"): version for user, product, version in reviews}
            return Final(
                versions=versions,
                orders={once: (user, frozenset(items)) for once, user, items in orders},
                photos={key: user for key, user in photos},
            )
    finally:
        await engine.dispose()
