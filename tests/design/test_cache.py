"""DESIGN.md's cache snippet, as it stands there, in FastAPI, Starlette and Flask."""

import ast
import dataclasses
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from fastapi import Depends, FastAPI
from flask import Flask
from sqlalchemy import create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.patience import be_patient

be_patient()

SNIPPET = """
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
cache = Cache(RedisBackend.from_url("redis://localhost:6379/1"), local_entries=10_000)

@cache.query(ttl=60, reads=[Product])                       # dropped when a Product is committed
async def top_products(session: AsyncSession, category: str) -> list[ProductRow]: ...   # or a plain def

cache.watch(cluster)                                        # or any sessionmaker
await top_products.invalidate(category="books")
"""
BODY = """
    runs.append(category)
    rows = await session.execute(select(Product.id, Product.name).where(Product.category == category))
    return [ProductRow(*row) for row in rows]
"""


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    category: Mapped[str] = mapped_column(default="books")


@dataclasses.dataclass
class ProductRow:
    id: int
    name: str


def snippet(url: str, prefix: str, *, plain: bool) -> str:
    """The snippet with what it leaves out: a body, and where the server is here."""
    assert "...   # or a plain def" in SNIPPET
    text = SNIPPET.replace("...   # or a plain def", BODY).replace(
        '"redis://localhost:6379/1"', f"{url!r}, prefix={prefix!r}"
    )
    if plain:
        text = text.replace("async def", "def").replace("await ", "").replace("AsyncSession", "Session")
    return text


async def run(text: str, **names: Any) -> dict[str, Any]:
    namespace = {**globals(), "select": select, "runs": [], **names}
    result = eval(compile(text, "DESIGN.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), namespace)
    if inspect.iscoroutine(result):
        await result
    return namespace


async def check(app: Any, runs: list[str]) -> None:
    """Twice the same answer for one query; after a write the new one."""
    transport = httpx.ASGITransport(app) if not isinstance(app, Flask) else None
    client = httpx.AsyncClient(transport=transport, base_url="http://shop")
    wsgi = (
        httpx.Client(transport=httpx.WSGITransport(app), base_url="http://shop")
        if transport is None
        else None
    )

    async def send(method: str, path: str) -> Any:
        response = wsgi.request(method, path) if wsgi is not None else await client.request(method, path)
        assert response.status_code == 200, response.text
        return response.json()

    assert [await send("GET", "/top/books") for _ in range(3)] == [[]] * 3
    assert runs == ["books"]
    await send("POST", "/products/Emma")
    assert [await send("GET", "/top/books") for _ in range(3)] == [[{"id": 1, "name": "Emma"}]] * 3
    assert runs == ["books", "books"]
    await client.aclose()
    if wsgi is not None:
        wsgi.close()


async def test_fastapi(redis_url: str, prefix: str, tmp_path: Path) -> None:
    """With the session as a dependency: it does not enter the key."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/db", poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    maker = async_sessionmaker(engine)
    names = await run(snippet(redis_url, prefix, plain=False), cluster=maker)
    top_products = names["top_products"]
    app = FastAPI()

    async def session() -> AsyncIterator[AsyncSession]:
        async with maker() as session:
            yield session

    @app.get("/top/{category}")
    async def top(category: str, session: AsyncSession = Depends(session)) -> list[ProductRow]:
        rows: list[ProductRow] = await top_products(session, category)
        return rows

    @app.post("/products/{name}")
    async def add(name: str, session: AsyncSession = Depends(session)) -> None:
        session.add(Product(name=name))
        await session.commit()

    await check(app, names["runs"])
    await names["cache"].close()


async def test_starlette(redis_url: str, prefix: str, tmp_path: Path) -> None:
    """Without a dependency system."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/db", poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    maker = async_sessionmaker(engine)
    names = await run(snippet(redis_url, prefix, plain=False), cluster=maker)

    async def top(request: Request) -> JSONResponse:
        async with maker() as session:
            rows = await names["top_products"](session, category=request.path_params["category"])
        return JSONResponse([dataclasses.asdict(row) for row in rows])

    async def add(request: Request) -> JSONResponse:
        async with maker.begin() as session:
            session.add(Product(name=request.path_params["name"]))
        return JSONResponse(None)

    routes = [Route("/top/{category}", top), Route("/products/{name}", add, methods=["POST"])]
    await check(Starlette(routes=routes), names["runs"])
    await names["cache"].close()


async def test_flask(redis_url: str, prefix: str, tmp_path: Path) -> None:
    """A plain def and a plain sessionmaker."""
    engine = create_engine(f"sqlite:///{tmp_path}/db", poolclass=NullPool)
    Base.metadata.create_all(engine)
    maker = sessionmaker(engine)
    names = await run(snippet(redis_url, prefix, plain=True), cluster=maker)
    app = Flask(__name__)

    @app.get("/top/<category>")
    def top(category: str) -> Any:
        with maker() as session:
            return [dataclasses.asdict(row) for row in names["top_products"](session, category)]

    @app.post("/products/<name>")
    def add(name: str) -> Any:
        with maker.begin() as session:
            session.add(Product(name=name))
        return {}

    await check(app, names["runs"])
    names["cache"].close_sync()
    assert Session
