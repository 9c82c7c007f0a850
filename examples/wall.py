"""The photo wall of the tutorial after its last step: any number of these servers are one wall.

    export SECRET=... REDIS_URL=... DATABASE_URL=... REPLICA_URLS=... S3_BUCKET=...
    python -m examples.wall                  # once: makes the table
    uvicorn examples.wall:app --port 8001
    uvicorn examples.wall:app --port 8002

SECRET is the same for all of them. REPLICA_URLS may be empty. Credentials, region and endpoint of S3 come
from the environment, as for every AWS tool.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetMiddleware
from scalekit.database import AsyncCluster
from scalekit.database.asgi import ReadYourWritesMiddleware
from scalekit.ops.asgi import OpsMiddleware
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.redis import RedisStore
from scalekit.storage import MiB
from scalekit.storage.forms import stream_form
from scalekit.storage.s3 import S3Storage

SECRET = os.environ["SECRET"]


class Base(DeclarativeBase):
    pass


class Photo(Base):
    __tablename__ = "photos"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    url: Mapped[str]


cluster = AsyncCluster(os.environ["DATABASE_URL"], replicas=os.environ.get("REPLICA_URLS", "").split())
storage = S3Storage(os.environ["S3_BUCKET"], prefix="photos/")
assets = Assets(Path(__file__).with_name("static"), cdn=os.environ.get("CDN_URL"))
cache = Cache(RedisBackend.from_url(os.environ["REDIS_URL"]))
cache.watch(cluster)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with storage, cluster:
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(AssetMiddleware, assets=assets)
app.add_middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key=SECRET)
app.add_middleware(SessionMiddleware, store=RedisStore.from_url(os.environ["REDIS_URL"]), secret_key=SECRET)
app.add_middleware(OpsMiddleware)


@cache.query(ttl=60, reads=[Photo])
async def latest() -> list[str]:
    async with cluster.session() as session:
        return list(await session.scalars(select(Photo.url).order_by(Photo.id.desc()).limit(20)))


def name_of(request: Request) -> str:
    return str(request.session.user_id or "stranger")


def page(name: str, urls: list[str]) -> str:
    photos = "".join(f'<img src="{escape(url)}" alt="" width="160"> ' for url in urls)
    return f"""<!doctype html><title>The wall</title><img src="/static/logo.svg" alt="" width="80">
<h1>Hello, {escape(name)}</h1>
<form action="/login" method="post"><input name="name" required> <button>Log in</button></form>
<form action="/photos" method="post" enctype="multipart/form-data">
<input type="file" name="photo" accept="image/*" required> <button>Hang it up</button></form>
<p><a href="/">Everybody's</a> · <a href="/mine">mine</a></p>{photos}"""


@app.get("/", response_class=HTMLResponse)
async def wall(request: Request) -> str:
    return page(name_of(request), await latest())


@app.get("/mine", response_class=HTMLResponse)
async def mine(request: Request) -> str:
    name = name_of(request)
    async with cluster.session() as session:
        return page(name, list(await session.scalars(select(Photo.url).where(Photo.owner == name))))


@app.post("/login")
async def login(request: Request, name: str = Form()) -> RedirectResponse:
    request.session.login(name)  # the password is left to you
    return RedirectResponse("/mine", 303)


@app.post("/photos")
async def upload(request: Request) -> RedirectResponse:
    async with (
        stream_form(request, storage, max_file_size=5 * MiB, accept=["image/*"]) as form,
        cluster.session() as session,
    ):
        session.add(Photo(owner=name_of(request), url=f"/files/{form.files['photo'].key}"))
        await session.commit()
    return RedirectResponse("/mine", 303)


@app.get("/files/{key}")
async def file(key: str) -> RedirectResponse:
    return RedirectResponse(await storage.url(key))  # a signed address, good for an hour


async def make_table() -> None:
    async with cluster, cluster.session() as session:
        await (await session.connection()).run_sync(Base.metadata.create_all)
        await session.commit()


if __name__ == "__main__":
    asyncio.run(make_table())
