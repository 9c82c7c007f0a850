"""Setting up: single servers, wrong configurations, and what is left behind. Mostly without a server."""

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import NullPool, event, make_url, orm, text

from scalekit._steps import run
from scalekit.database import ANY, STRONG, AsyncCluster, Bounded, Cluster
from scalekit.database.advice import right_colour
from scalekit.database.asgi import ReadYourWritesMiddleware
from scalekit.database.backends.postgresql import PostgreSQL
from scalekit.database.engines import describe
from scalekit.database.fleet import Fleet
from scalekit.database.report import Report
from scalekit.errors import ConfigurationError, MissingExtra, WrongColour
from tests.conftest import Database
from tests.database._waiting import until
from tests.database.conftest import PATIENT
from tests.servers.waiting import wait_until

PG = "postgresql+asyncpg://app:secret-word@{}/shop"
SOCKET = "postgresql+asyncpg:///shop?host=/run/pg&"


def test_one_sqlite_file(tmp_path: Path) -> None:
    """Everything goes to the file, at every level; nothing runs in the background."""
    before = set(threading.enumerate())  # of which some, of other tests, may end meanwhile
    with Cluster(f"sqlite:///{tmp_path}/shop.db") as cluster:
        for level in (None, STRONG, Bounded(1)):
            with cluster.session(consistency=level) as session, session.begin():
                session.execute(text("CREATE TABLE IF NOT EXISTS item (id int)"))
                session.execute(text("INSERT INTO item VALUES (1)"))
        with cluster.primary(), cluster.session() as session:
            assert session.scalar(text("SELECT count(*) FROM item")) == 3
        assert cluster.is_single
        (member,) = cluster.status().members
        assert (member.role, member.lag, cluster.status().primary) == ("single", None, member.name)
        assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("mode", ["delete", "wal"])
async def test_a_sqlite_file_is_opened_as_by_sqlalchemy(tmp_path: Path, mode: str) -> None:
    """25. Its journal stays what it was, the time-out is the one that was given, and it may be read-only."""
    path = tmp_path / "shop.db"

    def journal() -> str:
        with closing(sqlite3.connect(path)) as connection:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])

    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE item (id int)")
    busy = text("PRAGMA busy_timeout")
    with Cluster(f"sqlite:///{path}", connect_args={"timeout": 30}) as cluster, cluster.session() as session:
        session.execute(text("INSERT INTO item VALUES (1)"))
        session.commit()
        assert session.scalar(busy) == 30_000
    async with AsyncCluster(f"sqlite+aiosqlite:///{path}") as other, other.session() as asynchronous:
        assert await asynchronous.scalar(busy) == 5_000
    assert journal() == mode
    with (
        Cluster(f"sqlite:///file:{path}?mode=ro&uri=true") as read_only,
        read_only.session() as session,
    ):
        assert session.scalar(text("SELECT count(*) FROM item")) == 1
    assert journal() == mode


async def test_one_sqlite_file_asynchronously(tmp_path: Path) -> None:
    """The same, and the middleware has nothing to add."""
    async with AsyncCluster(f"sqlite+aiosqlite:///{tmp_path}/shop.db") as cluster:
        async with cluster.session() as session:
            await session.execute(text("CREATE TABLE item (id int)"))
            await session.execute(text("INSERT INTO item VALUES (1)"))
            await session.commit()
        async with cluster.session() as session:
            assert await session.scalar(text("SELECT count(*) FROM item")) == 1
        sent: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            async with cluster.session() as session:
                await session.execute(text("INSERT INTO item VALUES (2)"))
                await session.commit()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message: Any) -> None:
            sent.append(message)

        wrapped = ReadYourWritesMiddleware(app, cluster=cluster, secret_key="s" * 16)
        await wrapped({"type": "http", "method": "POST", "headers": []}, send, send)  # type: ignore[arg-type]
        assert sent == [{"type": "http.response.start", "status": 200, "headers": []}]


