"""The tables. Money is in cents."""

from datetime import UTC, datetime

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


def now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str] = mapped_column(String(80))
    latin: Mapped[str] = mapped_column(String(80))
    category: Mapped[str] = mapped_column(String(20), index=True)
    price: Mapped[int]
    light: Mapped[str] = mapped_column(String(60))
    water: Mapped[str] = mapped_column(String(60))
    size: Mapped[str] = mapped_column(String(60))
    blurb: Mapped[str] = mapped_column(Text)
    tint: Mapped[str] = mapped_column(String(20))


class Stock(Base):
    """How many are left. A table of its own: it changes with every order, the catalogue hardly ever does."""

    __tablename__ = "stock"
    __table_args__ = (CheckConstraint("quantity >= 0"),)

    product_id: Mapped[int] = mapped_column(ForeignKey(Product.id), primary_key=True)
    quantity: Mapped[int]


class Order(Base):
    """``once`` is the token of the checkout form: a form that is sent twice is still one order."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    once: Mapped[str] = mapped_column(String(40), unique=True)
    user: Mapped[str] = mapped_column("user_name", String(40), index=True)
    address: Mapped[str] = mapped_column(String(200))
    total: Mapped[int]
    placed: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
    lines: Mapped[list["OrderLine"]] = relationship(back_populates="order", order_by="OrderLine.id")


class OrderLine(Base):
    __tablename__ = "order_line"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id), index=True)
    product_id: Mapped[int] = mapped_column(ForeignKey(Product.id), index=True)
    quantity: Mapped[int]
    price: Mapped[int]
    order: Mapped[Order] = relationship(back_populates="lines")
    product: Mapped[Product] = relationship(lazy="joined", innerjoin=True)


class Photo(Base):
    """A visitor's photo of a plant at home. ``key`` is where the storage has it; ``once`` as for orders."""

    __tablename__ = "photo"
    __table_args__ = (Index("photo_of_product", "product_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey(Product.id))
    user: Mapped[str] = mapped_column("user_name", String(40))
    key: Mapped[str] = mapped_column(String(120))
    caption: Mapped[str] = mapped_column(String(120))
    once: Mapped[str] = mapped_column(String(120), unique=True)
    taken: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=now)
