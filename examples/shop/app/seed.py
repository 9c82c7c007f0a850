"""Create the tables and put the catalogue in, once, on the primary."""

import random
import secrets

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from examples.shop.app.catalogue import ITEMS
from examples.shop.app.models import Base, Order, OrderLine, Product, Stock


async def seed(database: str) -> None:
    """Doing it twice is doing it once."""
    engine = create_async_engine(database)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with async_sessionmaker(engine)() as session, session.begin():
            if await session.scalar(select(func.count()).select_from(Product)):
                return
            products = []
            for item in ITEMS:
                values = {name: value for name, value in vars(item).items() if name != "stock"}
                products.append(Product(**values))
            session.add_all(products)
            await session.flush()
            session.add_all(
                Stock(product_id=product.id, quantity=item.stock)
                for product, item in zip(products, ITEMS, strict=True)
            )
            session.add_all(_past_orders(products))
    finally:
        await engine.dispose()


def _past_orders(products: list[Product]) -> list[Order]:
    """Last week's customers, so that there is something to be loved most. Not the demo's own users."""
    chance = random.Random(7)
    weights = [len(products) - position for position in range(len(products))]
    orders = []
    for number in range(60):
        chosen = {
            product.id: product for product in chance.choices(products, weights, k=chance.randint(1, 3))
        }
        lines = [
            OrderLine(product_id=product.id, quantity=1, price=product.price) for product in chosen.values()
        ]
        orders.append(
            Order(
                once=secrets.token_urlsafe(12),
                user=f"guest-{number % 20}",
                address="1 Garden Row",
                total=sum(line.price * line.quantity for line in lines),
                lines=lines,
            )
        )
    return orders