async def test_one_postgresql(make_async: Callable[..., AsyncCluster]) -> None:
    """Without replicas nothing is routed and nobody is asked."""
    cluster = make_async(replicas=[])
    async with cluster.session() as session:
        assert (await session.execute(text("SELECT pg_is_in_recovery()"))).scalar() is False
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"primary": "no url"}, "URL in primary= cannot be parsed"),
        (
            {"primary": PG.format("a"), "replicas": [PG.format("b"), "c"]},
            r"in replicas\[1\] cannot be parsed",
        ),
        ({"primary": None}, "URL in primary= is None: is the variable set"),
        ({"primary": PG.format("a"), "replicas": [""]}, r"in replicas\[0\] is empty: is the variable set"),
        ({"primary": 5}, "of the type int"),
        ({"primary": PG.format("a"), "replicas": None}, "not NoneType; where there are none, leave it out"),
        (
            {"primary": PG.format("a"), "replicas": [f"{PG.format('b')},{PG.format('c')}"]},
            r"replicas\[0\] has a comma; give each URL as an item of its own$",
        ),
        (
            {"primary": PG.format("a"), "replicas": f"{PG.format('b')}, {PG.format('c')}".split()},
            r"replicas\[0\] has a comma",
        ),
        ({"primary": PG.format("a"), "replicas": f"{PG.format('b')}, {PG.format('c')}"}, "= has a comma"),
        (
            {"primary": PG.format("a") + "?sslmode=require"},
            r"^a/shop has the option sslmode=, which asyncpg has not; write \?ssl=, .* \?ssl=require$",
        ),
        (
            {"primary": PG.format("a"), "replicas": [PG.format("b") + "?options=-cjit=off"]},
            "^b/shop has .* give connect_args={'server_settings'",
        ),
        ({"primary": "postgresql+psycopg://app@a/shop?ssl=true"}, r"psycopg has not; write \?sslmode="),
        (
            {"primary": PG.format("a"), "expire_on_commit": False},
            r"expire_on_commit= is an option of sessions; .* session_options={'expire_on_commit': \.\.\.}",
        ),
        ({"primary": "postgresql+asyncpg://app:p@ss:secret-word@a/shop"}, "in a password @ is written %40"),
        ({"primary": "postgresql+asyncpg://app:p@ss/secret-word@a/shop"}, "in a password @ is written %40"),
        ({"primary": "postgresql+asyncpg://app@a:secret-word/shop"}, "cannot be parsed"),
        ({"primary": "nosuch://app@host/shop"}, "knows no nosuch://"),
        (
            {"primary": "postgres://app:secret-word@host/shop"},
            r"use postgresql\+psycopg://, or postgresql\+asyncpg",
        ),
        ({"primary": PG.format("a"), "replicas": ["postgres://app@host/shop"]}, "knows no postgres://"),
        ({"primary": PG.format("a"), "replicas": PG.format("b")}, "takes a list"),
        ({"primary": PG.format("a"), "replica": [PG.format("b")]}, r"did you mean replicas=\[\.\.\.\]\?"),
        ({"primary": PG.format("a"), "max_lag": "30"}, "max_lag='30' must be seconds as a number"),
        ({"primary": PG.format("a"), "replicas": [PG.format("a")]}, "given twice"),
        ({"primary": PG.format("a"), "replicas": [PG.format("A:5432")]}, "A:5432/shop is given twice"),
        (
            {"primary": SOCKET + "port=5432", "replicas": [SOCKET + "port=5433", SOCKET + "port=5433"]},
            "/run/pg:5433/shop is given twice",
        ),
        ({"primary": PG.format("a,b"), "replicas": [PG.format("c")]}, "a,b/shop names several servers; with"),
        (
            {"primary": PG.format("a"), "replicas": ["postgresql+asyncpg:///shop?host=b:1&host=c:2"]},
            "b:1,c:2/shop names several servers; with replicas=",
        ),
        ({"primary": "postgresql+psycopg://app:secret-word@a:5432,b:5432/shop"}, "names several servers"),
        (
            {"primary": PG.format("a"), "replicas": [PG.format("b") + "?target_session_attrs=standby"]},
            "b/shop has target_session_attrs='standby', and roles move",
        ),
        (
            {
                "primary": PG.format("a"),
                "replicas": [PG.format("b")],
                "connect_args": {"target_session_attrs": "read-write"},
            },
            "connect_args= has target_session_attrs='read-write'",
        ),
        (
            {"primary": PG.format("a"), "replicas": [PG.format("b")], "connect_args": {"host": "c"}},
            "connect_args= has host=, which would lead every member to one server",
        ),
        ({"primary": PG.format("a"), "replicas": ["postgresql+psycopg://app@b/shop"]}, "share a driver"),
        (
            {"primary": PG.format("a"), "replicas": ["postgresql+asyncpg://app@b/staging"]},
            "b/staging and a/shop are two databases",
        ),
        ({"primary": PG.format("a"), "session_options": {"consistency": "any"}}, "use ANY, CAUSAL"),
        ({"primary": "sqlite+aiosqlite:///a", "replicas": ["sqlite+aiosqlite:///b"]}, "replicas= needs"),
        ({"primary": PG.format("a"), "consistency": "strong"}, "use ANY, CAUSAL"),
        ({"primary": PG.format("a"), "max_lag": -1}, "max_lag"),
        ({"primary": PG.format("a"), "no_such_option": 1}, "'no_such_option' sent to create_engine"),
        (
            {"primary": PG.format("a"), "replicas": [PG.format("b")], "max_lags": 3},
            r"a cluster has no option max_lags=; did you mean max_lag=\?$",
        ),
        ({"primary": PG.format("a"), "fail_over_wait": 3}, "did you mean failover_wait="),
        (
            {"primary": PG.format("a"), "session_options": {"expire_on_comit": False}},
            r"session_options= has 'expire_on_comit', .*; did you mean 'expire_on_commit'\?",
        ),
        ({"primary": PG.format("a"), "poolsize": 3}, "did you mean pool_size="),
        (
            {"primary": "sqlite+aiosqlite:///:memory:", "pool_size": 3, "poolclass": NullPool},
            "'pool_size' sent",
        ),
        ({"primary": PG.format("a"), "replicas": [PG.format("b")], "creator": print}, "creator="),
    ],
)
async def test_wrong_configurations(arguments: dict[str, Any], message: str) -> None:
    """Found when the cluster is made, said in words, and without the password."""
    with pytest.raises(ConfigurationError, match=message) as raised:
        AsyncCluster(**arguments)
    assert "secret-word" not in str(raised.value)
    assert raised.value.__context__ is None or "secret-word" not in str(raised.value.__context__)


