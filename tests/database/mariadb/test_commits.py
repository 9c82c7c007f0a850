"""Commits on a real MariaDB: what they tell, what they cost, and what became of them."""

from collections.abc import Callable
from typing import Any

import aiomysql  # type: ignore[import-untyped]
import asyncmy
import pymysql
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from scalekit.database import STRONG, Token
from scalekit.database.backends.mariadb import INLINE
from scalekit.errors import OutcomeUnknown
from scalekit.testing.database import recording
from tests.database._items import Item
from tests.database.mariadb.conftest import READ, WHERE, WRITE, Both, url
from tests.faults import FaultProxy
from tests.servers import MariaDBPair, MariaDBServer


def token_of(both: Both, *steps: Callable[[Session], Any]) -> str | None:
    """The token that a visitor has after these steps in one session, if any."""
    with both.cluster.scope() as scope:
        both.run(lambda session: [step(session) for step in steps])
    return str(scope.token) if scope.token is not None else None


def commit(session: Session) -> None:
    session.commit()


def last(server: MariaDBServer) -> str:
    """The position of ``server`` as a token shows it: domain, server, number."""
    return f"mariadb {server.position().replace('-', ':')}"


def test_a_commit_tells_its_transaction(both: Both, mariadb: MariaDBPair) -> None:
    """1. The token is the id that the primary gave the transaction, whatever it wrote by."""
    ways: list[Callable[[Session], Any]] = [
        lambda session: session.execute(WRITE),
        lambda session: session.add(Item(id=30, name="thirty")),
        lambda session: session.connection().execute(text("DELETE FROM item WHERE id = 30")),
        lambda session: session.execute(text("SELECT bump(2)")),
    ]
    for way in ways:
        assert token_of(both, way, commit) == last(mariadb.primary)


def test_only_what_was_committed_gives_a_token(both: Both) -> None:
    """22. Not a rollback, a statement that failed, a change of nothing, a lock, or a read on the primary."""

    def fails(session: Session) -> None:
        with pytest.raises(DBAPIError, match="Duplicate"):
            session.execute(text("INSERT INTO item VALUES (1, 'again', 0)"))

    both.write()  # what an earlier transaction on the same connection did is not this one's
    rollback: Callable[[Session], None] = lambda session: session.rollback()  # noqa: E731
    write: Callable[[Session], Any] = lambda session: session.execute(WRITE)  # noqa: E731
    assert token_of(both, write) is None
    assert token_of(both, write, rollback) is None
    assert token_of(both, fails, rollback) is None
    assert token_of(both, fails, commit) is None
    for sql in (
        "UPDATE item SET stock = stock WHERE id = 1",
        "DELETE FROM item WHERE id = 99",
        "SELECT * FROM item FOR UPDATE",
        "SELECT GET_LOCK('a', 0)",
        "SET @a = 1",
        "SHOW TABLES",
    ):
        assert token_of(both, lambda session, sql=sql: session.execute(text(sql)).close(), commit) is None, (
            sql
        )
    with both.cluster.primary():
        assert token_of(both, lambda session: session.execute(READ).one(), commit) is None


def test_what_commits_by_itself_gives_a_token(both: Both, mariadb: MariaDBPair) -> None:
    """1. DDL commits, and with it what came before, even if the DDL itself then fails."""

    def fails(session: Session) -> None:
        with pytest.raises(DBAPIError, match="already exists"):
            session.execute(text("CREATE TABLE item (id int)"))

    rollback: Callable[[Session], None] = lambda session: session.rollback()  # noqa: E731
    write: Callable[[Session], Any] = lambda session: session.execute(WRITE)  # noqa: E731
    create: Callable[[Session], Any] = lambda session: session.execute(text("CREATE TABLE made (id int)"))  # noqa: E731
    drop: Callable[[Session], Any] = lambda session: session.execute(text("DROP TABLE made"))  # noqa: E731
    assert token_of(both, create, commit) == last(mariadb.primary)
    assert token_of(both, write, drop, rollback) == last(mariadb.primary)
    assert token_of(both, write, fails, rollback) == last(mariadb.primary)
    assert token_of(both, write, lambda session: session.execute(text("COMMIT"))) == last(mariadb.primary)


