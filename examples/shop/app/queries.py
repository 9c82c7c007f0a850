"""What the pages ask the database.

The catalogue is cached: it changes when the shop changes it, and a commit that does so drops the results.
Stock, photos and orders are not: a page that shows them must be right, and reading them from a replica
costs no more than the cache would.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from examples.shop.app.models import Order, OrderLine, Photo, Product, Stock
from scalekit.cache import Cache


@dataclass(frozen=True)
class Plant:
    """A product as the pages show it."""

    id: int
    slug: str
    name: str
    latin: str
    category: str
    price: int
    tint: str
    light: str
    water: str
    size: str
    blurb: str


@dataclass(frozen=True)
class Loved:
    slug: str
    name: str
    tint: str
    sold: int


_PLANT = [getattr(Product, name) for name in Plant.__dataclass_fields__]


class Catalogue:
    """The cached queries, over one cache."""

    def __init__(self, cache: Cache) -> None:
        @cache.query(ttl=300, reads=[Product])
        async def plants(session: AsyncSession, category: str) -> list[Plant]:
            query = select(*_PLANT).order_by(Product.id)
            if category:
                query = query.where(Product.category == category)
            return [Plant(*row) for row in await session.execute(query)]

        @cache.query(ttl=300, reads=[Product])
        async def plant(session: AsyncSession, slug: str) -> Plant | None:
            row = (await session.execute(select(*_PLANT).where(Product.slug == slug))).one_or_none()
            return None if row is None else Plant(*row)

        # It counts all orders there are, and nobody minds a minute: no `reads` for the orders, or each of
        # them would drop it.
        @cache.query(ttl=60, reads=[Product])
        async def loved(session: AsyncSession) -> list[Loved]:
            sold = func.sum(OrderLine.quantity)
            query = (
                select(Product.slug, Product.name, Product.tint, sold)
                .join(OrderLine, OrderLine.product_id == Product.id)
                .group_by(Product.id)
                .order_by(sold.desc(), Product.id)
                .limit(4)
            )
            return [
                Loved(slug, name, tint, int(total))
                for slug, name, tint, total in await session.execute(query)
            ]

        self.plants, self.plant, self.loved = plants, plant, loved


async def stock(session: AsyncSession, product_id: int) -> int:
    return await session.scalar(select(Stock.quantity).where(Stock.product_id == product_id)) or 0


async def photos(session: AsyncSession, product_id: int) -> Sequence[Photo]:
    """The newest first."""
    query = select(Photo).where(Photo.product_id == product_id).order_by(Photo.id.desc()).limit(11)
    return (await session.scalars(query)).all()


async def orders_of(session: AsyncSession, user: str) -> Sequence[Order]:
    """The newest first."""
    query = select(Order).where(Order.user == user).order_by(Order.id.desc()).limit(20)
    return (await session.scalars(query.options(selectinload(Order.lines)))).all()


async def order_of(session: AsyncSession, user: str, number: int) -> Order | None:
    """The order, if it is this user's."""
    query = select(Order).where(Order.id == number, Order.user == user)
    return await session.scalar(query.options(selectinload(Order.lines)))
