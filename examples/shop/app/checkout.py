"""Placing an order: one transaction that takes the goods off the shelf or changes nothing.

Rules:

* Stock is taken by ``UPDATE ... WHERE quantity >= n``: two servers cannot sell the last plant twice.
* Products are taken in the order of their ids, so that two orders cannot wait for each other.
* A form that arrives twice is one order. It does arrive twice: when a server dies after COMMIT and before
  its answer, the load balancer sends the form to the next one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from examples.shop.app.models import Order, OrderLine, Product, Stock


@dataclass
class SoldOut(Exception):
    """Not enough of a product is left; nothing was ordered."""

    name: str
    left: int


async def place_order(
    session: AsyncSession, *, once: str, user: str, address: str, cart: Mapping[str, int]
) -> int:
    """Order what is in ``cart`` (slug to quantity) and return the order's number.

    Args:
        session: in whose transaction; the caller commits.
        once: the form's token.

    Raises:
        SoldOut: the caller rolls back.
        IntegrityError: the same form is being processed by another server; try again.
    """
    # An update and not a select: only who writes gets to know a position in the log, and the visitor must
    # see this order on the next page although the answer that told its position was lost.
    again = update(Order).where(Order.once == once, Order.user == user).values(once=once).returning(Order.id)
    if (number := await session.scalar(again)) is not None:
        return number
    products = (
        await session.scalars(select(Product).where(Product.slug.in_(cart)).order_by(Product.id))
    ).all()
    lines = []
    for product in products:
        quantity = cart[product.slug]
        taken = await session.scalar(
            update(Stock)
            .where(Stock.product_id == product.id, Stock.quantity >= quantity)
            .values(quantity=Stock.quantity - quantity)
            .returning(Stock.product_id)
        )
        if taken is None:
            left = await session.scalar(select(Stock.quantity).where(Stock.product_id == product.id))
            raise SoldOut(product.name, left or 0)
        lines.append(OrderLine(product_id=product.id, quantity=quantity, price=product.price))
    order = Order(
        once=once,
        user=user,
        address=address,
        total=sum(line.quantity * line.price for line in lines),
        lines=lines,
    )
    session.add(order)
    await session.flush()
    return order.id
