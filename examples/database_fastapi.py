"""Reads on replicas, writes on the primary, under FastAPI.

    python -m examples.database_fastapi
    curl -i -X POST localhost:8000/notes/hello     # with replicas: a cookie that remembers the write
    curl localhost:8000/notes

One SQLite file by default. For PostgreSQL set
DATABASE_URL=postgresql+asyncpg://app@primary/shop and
REPLICA_URLS="postgresql+asyncpg://app@replica-1/shop postgresql+asyncpg://app@replica-2/shop".
"""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit.database import AsyncCluster
from scalekit.database.asgi import ReadYourWritesMiddleware

cluster = AsyncCluster(
    os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///notes.db"),
    replicas=os.environ.get("REPLICA_URLS", "").split(),
)


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with cluster:
        async with cluster.primary_engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield


async def new_session() -> AsyncIterator[AsyncSession]:
    async with cluster.session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(new_session)]
app = FastAPI(lifespan=lifespan)
secret_key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe()  # the same on every server
app.add_middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key=secret_key)


@app.get("/notes")
async def notes(session: Session) -> list[str]:
    return list(await session.scalars(select(Note.text).order_by(Note.id)))


@app.post("/notes/{text}")
async def add(text: str, session: Session) -> None:
    session.add(Note(text=text))
    await session.commit()


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