def test_wrong_colours() -> None:
    """An asynchronous driver in a Cluster, and the reverse; says what to write, if there is one."""
    with pytest.raises(
        WrongColour, match=r"synchronous .*; write postgresql\+psycopg://, or use AsyncCluster$"
    ):
        Cluster(PG.format("a"))
    with pytest.raises(
        WrongColour, match=r"an asynchronous driver, .* write sqlite\+aiosqlite://, or use Cluster$"
    ):
        AsyncCluster("sqlite:///a.db")
    assert right_colour(make_url("oracle://host/x"), "async") == "use Cluster"


@pytest.mark.parametrize(
    ("make", "cure"), [(Cluster, "psycopg 3: pip"), (AsyncCluster, r"\+asyncpg://: pip")]
)
def test_nobody_is_told_to_install_psycopg2(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[str], object], cure: str
) -> None:
    """It could not route: who follows the advice would be refused when the first replica comes."""
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(ConfigurationError, match=f"read from replicas; write postgresql.*{cure}"):
        make("postgresql+psycopg2://app@a/shop")
    monkeypatch.setitem(sys.modules, "asyncmy", None)
    with pytest.raises(ConfigurationError, match="needs its driver: pip install asyncmy"):
        AsyncCluster("mysql+asyncmy://app@a/shop")


def test_an_option_that_a_driver_does_not_know() -> None:
    """Its TypeError is the reason why a member is left out: with where such an option comes from."""
    with pytest.raises(TypeError) as raised:
        asyncpg.connect(foo=1)
    assert describe(raised.value).endswith("has no option foo=, which is in the URL or in connect_args=")


def test_levels_are_checked_for_each_session(tmp_path: Path) -> None:
    """A misspelt level does not silently mean the default."""
    cluster = Cluster(f"sqlite:///{tmp_path}/shop.db")
    with pytest.raises(ConfigurationError, match="consistency="):
        cluster.session(consistency="any")  # type: ignore[arg-type]


def test_session_options_and_events(tmp_path: Path) -> None:
    """Options reach every session, and the event target hears them all."""
    cluster = Cluster(f"sqlite:///{tmp_path}/shop.db", session_options={"expire_on_commit": False})
    committed: list[Any] = []
    event.listen(cluster.event_target, "after_commit", committed.append)
    with cluster, cluster.session() as session:
        assert session.expire_on_commit is False
        session.execute(text("SELECT 1"))
        session.commit()
    assert committed == [session]


