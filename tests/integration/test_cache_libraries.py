"""The cache beside libraries that keep sessions of their own."""

import time
from pathlib import Path

import flask_sqlalchemy
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scalekit.cache import Cache
from scalekit.cache.memory import MemoryBackend
from tests.ops.child import wait_until


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
    with app.app_context():
        db.engine.dispose()


def test_flask_sqlalchemy_in_the_background(tmp_path: Path) -> None:
    """21. `session=app.app_context` of a query is entered around its runs; on Cache it makes no session."""
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/db"
    db = flask_sqlalchemy.SQLAlchemy(app, model_class=Base)
    cache = Cache(MemoryBackend(), session=app.app_context)
    cache.watch(db.session)

    @cache.query(ttl=60, stale_while_revalidate=60, session=app.app_context)
    def notes() -> list[str]:
        return list(db.session.scalars(select(Note.text)))

    @cache.query(ttl=60, stale_while_revalidate=60)
    def forgotten() -> list[str]:
        return list(db.session.scalars(select(Note.text)))

    with app.app_context():
        Base.metadata.create_all(db.engine)
        assert notes() == forgotten() == []
        db.session.add(Note(id=1, text="one"))
        db.session.commit()
        cache._core.clock = lambda: time.time() + 61
        assert notes() == forgotten() == []
    wait_until(lambda: (cache.stats().fills, cache.stats().failures) == (3, 1), "one succeeds, one fails")
    with app.app_context():
        assert notes() == ["one"]
    cache.close_sync()
    with app.app_context():
        db.engine.dispose()
