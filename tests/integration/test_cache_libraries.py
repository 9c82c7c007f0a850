"""The cache beside libraries that keep sessions of their own."""

from pathlib import Path

import flask_sqlalchemy
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend


class Base(DeclarativeBase): ...


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


def test_flask_sqlalchemy(tmp_path: Path) -> None:
    """11. `cache.watch(db.session)`: outside of a context there is no session, and that is no error."""
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/db"
    db = flask_sqlalchemy.SQLAlchemy(app, model_class=Base)
    cache = Cache(MemoryBackend(), local_entries=10)
    cache.watch(db.session)
    names = select(Note.text)

    @cache.query(ttl=60, hard_timeout=20, session=app.app_context, reads=[Note])
    def notes() -> list[str]:
        return list(db.session.scalars(names))

    @cache.query(ttl=60)
    def rate(currency: str) -> float:
        return 1.08

    assert [rate("EUR"), rate("EUR"), rate.refresh("EUR")] == [1.08] * 3
    with app.app_context():
        Base.metadata.create_all(db.engine)
        assert notes() == []
        db.session.add(Note(id=1, text="one"))
        assert notes() == ["one"]  # its own, which nobody else sees
        db.session.rollback()
        assert notes() == []
        db.session.add(Note(id=1, text="one"))
        db.session.commit()
    assert notes() == ["one"]
    cache.close_sync()
