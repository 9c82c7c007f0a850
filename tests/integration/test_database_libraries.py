"""Flask-SQLAlchemy, SQLModel and Alembic on a primary and its replicas."""

from collections.abc import Iterator
from pathlib import Path

import alembic.command
import alembic.config
import flask_sqlalchemy
import flask_sqlalchemy.session
import pytest
import sqlmodel
from flask import Flask
from sqlalchemy import create_engine, func, inspect, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlmodel.ext.asyncio.session import AsyncSession
from werkzeug.exceptions import NotFound

from scalekit.database import AsyncCluster, Cluster
from tests.conftest import Database
from tests.database._lag import lagging
from tests.database.conftest import PATIENT

ROOT = Path(__file__).parents[2]


class Note(sqlmodel.SQLModel, table=True):
    __tablename__ = "notes"
    id: int | None = sqlmodel.Field(default=None, primary_key=True)
    text: str


NOTES = sqlmodel.select(Note.text, func.pg_is_in_recovery())


@pytest.fixture
def notes(database: Database) -> Database:
    """A database with a table of one note, on the replicas too."""
    database.cluster.primary.sql(
        "CREATE TABLE notes (id serial PRIMARY KEY, text text NOT NULL)",
        "INSERT INTO notes (text) VALUES ('first')",
        database=database.name,
    )
    database.cluster.wait_caught_up()
    return database


@pytest.fixture
def cluster(notes: Database) -> Iterator[Cluster]:
    with Cluster(
        notes.primary_url("psycopg"),
        replicas=notes.replica_urls("psycopg"),
        probe_interval=0.1,
        **PATIENT,
    ) as cluster:
        yield cluster


def test_flask_sqlalchemy(cluster: Cluster, notes: Database, tmp_path: Path) -> None:
    """1. Its session, queries and helpers are routed; a model with a bind key lives in its own database."""

    class Base(DeclarativeBase):
        pass

    made = cluster.session_class(flask_sqlalchemy.session.Session)
    db = flask_sqlalchemy.SQLAlchemy(model_class=Base, session_options={"class_": made})

    class Item(db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]

    class Log(db.Model):  # type: ignore[name-defined, misc]
        __bind_key__ = "logs"
        id: Mapped[int] = mapped_column(primary_key=True)

    app = Flask("shop")
    app.config["SQLALCHEMY_DATABASE_URI"] = notes.primary_url("psycopg")
    app.config["SQLALCHEMY_BINDS"] = {"logs": f"sqlite:///{tmp_path}/logs.db"}
    db.init_app(app)
    where = text("SELECT pg_is_in_recovery()")

    with app.app_context():
        db.create_all("logs")
        assert db.session.scalar(where) is True
        assert db.paginate(db.select(Item), per_page=5).total == 1
        assert db.get_or_404(Item, 1).text == "first"
        with pytest.raises(NotFound):
            db.get_or_404(Item, 2)
        assert Item.query.count() == 1
        assert db.session.scalar(where) is True  # all of that was one transaction on a replica
    with lagging(notes), cluster.scope() as scope:
        with app.app_context():
            db.session.add_all([Item(text="second"), Log(id=7)])
            db.session.commit()
            assert scope.token is not None
        with app.app_context():
            assert db.session.scalars(db.select(Item.text).order_by(Item.id)).all() == ["first", "second"]
            assert db.session.scalar(where) is False
            assert db.session.scalars(db.select(Log.id)).all() == [7]
    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()


def test_sqlmodel(cluster: Cluster, notes: Database) -> None:
    """1. ``exec()`` is routed, and what it writes is read by the next session."""
    make = cluster.sessionmaker(class_=sqlmodel.Session)
    with make() as session:
        assert session.exec(NOTES).all() == [("first", True)]
    with lagging(notes), cluster.scope():
        with make() as session:
            session.add(Note(text="second"))
            session.commit()
            session.exec(sqlmodel.update(Note).where(Note.text == "first").values(text="1st"))  # type: ignore[arg-type]
            session.commit()
        with make() as session:
            assert sorted(session.exec(NOTES).all()) == [("1st", False), ("second", False)]


async def test_sqlmodel_asynchronously(notes: Database) -> None:
    """1. The same with its ``AsyncSession``."""
    async with AsyncCluster(
        notes.primary_url("asyncpg"),
        replicas=notes.replica_urls("asyncpg"),
        probe_interval=0.1,
        **PATIENT,
    ) as cluster:
        make = cluster.sessionmaker(class_=AsyncSession)
        async with make() as session:
            assert (await session.exec(NOTES)).all() == [("first", True)]
        with lagging(notes), cluster.scope():
            async with make() as session:
                await session.exec(sqlmodel.update(Note).values(text="1st"))
                await session.commit()
            async with make() as session:
                assert (await session.exec(NOTES)).all() == [("1st", False)]


@pytest.mark.parametrize("primary_comes", ["first", "last"])
def test_alembic(database: Database, monkeypatch: pytest.MonkeyPatch, primary_comes: str) -> None:
    """16. Migrations run on the server that is the primary now, whichever is named as such."""
    urls = [database.primary_url("psycopg"), *database.replica_urls("psycopg")]
    if primary_comes == "last":
        urls.reverse()
    monkeypatch.setenv("DATABASE_URL", urls[0])
    monkeypatch.setenv("REPLICA_URLS", " ".join(urls[1:]))
    config = alembic.config.Config(ROOT / "examples/database_alembic/alembic.ini")
    primary = create_engine(database.primary_url("psycopg"))
    alembic.command.upgrade(config, "head")
    assert set(inspect(primary).get_table_names()) == {"alembic_version", "notes"}
    alembic.command.check(config)  # the models and the tables are the same
    alembic.command.downgrade(config, "base")
    assert inspect(primary).get_table_names() == ["alembic_version"]
    primary.dispose()