def test_what_commits_by_itself_is_read_at_once(both: Both, mariadb: MariaDBPair) -> None:
    """1. While its session is open nobody knows where it is, so others read from the primary.

    What committed nothing, as it turns out, leaves nothing behind.
    """
    seen: list[Token | None] = []

    def look(session: Session) -> None:
        scope = both.cluster.scopes.current()
        seen.append(scope.token if scope is not None else None)

    def run(*texts: str) -> str | None:
        seen.clear()
        ways = [lambda session, sql=sql: session.execute(text(sql)).close() for sql in texts]  # type: ignore[misc]
        return token_of(both, *ways, look, lambda session: session.rollback(), look)

    write = "UPDATE item SET stock = stock + 1 WHERE id = 1"
    for last_one in (
        "CREATE TABLE passing (id int)",
        "DROP TABLE passing",
        "COMMIT AND CHAIN",
        "BEGIN",
    ):
        assert run(write, last_one) == last(mariadb.primary), last_one
        before, after = seen
        assert before is not None, last_one
        assert not before.is_known, last_one
        assert after is not None
        assert after.is_known, last_one
    for harmless in ("CREATE TEMPORARY TABLE passing (id int)", "DROP TEMPORARY TABLE passing"):
        assert run(harmless) in (None, last(mariadb.primary)), harmless

    def fails(session: Session) -> None:
        with pytest.raises(DBAPIError, match="already exists"):
            session.execute(text("CREATE TABLE item (id int)"))

    seen.clear()
    token_of(both, lambda session: session.execute(WRITE).close(), fails, look)
    assert seen[0] is not None, "it has committed what came before"
    assert run(write, "SET @a = 1") is None
    assert seen == [None, None], "nothing was committed"


def test_connections_without_a_session(both: Both, mariadb: MariaDBPair) -> None:
    """1. Core's connections tell the same, also what DDL committed before a rollback."""

    def token_after(*ways: Callable[[Connection], Any]) -> str | None:
        with both.cluster.scope() as scope:
            both.run_core(lambda connection: [way(connection) for way in ways])
        return str(scope.token) if scope.token is not None else None

    write: Callable[[Connection], Any] = lambda connection: connection.execute(WRITE)  # noqa: E731
    assert token_after(write, lambda connection: connection.commit()) == last(mariadb.primary)
    assert token_after(write) is None
    assert token_after(
        write, lambda connection: connection.execute(text("DROP TABLE IF EXISTS made"))
    ) == last(mariadb.primary)
    mariadb.wait_caught_up()
    assert both.run_core(lambda connection: connection.execute(WHERE).one()[0], read=True) == 2


def test_autocommit(make: Callable[..., Both], mariadb: MariaDBPair, shop: str) -> None:
    """1. Each statement is its own transaction; what it committed is asked for when the session ends."""
    both = make([mariadb.primary, mariadb.replica], shop, isolation_level="AUTOCOMMIT")
    assert token_of(both, lambda session: session.execute(WRITE)) == last(mariadb.primary)


