"""What the shop stands on: the six pieces, and for each what people have who do without it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from examples.bigevent.models import Review
from examples.bigevent.settings import METRICS, Settings
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.cdn import Assets, CdnProbe
from scalekit.cdn.asgi import AssetMiddleware
from scalekit.database import ANY, CAUSAL, AsyncCluster
from scalekit.database.asgi import ReadYourWritesMiddleware
from scalekit.ops import Drain
from scalekit.ops.asgi import MetricsMiddleware, OpsMiddleware
from scalekit.sessions import Cookie, MemoryStore
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.redis import RedisStore
from scalekit.storage import FileStorage
from scalekit.storage.s3 import S3Storage

PROBED = 2.0
"""Seconds within which a process knows that the CDN does not answer."""

Reviews = Callable[[AsyncSession, str], Awaitable[dict[str, int]]]


class Pieces:
    """Set up once in each process; `wrap` puts the middlewares around the application."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cluster = AsyncCluster(
            settings.database,
            replicas=settings.replicas,
            failover_wait=10,
            pool_size=5,
            max_overflow=5,
            session_options={"expire_on_commit": False},
        )
        # Without tokens a read goes to whichever replica has the least to do.
        self.reading = CAUSAL if settings.has("database") else ANY
        self.cache: Cache | None = None
        if settings.has("cache"):
            # None of it in the process's memory: a visitor is to see their own review on every server.
            # A write that it cannot be told of is refused: another process may reach Redis again already, and
            # would show what was there before. So it has time to answer on a busy machine.
            self.cache = Cache(RedisBackend.from_url(settings.redis, prefix="cache:", timeout=0.25))
            self.cache.watch(self.cluster, unreachable="refuse")
        self.reviews: Reviews = _reviews(self.cache)
        # Without S3: the server's own disk.
        self.storage: S3Storage | FileStorage = (
            S3Storage(**settings.s3, base_url="/media/", stall_seconds=5.0)  # type: ignore[arg-type]
            if settings.has("storage")
            else FileStorage(settings.scratch, base_url="/media/")
        )
        self.assets = Assets(settings.assets, url="/static/", cdn=settings.cdn)
        self.probe: CdnProbe | None = None
        if settings.has("cdn"):
            self.probe = CdnProbe(self.assets, interval=PROBED, timeout=0.8, failures=2)

    def wrap(self, app: FastAPI) -> None:
        settings, key = self.settings, self.settings.secret_key
        if settings.has("database"):
            app.add_middleware(ReadYourWritesMiddleware, cluster=self.cluster, secret_key=key)
        app.add_middleware(
            SessionMiddleware, store=_session_store(settings), secret_key=key, cookie=Cookie(name="session")
        )
        if self.probe is not None:
            app.add_middleware(AssetMiddleware, assets=self.assets, probe=self.probe)
        else:
            app.mount("/static", ForAYear(StaticFiles(directory=settings.assets)))
        if settings.has("ops"):
            drain = Drain(delay=settings.drain_delay, grace=15)
            # While Redis is away no request gets as far as the cache, as the session comes first: that there
            # is an outage, after which nothing in it is to be believed, it learns from its check.
            checks = [piece for piece in (self.cluster, self.cache) if piece is not None]
            app.add_middleware(OpsMiddleware, drain=drain, checks=checks)
            # Each process is a server of its own here, so it reports for itself.
            app.add_middleware(MetricsMiddleware, path=METRICS, directory=f"{settings.scratch}/metrics")

    def asset(self, name: str) -> str:
        """How a page writes an asset's address."""
        if self.settings.has("cdn"):
            return f"/static/{name}"  # the middleware does the rest
        return f"{self.settings.cdn}/static/{name}?v={self.settings.release}"

    async def open(self) -> None:
        """Know whether the CDN is down before the first page, which would trust it."""
        if self.probe is not None and self.probe.up:
            await asyncio.sleep(PROBED)

    async def close(self) -> None:
        if self.cache is not None:
            await self.cache.close()
        await self.cluster.dispose()
        await self.storage.aclose()


def _session_store(settings: Settings) -> RedisStore | MemoryStore:
    if not settings.has("sessions"):
        return MemoryStore()
    options: dict[str, Any] = {"wait_replicas": settings.wait_replicas} if settings.wait_replicas else {}
    return RedisStore.from_url(settings.redis, **options)


async def _query_reviews(session: AsyncSession, product: str) -> dict[str, int]:
    rows = await session.execute(select(Review.user, Review.version).where(Review.product == product))
    return {user: version for user, version in rows}


def _reviews(cache: Cache | None) -> Reviews:
    """Who has reviewed a product, cached: dropped by whoever commits a review."""
    if cache is not None:
        return cache.query(ttl=60, reads=[Review])(_query_reviews)
    kept: dict[str, tuple[float, dict[str, int]]] = {}

    async def reviews(session: AsyncSession, product: str) -> dict[str, int]:
        """What people have without a cache that is told: a dictionary in each process, for ten seconds."""
        until, found = kept.get(product, (0.0, {}))
        if time.monotonic() > until:
            found = await _query_reviews(session, product)
            kept[product] = time.monotonic() + 10, found
        return found

    return reviews


class ForAYear:
    """Files that caches may keep for a year: a number in their address says which release they are of."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def kept(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message["headers"].append((b"cache-control", b"public, max-age=31536000"))
            await send(message)

        await self.app(scope, receive, kept)
