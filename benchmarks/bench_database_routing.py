"""Routing alone, without a server to wait for; the peer is advanced-alchemy's routing.

It tells a write by its class, an ``Insert``, ``Update`` or ``Delete``, takes the replicas in turns and knows
nothing of what they have; so ``text()`` that writes and functions that do are sent to one.
"""

import importlib.metadata
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy
from advanced_alchemy.config.routing import RoutingConfig
from advanced_alchemy.routing.maker import RoutingSyncSessionMaker
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from benchmarks._database_items import Base, Item
from benchmarks.harness import Case
from scalekit.database import Cluster
from scalekit.database.levels import CAUSAL
from scalekit.database.monotonic import replica_for
from scalekit.database.scope import Scope
from scalekit.testing._rehearsal import Rehearsal
from tests.database._lag import meet
from tests.servers import PostgresCluster

ADVANCED = f"advanced-alchemy {importlib.metadata.version('advanced-alchemy')}"


def peer(primary: str, replicas: list[str], **options: Any) -> RoutingSyncSessionMaker:
    engines: dict[str, Any] = {"default": [primary], "read": replicas}
    return RoutingSyncSessionMaker(RoutingConfig(engines=engines), engine_config=options)


def statement() -> Any:
    return select(Item).where(Item.id == 1)


def in_one_transaction(session: Callable[[], Session], times: int) -> Callable[[], None]:
    def run() -> None:
        with session() as opened:
            opened.execute(statement())
            for _ in range(times):
                opened.execute(statement()).scalar_one()

    return run


async def decision(servers: PostgresCluster) -> AsyncIterator[Case]:
    """What precedes a transaction's first statement: is it a read, and where to?"""
    urls = [server.url("psycopg") for server in (servers.primary, *servers.replicas)]
    routing = peer(urls[0], urls[1:])
    with Cluster(urls[0], replicas=urls[1:]) as cluster:
        meet(cluster)
        fleet, scope, nobody = cluster._fleet, Scope(visitor=1), frozenset[Any]()

        def ours(times: int = 1_000) -> None:
            for _ in range(times):
                assert fleet.verdicts.is_read(statement())
                assert replica_for(fleet, scope, CAUSAL, nobody) is not None

        def theirs(times: int = 1_000) -> None:
            session = routing()
            for _ in range(times):
                session.get_bind(clause=statement())

        def base(times: int = 1_000) -> None:
            for _ in range(times):
                statement()

        yield Case(
            piece="database",
            name="decision for a transaction's first statement, 2 replicas",
            ours=ours,
            peers={ADVANCED: theirs},
            base=base,
            units=1_000,
            rounds=20,
        )
    routing.close_all()


async def statements() -> AsyncIterator[Case]:
    """What each further statement takes longer than in a plain session."""
    with TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory) / 'items.db'}"
        engine = create_engine(url)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add(Item(id=1, name="one"))
            session.commit()
        routing = peer(url, [url])
        with Cluster(url) as cluster:
            # As a test does it that has no replica: SQLite plays one.
            fleet: Any = cluster._fleet
            cluster._session_class.fleet = Rehearsal(fleet, fleet.members[0]).as_fleet
            yield Case(
                piece="database",
                name=f"routing of a further statement, over SQLAlchemy {sqlalchemy.__version__} alone",
                ours=in_one_transaction(cluster.session, 100),
                peers={ADVANCED: in_one_transaction(routing, 100)},
                base=in_one_transaction(lambda: Session(engine), 100),
                units=100,
                rounds=60,
            )
        routing.close_all()
        engine.dispose()


async def cases(servers: PostgresCluster) -> AsyncIterator[Case]:
    async for case in decision(servers):
        yield case
    async for case in statements():
        yield case
