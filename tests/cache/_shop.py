"""A table, and a cached query of it, for tests of what commits do to the cache."""

from typing import Any

from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from scalekit.cache import Cache


class Base(DeclarativeBase): ...


class Product(Base):
    __tablename__ = "product"
    id: Mapped[int] = mapped_column(primary_key=True)
    price: Mapped[int] = mapped_column(default=0)


class Review(Base):
    """Goes with its product; and its answers lose it."""

    __tablename__ = "review"
    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id", ondelete="CASCADE"))


class Answer(Base):
    __tablename__ = "answer"
    id: Mapped[int] = mapped_column(primary_key=True)
    review_id: Mapped[int | None] = mapped_column(ForeignKey("review.id", ondelete="SET NULL"))


class Unrelated(Base):
    """Refers to a product, and keeps it from being deleted."""

    __tablename__ = "unrelated"
    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"))


def define(cache: Cache, **options: Any) -> Any:
    """The price of the product 1, cached for an hour."""

    @cache.query(ttl=3600, reads=[Product], name="price", **options)
    def price(session: Session) -> int:
        return session.scalar(select(Product.price).where(Product.id == 1)) or 0

    return price
