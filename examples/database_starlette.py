"""Reads on replicas, writes on the primary, under Starlette; and a page that shows what the servers do.

    python -m examples.database_starlette
    curl -i -X POST localhost:8000/ -d hello       # with replicas: a cookie that remembers the write
    curl localhost:8000/
    curl localhost:8000/status

Set DATABASE_URL and REPLICA_URLS for PostgreSQL, as in database_fastapi.py.
"""

import dataclasses
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scalekit.database import AsyncCluster, Bounded
from scalekit.database.asgi import ReadYourWritesMiddleware

cluster = AsyncCluster(
    os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///notes.db"),
    replicas=os.environ.get("REPLICA_URLS", "").split(),
)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with cluster:
        async with cluster.session() as session:
            await session.execute(text("CREATE TABLE IF NOT EXISTS lines (line text)"))
            await session.commit()
        yield


async def lines(request: Request) -> Response:
    # A page for everybody may be five seconds old, but never older than what this visitor wrote.
    async with cluster.session(consistency=Bounded(seconds=5)) as session:
        return JSONResponse(list(await session.scalars(text("SELECT line FROM lines"))))


async def add(request: Request) -> Response:
    line = (await request.body()).decode()
    async with cluster.session() as session:
        await session.execute(text("INSERT INTO lines VALUES (:line)"), {"line": line})
        await session.commit()
    return Response(status_code=201)


async def status(request: Request) -> Response:
    return JSONResponse(dataclasses.asdict(cluster.status()))


secret_key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe()  # the same on every server
app = Starlette(
    routes=[Route("/", lines), Route("/", add, methods=["POST"]), Route("/status", status)],
    middleware=[Middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key=secret_key)],
    lifespan=lifespan,
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
