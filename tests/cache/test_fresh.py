"""Readers and writers at random: no call is given less than what was committed before it."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select, update
from sqlalchemy.orm import Session, sessionmaker

from scalekit.cache import Cache
from scalekit.cache.backend import Backend
from scalekit.cache.memcached import MemcachedBackend
from scalekit.cache.memory import MemoryBackend
from scalekit.cache.redis import RedisBackend
from tests.cache._shop import Base, Product
from tests.conftest import Database

COMMITS = 60
"""Of each writer."""

MORE = update(Product).where(Product.id == 1).values(price=Product.price + 1).returning(Product.price)


class Server:
    """One of two: a cache, and connections of each kind that it watches, with their sessions or without."""

    def __init__(self, backend: Backend, url: str, *, sessions: bool) -> None:
        self.cache = Cache(backend)
        self.engines = [create_engine(url, isolation_level=level) for level in LEVELS]
        self.makers = [sessionmaker(engine, expire_on_commit=False) for engine in self.engines]
        for engine in self.engines:
            self.cache.watch(engine)
        for maker in self.makers if sessions else ():
            self.cache.watch(maker)
        self.queries: list[Callable[[Session], int]] = [by_row(self.cache), by_instance(self.cache)]


LEVELS = ("READ COMMITTED", "REPEATABLE READ", "AUTOCOMMIT")


def by_row(cache: Cache) -> Any:
    @cache.query(ttl=60, reads=[Product], name="by row")
    def price(session: Session) -> int:
        return session.scalar(select(Product.price).where(Product.id == 1)) or 0

    return price


def by_instance(cache: Cache) -> Any:
    @cache.query(ttl=60, reads=[Product], name="by instance")
    def price(session: Session) -> int:
        return session.get_one(Product, 1).price

    return price


@pytest.mark.parametrize("kind", ["memory", "redis", "memcached"])
def test_nobody_is_given_less_than_was_committed(
    database: Database, kind: str, request: pytest.FixtureRequest, prefix: str
) -> None:
    """8. By sessions and Core, at each level, with rollbacks, savepoints, snapshots and kept instances."""
    url = database.primary_url("psycopg")
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Product(id=1, price=0))
        session.commit()
    shared = MemoryBackend()
    makers: dict[str, Callable[[], Backend]] = {
        "memory": lambda: shared,
        "redis": lambda: RedisBackend.from_url(request.getfixturevalue("redis_url"), prefix=prefix),
        "memcached": lambda: MemcachedBackend.from_url(
            request.getfixturevalue("memcached_server").url, prefix=prefix
        ),
    }
    servers = [Server(makers[kind](), url, sessions=sessions) for sessions in (False, True)]
    committed, lock, writing = [0], threading.Lock(), [2]
    chance = random.Random(5)

    def write() -> None:
        for number in range(COMMITS):
            server = chance.choice(servers)
            price = _commit(server.makers[0], server.engines[chance.choice((0, 2))], number % 4)
            with lock:
                committed[0] = max(committed[0], price)
        writing[0] -= 1

    def read() -> list[tuple[int, int]]:
        wrong = []
        while writing[0]:
            server = chance.choice(servers)
            with server.makers[chance.choice((0, 1))]() as session:
                way = chance.choice(("fresh", "fresh", "snapshot", "kept"))
                kept = session.get(Product, 1) if way == "kept" else None
                if way == "snapshot":
                    session.scalar(select(Product.id))
                least = committed[0]
                price = chance.choice(server.queries)(session)
                # What an old session sees itself is its own affair.
                if way == "fresh" and price < least:
                    wrong.append((price, least))
                del kept
        return wrong

    with ThreadPoolExecutor(6) as pool:
        writers, readers = [pool.submit(write) for _ in range(2)], [pool.submit(read) for _ in range(4)]
        try:
            assert [reader.result(60) for reader in readers] == [[]] * 4
            assert [writer.result(60) for writer in writers] == [None] * 2
        finally:
            writing[0] = 0
    for server in servers:
        stats = server.cache.stats()
        assert stats.hits > 0
        assert stats.fills > 0
        assert (stats.errors, server.cache._core.dirty) == (0, 0)
        server.cache.close_sync()
        for one in server.engines:
            one.dispose()
    engine.dispose()


def _commit(maker: sessionmaker[Session], engine: Engine, way: int) -> int:
    """One more, and how much it is then."""
    if way == 0:
        with engine.connect() as connection:
            price = connection.scalar(MORE)
            connection.commit()
        return price or 0
    with maker() as session:
        if way == 1:
            session.execute(update(Product).values(price=-1))
            session.rollback()
        with session.begin_nested():
            price = session.scalar(MORE)
        if way == 2:
            undone = session.begin_nested()
            session.execute(update(Product).values(price=-1))
            undone.rollback()
        session.commit()
    return price or 0
