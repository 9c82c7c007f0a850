"""Session classes of others, mixed with the cluster's."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import ORMExecuteState, Session

from scalekit.database import AsyncCluster, Cluster
from scalekit.errors import ConfigurationError
from tests.conftest import Database
from tests.database._items import Item
from tests.database._lag import lagging


class Execs(Session):
    """Runs statements as SQLModel's ``Session.exec()`` does: by the ``execute()`` of the class above."""

    def exec(self, statement: Any) -> Any:
        return super().execute(statement)


class Straight(Session):
    """Runs statements by a way of SQLAlchemy's that is not known to us."""

    def exec(self, statement: Any) -> Any:
        return Session._execute_internal(self, statement)


STOCK = select(Item.stock, func.pg_is_in_recovery()).where(Item.id == 1)


def mixed(cluster: Cluster, other: type[Session], *, ours_first: bool) -> Any:
    bases = (cluster.event_target, other) if ours_first else (other, cluster.event_target)
    return type("Mixed", bases, {})


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_method_that_executes_past_ours(
    make_sync: Callable[..., Cluster], items: Database, ours_first: bool
) -> None:
    """1. Its reads go to replicas, and what it writes is read by the next session, whatever the order."""
    cluster = make_sync()
    make = mixed(cluster, Execs, ours_first=ours_first)
    with make() as session:
        assert session.exec(STOCK).one() == (0, True)
    with lagging(items), cluster.scope() as scope:
        with make() as session:
            session.exec(update(Item).where(Item.id == 1).values(stock=5))
            session.commit()
        assert scope.token is not None
        with make() as session:
            assert session.exec(STOCK).one() == (5, False)
            assert session.exec(STOCK).one() == (5, False)


def test_a_method_that_executes_past_ours_is_repeated(make_sync: Callable[..., Cluster]) -> None:
    """11. A function that writes, unknown to us, moves its transaction to the primary."""
    cluster = make_sync()
    with mixed(cluster, Execs, ours_first=True)() as session:
        assert session.exec(STOCK).one() == (0, True)
        assert session.exec(text("SELECT place_order(1)")).scalar() == -1
        session.commit()
    with cluster.session() as session:
        assert session.execute(STOCK).one().stock == -1


def test_nothing_runs_where_nobody_chose(make_sync: Callable[..., Cluster], items: Database) -> None:
    """1. In a transaction, what comes past every door of ours runs on the primary and is remembered."""
    cluster = make_sync()
    make = mixed(cluster, Straight, ours_first=True)
    with cluster.session() as session:
        assert session.execute(STOCK).one() == (0, True)
    with lagging(items), cluster.scope() as scope:
        with make() as session, session.begin():
            assert session.exec(STOCK).one() == (0, False)
        assert scope.token is None
        with make() as session, session.begin():
            session.exec(text("UPDATE item SET stock = 5 WHERE id = 1"))
        assert scope.token is not None
        with cluster.session() as session:
            assert session.execute(STOCK).one() == (5, False)


def test_a_hook_that_invokes_the_statement_itself(make_sync: Callable[..., Cluster]) -> None:
    """11. As a cache's does: what it invokes runs where the statement was sent, and a refusal is repeated."""
    cluster = make_sync()
    invoked = []

    @event.listens_for(cluster.event_target, "do_orm_execute")
    def invoke(state: ORMExecuteState) -> Any:
        invoked.append(state)
        return state.invoke_statement()

    with cluster.session() as session:
        assert session.execute(STOCK).one() == (0, True)
        assert len(invoked) == 1
        assert session.scalar(text("SELECT place_order(1)")) == -1
        assert session.execute(STOCK).one() == (-1, False)


def test_an_asynchronous_session_class() -> None:
    """16. It is no session itself; says what takes it."""

    class Mine(AsyncSession): ...

    for kind in (Cluster, AsyncCluster):
        cluster = kind("sqlite://" if kind is Cluster else "sqlite+aiosqlite://")
        with pytest.raises(
            ConfigurationError, match=r"Mine is an AsyncSession, .*sessionmaker\(class_=.*Mine\)$"
        ):
            cluster.session_class(Mine)  # type: ignore[type-var]