def test_a_level_for_every_session(make_sync: Callable[..., Cluster]) -> None:
    """session_options may hold it; what a session asks for itself comes first."""
    where = text("SELECT pg_is_in_recovery()")
    cluster = make_sync(session_options={"consistency": STRONG})
    with cluster.session() as session:
        assert session.scalar(where) is False
    with cluster.session(consistency=ANY) as session:
        assert session.scalar(where) is True


async def test_a_replica_that_cannot_be_reached_from_the_start(
    make_async: Callable[..., AsyncCluster], items: Database
) -> None:
    """It is left out with a reason; reads and writes go on."""
    nobody = f"postgresql+asyncpg://postgres@127.0.0.1:1/{items.name}"
    cluster = make_async(replicas=[nobody])
    async with cluster.session() as session:
        assert await session.scalar(text("SELECT count(*) FROM item")) == 3
    (_, replica) = cluster.status().members
    assert replica.role == "out"
    assert "refused" in str(replica.reason).lower() or "Errno" in str(replica.reason)


def test_a_cluster_that_is_dropped_stops(make_sync: Callable[..., Cluster], items: Database) -> None:
    """Without dispose(), the background threads end with the cluster."""

    def threads() -> int:
        return sum(thread.name == "scalekit.database" for thread in threading.enumerate())

    cluster = Cluster(items.primary_url("psycopg"), replicas=items.replica_urls("psycopg"), **PATIENT)
    with cluster.session() as session:
        session.execute(text("SELECT 1"))
    assert threads() == 4
    for member in cluster._fleet.members:
        member.reader.dispose()
        member.writer.dispose()
    del cluster, session, member
    gc.collect()
    wait_until(lambda: threads() == 0, what="the threads have ended")


@pytest.mark.parametrize("kept", ["sessionmaker", "session_class", "primary_engine"])
def test_what_outlives_the_cluster_keeps_it_watched(items: Database, kept: str) -> None:
    """12. A function makes the cluster and returns a sessionmaker: a primary that was gone is found again."""

    def make() -> tuple[Callable[[], AbstractContextManager[Any]], Fleet]:
        cluster = Cluster(
            items.primary_url("psycopg"),
            replicas=items.replica_urls("psycopg"),
            probe_interval=0.1,
            **PATIENT,
        )
        if kept == "primary_engine":
            return cluster.primary_engine.connect, cluster._fleet
        if kept == "session_class":
            return cluster.session_class(orm.Session), cluster._fleet
        return cluster.sessionmaker(), cluster._fleet

    def use() -> list[threading.Thread]:
        begin, fleet = make()
        gc.collect()
        with begin() as transaction:
            transaction.execute(text("SELECT 1"))
        fleet.suspect(fleet.members[0], "a connection could not be opened")
        wait_until(lambda: fleet.members[0].suspected is None, what="it is asked how it is")
        with begin() as transaction:
            transaction.execute(text("UPDATE item SET stock = 1"))
            transaction.commit()
        for member in fleet.members:
            run(member.dispose())
        return list(fleet.monitor._watchers.values())  # type: ignore[attr-defined]

    threads = use()
    assert len(threads) == 3
    gc.collect()
    wait_until(lambda: not any(thread.is_alive() for thread in threads), what="the threads have ended")


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_an_unforeseen_error_ends_no_watch(
    make_sync: Callable[..., Cluster],
    make_async: Callable[..., AsyncCluster],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    colour: str,
) -> None:
    """12. It is told once, nobody reads there, and the member is asked again until that works."""
    asked, report = 0, PostgreSQL.report

    def answer(self: PostgreSQL, row: tuple[Any, ...], *, asked_at: float) -> Report:
        nonlocal asked
        if row[0] and broken:
            asked += 1
            raise KeyError("nobody thought of this")
        return report(self, row, asked=asked_at)

    broken = False
    monkeypatch.setattr(PostgreSQL, "report", lambda self, row, *, asked: answer(self, row, asked_at=asked))
    cluster: Cluster | AsyncCluster = make_sync() if colour == "sync" else make_async()
    if isinstance(cluster, Cluster):
        with cluster.session() as session:
            await asyncio.to_thread(session.execute, text("SELECT 1"))
    else:
        async with cluster.session() as asynchronous:
            await asynchronous.execute(text("SELECT 1"))
    fleet = cluster._fleet
    await until(lambda: len(fleet.readers) == 2)
    broken = True
    await until(lambda: not fleet.readers)
    before = asked
    await until(lambda: asked > before + 4)
    assert "nobody thought of this" in str(cluster.status().members[1].reason)
    told = [record for record in caplog.records if record.exc_info]
    assert (
        sorted(record.args[0] for record in told)
        == sorted(  # type: ignore[index]
            member.name for member in fleet.members[1:]
        )
    )
    broken = False
    await until(lambda: len(fleet.readers) == 2)


