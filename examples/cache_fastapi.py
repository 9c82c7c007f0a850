"""Cached queries and pages under FastAPI: computed once, and dropped when a product is committed.

    python -m examples.cache_fastapi
    curl localhost:8000/products/books                 # the first one runs the query
    curl -i localhost:8000/pages/books                 # the whole page is kept, with an ETag
    curl -X POST localhost:8000/products/books/Emma    # and drops what it changed
    curl localhost:8000/stats

REDIS_URL says where Redis is; start it on two ports (PORT) to see that both servers agree.
"""

import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape

import uvicorn
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit.cache import Cache, Stats
from scalekit.cache.redis import RedisBackend

cache = Cache(RedisBackend.from_url(os.environ.get("REDIS_URL", "redis://localhost:6379/1")))
engine = create_async_engine(os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///products.db"))
sessions = async_sessionmaker(engine)
cache.watch(sessions)


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    category: Mapped[str]
    name: Mapped[str]


@dataclasses.dataclass(frozen=True)
class ProductRow:
    id: int
    name: str


@cache.query(ttl=60, reads=[Product])
async def products(session: AsyncSession, category: str) -> tuple[ProductRow, ...]:
    query = select(Product.id, Product.name).where(Product.category == category).order_by(Product.id)
    return tuple(ProductRow(*row) for row in await session.execute(query))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


@app.get("/products/{category}")
async def show(category: str, session: AsyncSession = Depends(session)) -> tuple[ProductRow, ...]:
    return await products(session, category)


@app.get("/pages/{category}", response_class=HTMLResponse)
@cache.response(ttl=60, reads=[Product])
async def page(category: str, session: AsyncSession = Depends(session)) -> str:
    items = "".join(f"<li>{escape(row.name)}" for row in await products(session, category))
    return f"<h1>{escape(category)}</h1><ul>{items}</ul>"


@app.post("/products/{category}/{name}")
async def add(category: str, name: str, session: AsyncSession = Depends(session)) -> None:
    session.add(Product(category=category, name=name))
    await session.commit()


@app.get("/stats")
async def stats() -> Stats:
    return cache.stats()


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
