"""Where a transaction was committed, and what another one has read past: for who keeps what was read."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, text

from scalekit.database import ANY, Cluster, Token
from scalekit.database.tokens import Reached, covers
from tests.conftest import Database
from tests.faults import pause_replay
from tests.servers import wait_until

READ = text("SELECT stock FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


@pytest.mark.parametrize(
    "token",
    [
        Token("pg:1", 7, (("7", 4096),)),
        Token("mariadb:0.1%", 0, (("0:1.2", 3), ("1:2", 4))),
        Token("mysql:a", 0, ()),
    ],
)
def test_a_position_is_a_token_as_text(token: Token) -> None:
    """Whatever is in it comes back."""
    assert Token.at(token.position()) == token


def test_what_is_no_position_is_not_known() -> None:
    """Another version's text, or nothing, says nothing of what a server has."""
    reached = Reached("pg:1", {"7": 4096})
    assert covers(reached, Token("pg:1", 7, (("7", 4096),)).position())
    for position in (None, "", "pg:1", "pg:1.7.7", "pg:1.x", Token("pg:1", 7, (("7", 4097),)).position()):
        assert not covers(reached, position)


def test_sessions_say_where_they_have_committed(make_sync: Callable[..., Cluster], items: Database) -> None:
    """And whether they read past that: on the primary always, on a replica when it has replayed it."""
    cluster = make_sync(consistency=ANY)
    with cluster.session() as session:
        session.execute(READ)
        session.commit()
        assert session.committed_position() is None  # it has written nothing
        session.execute(WRITE)
        session.commit()
        first = session.committed_position()
    one, two = items.cluster.replicas
    with pause_replay(one), pause_replay(two), cluster.session() as session:
        session.execute(WRITE)
        assert session.has_read_past(None)  # on the primary
        session.commit()
        second = session.committed_position()
        assert first is not None
        assert second is not None
        session.execute(READ)
        assert not session.has_read_past(second)
        assert not session.has_read_past(None)
        session.rollback()
        assert session.committed_position() is None

    def has_read(position: str) -> bool:
        with cluster.connection(read=True) as connection, cluster.session() as session:
            session.execute(READ)
            connection.execute(READ)
            assert connection.committed_position() is None  # type: ignore[attr-defined]
            return session.has_read_past(position) and bool(connection.has_read_past(position))  # type: ignore[attr-defined]

    wait_until(lambda: has_read(first) and has_read(second), what="the replicas to be heard of")


def test_a_single_server() -> None:
    """There is no position to compare with, and no replica to be behind."""
    with Cluster("sqlite://") as cluster, cluster.session() as session:
        session.execute(text("CREATE TABLE item (id int)"))
        session.commit()
        assert session.committed_position() is None
        assert session.has_read_past(None)


def test_whoever_has_to_know_each_connection(make_sync: Callable[..., Cluster]) -> None:
    """`on_connection` tells of those for writing and for reading, from both ways; not of a session's."""
    cluster, opened = make_sync(), list[Connection]()
    cluster.on_connection(opened.append)
    with (
        cluster.connection() as one,
        cluster.connection(read=True) as two,
        cluster.primary_engine.connect() as three,
        cluster.session() as session,
    ):
        session.execute(READ)
        assert opened == [one, two, three]
