"""A single server behaves like a primary with replicas. Mostly without a server: on SQLite."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from starlette.responses import JSONResponse

from scalekit.database import AsyncCluster, Cluster
from scalekit.database.asgi import ReadYourWritesMiddleware
from scalekit.database.wsgi import ReadYourWritesMiddleware as WSGIMiddleware
from tests.conftest import Database
from tests.database.conftest import PATIENT


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)


WRITES: dict[str, Callable[[Session], Any]] = {
    "text": lambda session: session.execute(text("INSERT INTO item VALUES (1)")),
    "construct": lambda session: session.execute(insert(Item).values(id=1)),
    "not flushed": lambda session: session.add(Item(id=1)),
    "flushed": lambda session: (session.add(Item(id=1)), session.flush()),
    "connection": lambda session: session.connection().execute(text("INSERT INTO item VALUES (1)")),
}


@pytest.fixture
def cluster(tmp_path: Any) -> Iterator[Cluster]:
    with Cluster(f"sqlite:///{tmp_path}/shop.db") as made:
        with made.session() as session:
            Base.metadata.create_all(session.connection())
            session.commit()
        yield made


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("way", WRITES)
async def test_the_response_waits_for_its_writes(cluster: Cluster, way: str, *, fails: bool) -> None:
    """25. Also on one server, a response says that something was saved only if it was; without a cookie."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with cluster.session() as session:
            WRITES[way](session)
            await JSONResponse({"saved": True})(scope, receive, send)
            if fails:
                raise RuntimeError("the commit failed")
            session.commit()

    wrapped = ReadYourWritesMiddleware(app, cluster=cluster, secret_key="s" * 16, header="X-RW")
    transport = httpx.ASGITransport(wrapped, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:
        answer = await browser.post("/")
    assert answer.status_code == (500 if fails else 200)
    assert not {"set-cookie", "x-rw", "cache-control"} & set(answer.headers)
    with cluster.session() as session:
        assert session.scalar(text("SELECT count(*) FROM item")) == (0 if fails else 1)


@pytest.mark.parametrize("fails", [False, True])
async def test_the_response_waits_for_a_core_connection(cluster: Cluster, *, fails: bool) -> None:
    """25. For what is written without a session too."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with cluster.connection() as connection:
            connection.execute(insert(Item).values(id=1))
            await JSONResponse({"saved": True})(scope, receive, send)
            if fails:
                raise RuntimeError("the commit failed")
            connection.commit()

    wrapped = ReadYourWritesMiddleware(app, cluster=cluster, secret_key="s" * 16)
    transport = httpx.ASGITransport(wrapped, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:
        assert (await browser.post("/")).status_code == (500 if fails else 200)


async def test_what_a_core_connection_has_committed_is_answered(cluster: Cluster) -> None:
    """25. The answer that waited for its commit stands, though the application fails after it."""
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        connection = cluster.connection()
        connection.execute(insert(Item).values(id=1))
        await JSONResponse({"saved": True})(scope, receive, send)
        assert sent == []
        connection.commit()
        connection.execute(insert(Item).values(id=2))
        connection.close()
        raise RuntimeError("after the commit")

    wrapped = ReadYourWritesMiddleware(app, cluster=cluster, secret_key="s" * 16)
    with pytest.raises(RuntimeError):
        await wrapped({"type": "http", "method": "POST", "headers": []}, send, send)  # type: ignore[arg-type]
    assert sent == ["http.response.start", "http.response.body"]
    with cluster.scope() as scope, cluster.session() as session:
        assert session.scalar(text("SELECT count(*) FROM item")) == 1
        session.commit()
    assert scope.commits == 0, "nobody's commit is counted for another"


async def test_what_is_committed_or_only_read_waits_for_nothing(cluster: Cluster) -> None:
    """25. Such a response leaves at once, and one whose application fails after a commit stands."""
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with cluster.session() as session:
            session.execute(text("INSERT INTO item VALUES (2)"))
            session.commit()
            session.execute(text("INSERT INTO item VALUES (3)"))
            session.rollback()
            session.scalar(text("SELECT count(*) FROM item"))
            await send({"type": "http.response.start", "status": 200, "headers": []})
            assert sent == ["http.response.start"]
            session.execute(text("INSERT INTO item VALUES (4)"))
            session.commit()

    wrapped = ReadYourWritesMiddleware(app, cluster=cluster, secret_key="s" * 16)
    await wrapped({"type": "http", "method": "POST", "headers": []}, send, send)  # type: ignore[arg-type]
    with cluster.scope() as scope, cluster.session() as session:
        session.scalar(text("SELECT count(*) FROM item"))
        session.commit()
        assert scope.commits == 0
        session.execute(text("INSERT INTO item VALUES (5)"))
        session.commit()
        assert (scope.commits, scope.token, scope.advanced) == (1, None, False)


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ({"path": "/shop/search", "root_path": "/shop"}, "/search"),
        ({"path": "/shop/search", "root_path": "/shop/"}, "/search"),
        ({"path": "/shopping", "root_path": "/shop"}, "/shopping"),
        ({"path": "/search", "root_path": ""}, "/search"),
    ],
)
async def test_paths_are_those_of_the_application(cluster: Cluster, scope: dict[str, str], path: str) -> None:
    """26. Wherever it is mounted, under ASGI and under WSGI, letters of all languages included."""
    starts: list[bool] = []

    async def app(*_: Any) -> None:
        current = cluster.scopes.current()
        assert current is not None
        starts.append(current.writes)

    options: dict[str, Any] = {"cluster": cluster, "secret_key": "s" * 16, "routes": {path: "writes"}}
    wrapped = ReadYourWritesMiddleware(app, **options)
    await wrapped({"type": "http", "method": "GET", "headers": [], **scope}, Mock(), Mock())
    assert starts == [True]


def test_paths_under_wsgi(cluster: Cluster) -> None:
    """26. The path is what comes after SCRIPT_NAME, and is UTF-8."""
    starts: list[bool] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        current = cluster.scopes.current()
        assert current is not None
        starts.append(current.writes)
        start_response("200 OK", [])
        return []

    wrapped = WSGIMiddleware(app, cluster=cluster, secret_key="s" * 16, routes={"/käse": "writes"})
    for path in ("/k\u00c3\u00a4se", "/", ""):
        environ = {
            "REQUEST_METHOD": "GET",
            "wsgi.url_scheme": "http",
            "PATH_INFO": path,
            "SCRIPT_NAME": "/shop",
        }
        list(wrapped(environ, Mock()))
    assert starts == [True, False, False]


async def test_a_session_belongs_to_the_request_that_uses_it(cluster: Cluster) -> None:
    """23. One that outlives the request it was made in writes for the next one, which waits for it; and where
    no request is known, for the last one that used it."""
    before = cluster.scopes.process.commits
    with cluster.scope() as first:
        session = cluster.session()
    with cluster.scope() as second, cluster.scope():
        session.execute(text("INSERT INTO item VALUES (1)"))
        assert second.has_uncommitted_writes()
        session.commit()
    assert (first.commits, second.commits) == (0, 1)
    session.add(Item(id=2))
    session.commit()
    assert (first.commits, second.commits, cluster.scopes.process.commits) == (0, 2, before)
    with cluster.scope() as third:
        session.connection()
        assert third.has_uncommitted_writes()
        session.rollback()
        assert not third.has_uncommitted_writes()
    session.close()


UPDATE = text("UPDATE item SET stock = 1")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_the_only_url_leads_to_a_replica(items: Database, driver: str) -> None:
    """25. Nobody asked what it is, and so nobody says; what it refuses to write is the driver's error,
    with what it comes from. A transaction that was made read-only on a primary is none of our business."""
    async with AsyncCluster(items.replica_urls(driver)[0], **PATIENT) as cluster:
        (member,) = cluster.status().members
        assert member.role == "single"
        async with cluster.session() as session:
            with pytest.raises(DBAPIError) as raised:
                await session.execute(UPDATE)
        assert type(raised.value).__module__ == "sqlalchemy.exc"
        assert f"{member.name} takes no writes: it is a replica, or" in str(raised.value)
    async with AsyncCluster(items.primary_url(driver), **PATIENT) as cluster, cluster.session() as session:
        await session.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(DBAPIError, match="read-only transaction") as raised:
            await session.execute(UPDATE)
        assert "takes no writes" not in str(raised.value)
