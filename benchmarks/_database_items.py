"""What the benchmarks of the database piece read, and how they run many units at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tests.servers import PostgresCluster


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def fill(servers: PostgresCluster) -> None:
    """One item, on all servers when this returns."""
    servers.primary.sql(
        "CREATE TABLE item (id int PRIMARY KEY, name text)", "INSERT INTO item VALUES (1, 'one')"
    )
    servers.wait_caught_up()


def many(
    unit: Callable[[], Awaitable[object]], *, concurrent: int, each: int
) -> Callable[[], Awaitable[None]]:
    """Run ``each`` units in each of ``concurrent`` tasks."""

    async def worker() -> None:
        for _ in range(each):
            await unit()

    async def run() -> None:
        await asyncio.gather(*(worker() for _ in range(concurrent)))

    return run
