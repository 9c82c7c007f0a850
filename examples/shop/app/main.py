"""The application: five pieces around ordinary FastAPI views."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy import select
from starlette.exceptions import HTTPException

from examples.shop.app import internal, orders, photos, views
from examples.shop.app.served_by import ServedBy
from examples.shop.app.settings import Settings
from examples.shop.app.shop import HERE, Shop
from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.redis import RedisBackend
from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetMiddleware
from scalekit.database import ANY, AsyncCluster
from scalekit.database.asgi import ReadYourWritesMiddleware
from scalekit.errors import BackendError, NoServerAvailable
from scalekit.ops import Check, Drain
from scalekit.ops.asgi import OpsMiddleware
from scalekit.sessions import Cookie, MemoryStore
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.redis import RedisStore
from scalekit.storage import FileStorage
from scalekit.storage.serve import StorageFiles


def create_app(settings: Settings, *, drain: Drain | None = None) -> FastAPI:
    """The shop, for one server."""
    assets = Assets(HERE / "static", url="/static/", cdn=settings.cdn or None)
    cluster = AsyncCluster(
        settings.database,
        replicas=settings.replicas,
        failover_wait=10,
        session_options={"expire_on_commit": False},
    )
    store = RedisStore.from_url(settings.redis) if settings.redis else MemoryStore()
    backend = RedisBackend.from_url(settings.redis, prefix="cache:") if settings.redis else MemoryBackend()
    cache = Cache(backend, local_entries=1_000)
    cache.watch(cluster)
    storage = FileStorage(settings.uploads, base_url="/media/")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await cache.close()
        await cluster.dispose()

    async def ping() -> None:
        async with cluster.session(consistency=ANY) as session:
            await session.execute(select(1))

    app = FastAPI(title="Sill & Stem", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    shop = app.state.shop = Shop(settings, cluster=cluster, cache=cache, storage=storage, assets=assets)
    for module in (views, orders, photos, internal):
        app.include_router(module.router)
    # Keys are random and never used again, so a browser needs to ask only once.
    app.mount("/media", StorageFiles(storage, cache_control="public, max-age=31536000, immutable"))

    app.add_middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key=settings.secret_key)
    app.add_middleware(
        SessionMiddleware, store=store, secret_key=settings.secret_key, cookie=Cookie(name="shop-session")
    )
    app.add_middleware(AssetMiddleware, assets=assets)
    app.add_middleware(ServedBy, server=settings.server)
    # Not required: with its caches a server without a database still shows more than no server does.
    checks = [Check("database", ping, required=False)]
    app.add_middleware(OpsMiddleware, checks=checks, drain=drain or Drain(delay=1, grace=8))
    _pages_for_problems(app, shop)
    return app


def _pages_for_problems(app: FastAPI, shop: Shop) -> None:
    @app.exception_handler(HTTPException)
    async def not_there(request: Request, error: HTTPException) -> Response:
        text = "We looked on every shelf and could not find that page."
        title = "This pot is empty" if error.status_code == 404 else error.detail
        return shop.page(
            request, "problem.html", status=error.status_code, title=title, text=text, art="pot-trio"
        )

    @app.exception_handler(RequestValidationError)
    async def unreadable(request: Request, error: Exception) -> Response:
        text = "Something about that form was not right. Please go back and try again."
        return shop.page(
            request, "problem.html", status=400, title="Not quite", text=text, art="plant-mister"
        )

    @app.exception_handler(BackendError)
    @app.exception_handler(NoServerAvailable)
    async def busy(request: Request, error: Exception) -> Response:
        return Response("We are busy. Please try again in a moment.", 503, {"retry-after": "2"})
