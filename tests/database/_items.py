"""The table ``item`` of the fixtures, as a class."""

from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="new")
    stock: Mapped[int] = mapped_column(default=0)


def flush(session: Session) -> None:
    session.add(Item(id=9, name="nine"))
    session.flush()


def writes(function: str) -> list[Callable[[Session], object]]:
    """Ways in which a transaction begins to write; ``function`` does, as a replica's refusal only tells."""
    return [
        flush,
        lambda session: session.execute(text("UPDATE item SET name = 'two' WHERE id = 2")),
        lambda session: session.scalar(text(f"SELECT {function}(2)")),
        lambda session: session.connection(),
    ]