def test_round_trips(
    make: Callable[..., Both],
    mariadb: MariaDBPair,
    shop: str,
    monkeypatch: pytest.MonkeyPatch,
    driver: str,
) -> None:
    """A commit tells its transaction in its own round trip. A read asks once whether the replica has it, and
    what is known to be there is not asked for again."""
    modules: dict[str, Any] = {
        "pymysql": pymysql.connections,
        "asyncmy": asyncmy.connection,
        "aiomysql": aiomysql,
    }
    kind = modules[driver].Connection
    plain = kind._execute_command
    sent: list[str] = []

    def counting(connection: Any, command: int, sql: str | bytes) -> Any:
        sent.append(sql.decode() if isinstance(sql, bytes) else sql)
        return plain(connection, command, sql)

    def count(steps: Callable[[], object]) -> list[str]:
        sent.clear()
        steps()
        return list(sent)

    both = make([mariadb.primary, mariadb.replica], shop, probe_interval=60)
    both.write()
    both.read()
    # The session's and the pool's, as in plain SQLAlchemy.
    ends = ["ROLLBACK", "ROLLBACK"]
    with both.cluster.scope():
        monkeypatch.setattr(kind, "_execute_command", counting)
        assert count(both.write) == [WRITE.text, "BEGIN NOT ATOMIC COMMIT; SELECT @@last_gtid; END", ends[0]]
        mariadb.wait_caught_up()
        assert count(both.read) == [INLINE, READ.text, *ends]
        assert count(both.read) == [READ.text, *ends]


def test_a_commit_whose_answer_is_lost(
    make: Callable[..., Both], mariadb: MariaDBPair, shop: str, driver: str
) -> None:
    """17. OutcomeUnknown, never repeated; the visitor is shown what the primary has until it is known."""
    primary, replica = mariadb.primary, mariadb.replica
    before = int(primary.sql("SELECT stock FROM item WHERE id = 1", database=shop))
    with FaultProxy(primary.host, primary.port) as proxy:
        both = make([proxy.url(url(primary, driver, shop)), replica], shop, probe_interval=30)
        with both.cluster.scope() as scope:

            def steps(session: Session) -> None:
                session.execute(WRITE)
                proxy.cut(after=0)
                session.commit()

            with pytest.raises(OutcomeUnknown, match="may or may not"):
                both.run(steps)
            assert scope.token is not None
            assert not scope.token.is_known
            proxy.pass_through()
            assert both.read() == (before + 1, 1)
        both.dispose()  # aiomysql keeps the socket of a connection whose farewell fails


def test_a_lost_answer_of_a_single_server(
    make: Callable[..., Both], mariadb: MariaDBPair, shop: str, driver: str
) -> None:
    """17. 25. One MariaDB without replicas, by a mysql+ URL even: OutcomeUnknown too."""
    with FaultProxy(mariadb.primary.host, mariadb.primary.port) as proxy:
        both = make([proxy.url(mariadb.primary.url(driver, shop))], shop)

        def steps(session: Session) -> None:
            session.execute(WRITE)
            proxy.cut(after=0)
            session.commit()

        both.write()
        with pytest.raises(OutcomeUnknown, match="may or may not"):
            both.run(steps)
        proxy.pass_through()
        both.dispose()


def test_one_server_that_is_recorded(make: Callable[..., Both], mariadb: MariaDBPair, shop: str) -> None:
    """8. 25. What a test records is committed over connections that were opened before, too."""
    both = make([mariadb.primary], shop)
    before = int(mariadb.primary.sql("SELECT stock FROM item WHERE id = 1", database=shop))
    with recording(both.cluster) as seen, both.cluster.scope() as scope:
        both.write()
        assert scope.token is not None
        both.read()
        both.write()
    assert [statement.role for statement in seen.statements] == ["primary", "replica", "primary"]
    both.write()
    assert both.read()[0] == before + 3


def test_a_connection_lost_before_the_commit(both: Both, mariadb: MariaDBPair) -> None:
    """17. The server has closed it and nothing was sent: an error like any other, and no token."""

    def steps(session: Session) -> None:
        session.execute(WRITE)
        connection = session.execute(WHERE).one()[1]
        mariadb.primary.sql(f"KILL {connection}")
        session.commit()

    with both.cluster.scope() as scope, pytest.raises(DBAPIError) as caught:
        both.run(steps, consistency=STRONG)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert scope.token is None
