"""Sessions in which the application binds something to an engine of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from scalekit.database import Cluster
from tests.conftest import Database
from tests.database._items import Item


class Elsewhere(DeclarativeBase):
    pass


class Note(Elsewhere):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    words: Mapped[str]


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Engine]:
    """Another database, with a table of notes."""
    engine = create_engine(f"sqlite:///{tmp_path / 'notes.db'}")
    Elsewhere.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Note).values(id=1, words="one"))
    yield engine
    engine.dispose()


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_a_class_that_is_bound_elsewhere(
    make_sync: Callable[..., Cluster], items: Database, notes: Engine, single: bool, late: bool
) -> None:
    """25. Its rows are read and written there; the rest goes where it would go without it."""
    cluster = make_sync(**({"replicas": []} if single else {}))
    where = text("SELECT pg_is_in_recovery()")

    def open_session() -> Session:
        session = cluster.session(**({} if late else {"binds": {Elsewhere: notes}}))
        if late:
            session.bind_mapper(Note, notes)
        return session

    with open_session() as session:
        assert session.get_one(Note, 1).words == "one"
        assert session.scalar(select(Note.words)) == "one"
        session.add(Note(id=2, words="two"))
        session.flush()
        session.execute(insert(Note), [{"id": 3, "words": "three"}])
        assert session.connection({"mapper": Note}).dialect.name == "sqlite"
        assert session.get_bind(Note) is notes
        assert session.scalar(where) is not single, "nothing of that was the cluster's business"
        assert session.get_one(Item, 1).name == "one"
        session.add_all([Item(id=4, name="four"), Note(id=4, words="four")])
        session.commit()
    with open_session() as session:
        assert len(session.scalars(select(Note)).all()) == 4
        assert len(session.scalars(select(Item)).all()) == 4
    assert items.cluster.primary.sql("SELECT count(*) FROM item", database=items.name) == "4"


def test_a_session_that_is_bound_as_a_whole(make_sync: Callable[..., Cluster], items: Database) -> None:
    """25. It is a session of SQLAlchemy's: a test that wants one connection for all it does gets that."""
    cluster = make_sync()
    engine = create_engine(items.primary_url("psycopg"))
    with engine.connect() as connection:
        transaction = connection.begin()
        with cluster.session(bind=connection, join_transaction_mode="create_savepoint") as session:
            with session.begin_nested():
                session.add(Item(id=4, name="four"))
            session.execute(text("DELETE FROM item WHERE id < 4"))
            session.commit()
            assert session.scalars(select(Item.id)).all() == [4]
            assert session.connection() is connection
        transaction.rollback()
        assert len(connection.scalars(select(Item.id)).all()) == 3
    engine.dispose()
    assert sum(member.transactions for member in cluster.status().members) == 0
