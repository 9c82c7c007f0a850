"""The page "How far does it go": its tables are of one run, its arithmetic follows from what is counted."""

import asyncio
import contextlib
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, update
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import StaticPool

from benchmarks import _scale_arithmetic as arithmetic
from benchmarks import bench_scale
from scalekit.cache import Cache
from scalekit.cache.redis import RedisBackend
from scalekit.database import Cluster
from scalekit.sessions.redis import RedisStore
from tests.cache._shop import Base, Product
from tests.faults import FaultProxy
from tests.servers import RedisServer
from tests.sessions.shells import Visitor, WSGIShell

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / bench_scale.PAGE).read_text("utf-8")
RUN = json.loads((ROOT / bench_scale.RUN).read_text("utf-8"))


def test_the_tables_are_those_of_the_run() -> None:
    """The page shows the figures of the run that its plots were drawn from, and no others."""
    assert bench_scale.filled(PAGE, bench_scale.tables(RUN)) == PAGE
    named = {name for _, name, _, _ in bench_scale._TABLE.findall(PAGE)}
    assert {"where", "arithmetic", "costs"} < named <= bench_scale.tables(RUN).keys()


def test_the_plots_are_those_of_the_run() -> None:
    """Each series of the run is a plot, and the page shows it."""
    for name, series in bench_scale.series_of(RUN).items():
        if series.drawn:
            plot = ROOT / bench_scale.PLOTS / f"scale-{name}.svg"
            assert plot.read_text("utf-8") == series.svg()
            assert f"(../_static/{plot.name})" in PAGE


def test_the_whole_range_was_run() -> None:
    """1 to 8 processes, 1,000 to 1,000,000 sessions, 100 to 1,000,000 results, 1 to 1,000 uploads, 2 to 20
    replicas."""
    series = bench_scale.series_of(RUN)
    ranges = {name: (each.rows[0][0], each.rows[-1][0]) for name, each in series.items() if each.drawn}
    assert ranges == {
        "processes": (1, 8),
        "sessions-memory": (1_000, 1_000_000),
        "sessions-time": (1_000, 1_000_000),
        "cache-memory": (100, 1_000_000),
        "cache-time": (100, 1_000_000),
        "uploads": (1, 1_000),
        "replicas": (2, 20),
    }


@pytest.mark.parametrize("name", bench_scale.SERIES)
def test_what_leaves_nothing_to_measure(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A series that begins above `--most` says so at once."""
    with pytest.raises(SystemExit) as ended:
        bench_scale.main([name, "--most", "0"])
    assert ended.value.code == 2
    assert f"--most 0 leaves nothing of {name}" in capsys.readouterr().err


@contextlib.contextmanager
def counted(server: RedisServer) -> Iterator[tuple[str, Callable[[Callable[[], object]], int]]]:
    """A URL, and how many round trips over it a call takes."""
    with FaultProxy(server.host, server.port) as proxy:

        def trips(call: Callable[[], object]) -> int:
            before = proxy.round_trips
            call()
            return proxy.round_trips - before

        yield proxy.url(server.url), trips


def test_what_a_session_costs(redis_server: RedisServer, prefix: str) -> None:
    """The arithmetic's round trips of reading and of changing a session; tests/sessions/test_cost.py has all
    the others."""
    with counted(redis_server) as (url, trips):
        shell = WSGIShell(RedisStore.from_url(url, prefix=prefix, timeout=30))
        visitor: Visitor = shell.visitor()
        for value in range(3):  # scripts are sent in full the first time
            visitor(lambda session, value=value: session.update(a=value))
            visitor(dict)
            visitor(dict)
        assert trips(lambda: visitor(dict)) == arithmetic.READ
        assert trips(lambda: visitor(lambda session: session.update(a=9))) == arithmetic.CHANGE


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def test_what_the_cache_costs(redis_server: RedisServer, prefix: str, engine: Engine) -> None:
    """The arithmetic's round trips of a hit, a miss and a commit; tests/cache/test_costs.py has all the
    others."""
    maker = sessionmaker(engine)
    with counted(redis_server) as (url, trips):
        cache = Cache(
            RedisBackend.from_url(url, prefix=prefix, timeout=30, connect_timeout=30), channel=False
        )
        cache.watch(maker)

        @cache.query(ttl=60, reads=[Product])
        def query(number: int) -> int:
            return number

        def commit() -> int:
            with maker() as session:
                session.execute(update(Product).values(price=2))
                return trips(session.commit)

        query(0)
        commit()
        assert trips(lambda: query(1)) == arithmetic.MISS
        assert trips(lambda: query(1)) == arithmetic.HIT
        assert commit() == arithmetic.COMMIT
        cache.close_sync()


async def test_connections_of_a_process(prefix: str) -> None:
    """A process has no more connections to Redis than the arithmetic says, however many requests are under
    way."""
    with RedisServer() as server:
        store = RedisStore.from_url(server.url, timeout=30).using("async")
        cache = Cache(RedisBackend.from_url(server.url, timeout=30, connect_timeout=30), local_entries=10)

        @cache.query(ttl=60, tags=["a"])
        async def query(number: int) -> int:
            return number

        async def request(number: int) -> None:
            for _ in range(number % 7):  # so that they do not all leave together
                await asyncio.sleep(0)
            load: Any = store.load(f"{number:064}", idle=1000, step=100)
            await load
            await query(number)

        for _ in range(5):
            await asyncio.gather(*map(request, range(200)))
        clients = await asyncio.to_thread(server.info, "clients")
        assert int(clients["connected_clients"]) - 1 <= arithmetic.CONNECTIONS  # but for the one that asks
        await cache.close()


def test_the_defaults_of_the_database() -> None:
    """The arithmetic has the sizes of pools, and the time between two probes, of a cluster that is given
    none."""
    cluster = Cluster("postgresql+psycopg://app@127.0.0.1:1/shop", replicas=[])
    pool: Any = cluster._fleet.members[0].writer.pool
    assert (pool.size(), pool._max_overflow) == (arithmetic.POOL, arithmetic.OVERFLOW)
    interval = inspect.signature(Cluster).parameters["probe_interval"].default
    assert 1 / interval == arithmetic.PROBES
    cluster.dispose()


def test_ten_times_the_requests() -> None:
    """Everything in the table grows as the requests do, but for what goes from every server to every other
    one: that grows as their square."""
    found = bench_scale.measured(bench_scale.series_of(RUN))
    for name, low, middle, high in arithmetic.rows(found):
        times = 100 if "of drops" in str(name) or "MB/s of these" in str(name) else 10
        assert float(middle) / float(low) == pytest.approx(times, rel=0.15), name
        assert float(high) / float(middle) == pytest.approx(times, rel=0.15), name