FORK = """
import os, sys
from sqlalchemy import text
from scalekit.database import Cluster

cluster = Cluster(sys.argv[1], replicas=sys.argv[2:], probe_timeout=30, connect_timeout=30)

def pid():
    with cluster.session() as session:
        return session.execute(text("SELECT pg_backend_pid()")).scalar_one()

mine = pid()
busy = cluster.session()
busy.execute(text("SELECT 1"))
child = os.fork()
if child == 0:
    ok = pid() != mine and pid() != mine and cluster.status().primary is not None
    ok = ok and not any(member.in_flight for member in cluster.status().members)
    cluster.dispose()
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
busy.execute(text("SELECT 1"))
busy.close()
pid()
cluster.dispose()
print("done")
"""


FORK_OF_THREADS = """
import os, sys, threading, time
from sqlalchemy import text
from scalekit.database import Cluster

patient = {"probe_timeout": 30, "connect_timeout": 30, "failover_wait": 30}
cluster = Cluster(sys.argv[1], replicas=sys.argv[2:], probe_interval=0.1, **patient)

def write():
    with cluster.session() as session:
        session.execute(text("UPDATE item SET stock = 1"))
        session.commit()

write()
fleet, errors = cluster._fleet, []
forked = fleet.forked

def slowly():
    time.sleep(0.1)  # so that both threads of the child are there by now
    forked()

fleet.forked = slowly
child = os.fork()
if child == 0:
    threading.excepthook = errors.append
    threads = [threading.Thread(target=write) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    before, deadline = [member.health.asked for member in fleet.members], time.monotonic() + 20
    while any(member.health.asked in before for member in fleet.members) and time.monotonic() < deadline:
        time.sleep(0.01)
    asked = not any(member.health.asked in before for member in fleet.members)
    names = [thread.name for thread in threading.enumerate()]
    asked = asked and len(fleet.monitor._watchers) == len(fleet.monitor._pokes) == 3
    os._exit(0 if asked and not errors and names.count("scalekit.database") == 4 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
cluster.dispose()
print("done")
"""


def test_two_threads_begin_in_a_forked_server(items: Database) -> None:
    """16. At once, as the first thing there: every member is watched, by one thread."""
    arguments = [items.primary_url("psycopg"), *items.replica_urls("psycopg")]
    done = subprocess.run(
        [sys.executable, "-c", FORK_OF_THREADS, *arguments],
        capture_output=True, text=True, timeout=60, env=os.environ,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize("replicas", [0, 2])
def test_forked_servers(items: Database, replicas: int) -> None:
    """gunicorn --preload: the child has connections and threads of its own, the parent keeps its own,
    those that are in use too."""
    arguments = [items.primary_url("psycopg"), *items.replica_urls("psycopg")[:replicas]]
    done = subprocess.run(
        [sys.executable, "-c", FORK, *arguments], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.stdout == "done\n", done.stderr


LOOPS = """
import asyncio, sys
from sqlalchemy import text
from scalekit.database import AsyncCluster

cluster = AsyncCluster(sys.argv[1], replicas=sys.argv[2:], probe_timeout=30, connect_timeout=30)

async def count():
    async with cluster.session() as session:
        return await session.scalar(text("SELECT count(*) FROM item"))

async def last():
    async with cluster:
        return await count()

print(asyncio.run(count()), asyncio.run(last()))
"""


@pytest.mark.parametrize("replicas", [0, 2])
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_one_event_loop_after_another(items: Database, driver: str, replicas: int) -> None:
    """asyncio.run() twice: the second loop has connections of its own. In a process of its own, because
    nobody can close those of the first one."""
    arguments = [items.primary_url(driver), *items.replica_urls(driver)[:replicas]]
    done = subprocess.run(
        [sys.executable, "-c", LOOPS, *arguments], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.stdout == "3 3\n", done.stderr


def test_without_sqlalchemy() -> None:
    """The import says which extra is missing."""
    code = "import sys; sys.modules['sqlalchemy'] = None; import scalekit.database"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert MissingExtra.__name__ in done.stderr
    assert "pip install 'scalekit[sqlalchemy]'" in done.stderr
