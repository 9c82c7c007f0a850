"""Commits in some processes, and reads in others."""

import json
import subprocess
import sys
import textwrap

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from tests.cache._shop import Base, Product
from tests.conftest import Database
from tests.patience import TIMEOUTS
from tests.servers import RedisServer

# Each commit makes the price one higher. So it is at least the number of commits that have returned.
WORKER = """
    import json, sys, time
    from importlib import import_module

    import redis
    from sqlalchemy import create_engine, update
    from sqlalchemy.orm import sessionmaker
    from scalekit.cache import Cache
    from tests.cache._shop import Product, define

    role, url, prefix, kind, place, database = sys.argv[1:]
    made = getattr(import_module(f"scalekit.cache.{kind}"), f"{kind.title()}Backend")
    cache = Cache(made.from_url(place, prefix=prefix, timeout=10))
    maker = sessionmaker(create_engine(database))
    cache.watch(maker)
    price = define(cache)
    counts = redis.Redis.from_url(url)

    def count(name):
        return int(counts.get(prefix + name) or 0)

    def read():
        floor = count("commits")
        with maker() as session:
            seen = price(session)
        assert seen >= floor, (seen, floor)
        counts.incr(prefix + "reads")
        return seen

    def write(number):
        with maker() as session:
            session.execute(update(Product).values(price=Product.price + 1))
            if number % 3:
                session.commit()
                counts.incr(prefix + "commits")
            else:
                session.rollback()
        if number % 10 == 0:  # so that others find something in the cache
            reads, ends = count("reads"), time.monotonic() + 2
            while count("reads") < reads + 10 and time.monotonic() < ends:
                time.sleep(0.001)

    if role == "read":
        while count("done") < 2:
            read()
        assert [read() for _ in range(3)] == [count("commits")] * 3
    else:
        for number in range(100):
            write(number)
        counts.incr(prefix + "done")
    stats = cache.stats()
    print(json.dumps([stats.hits, stats.fills, stats.errors]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", TIMEOUTS)
def test_no_process_serves_what_is_older_than_a_commit(
    kind: str, database: Database, redis_server: RedisServer, prefix: str, request: pytest.FixtureRequest
) -> None:
    """8. Two processes write, two read: never less than was committed before the call, by whomever."""
    place, url = request.getfixturevalue(f"{kind}_server").url, database.primary_url("psycopg")
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Product(id=1, price=0))
        session.commit()
    engine.dispose()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORKER), role, redis_server.url, prefix, kind, place, url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role in ("read", "read", "write", "write")
    ]
    try:
        outcomes = [worker.communicate(timeout=90) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    for worker, (_, errors) in zip(workers, outcomes, strict=True):
        assert worker.returncode == 0, errors
    hits, fills, errors = map(sum, zip(*(json.loads(output) for output, _ in outcomes), strict=True))
    assert hits > 0
    assert fills > 0
    assert errors == 0
