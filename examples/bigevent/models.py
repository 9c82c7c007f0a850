"""The tables. All that visitors write carries a token or a version of theirs, so it may be sent twice."""

from sqlalchemy import JSON, String
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    once: Mapped[str] = mapped_column(String(60), primary_key=True)
    user: Mapped[str] = mapped_column("user_name", String(40), index=True)
    items: Mapped[dict[str, str]] = mapped_column(JSON)


class Profile(Base):
    __tablename__ = "profile"

    user: Mapped[str] = mapped_column("user_name", String(40), primary_key=True)
    version: Mapped[int]


class Review(Base):
    __tablename__ = "review"

    product: Mapped[str] = mapped_column(String(40), primary_key=True)
    user: Mapped[str] = mapped_column("user_name", String(40), primary_key=True)
    version: Mapped[int]


class Photo(Base):
    __tablename__ = "photo"

    once: Mapped[str] = mapped_column(String(60), primary_key=True)
    user: Mapped[str] = mapped_column("user_name", String(40))
    key: Mapped[str] = mapped_column(String(120))


async def create_tables(database: str) -> None:
    engine = create_async_engine(database)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
    finally:
        await engine.dispose()
