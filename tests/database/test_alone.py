"""One PostgreSQL behind the middleware answers as a primary with replicas does."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from copy import copy
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from scalekit.database import ANY, CAUSAL, STRONG, AsyncCluster, Bounded, Cluster, Token, TokenSigner
from scalekit.database.asgi import ReadYourWritesMiddleware
from scalekit.errors import NoServerAvailable, ScalekitError
from tests.conftest import Database
from tests.database._items import Item
from tests.database._readers import all_readers
from tests.faults import FaultProxy
from tests.servers.ports import free_port

SECRET = "a secret that all servers share"
LEVELS = {"any": ANY, "causal": CAUSAL, "bounded": Bounded(60), "strong": STRONG}
TWICE = text("INSERT INTO once VALUES (1), (1)")  # refused when it is committed

both = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


async def add(session: AsyncSession) -> None:
    await session.execute(update(Item).where(Item.id == 1).values(stock=Item.stock + 1))


async def stock(session: AsyncSession) -> int:
    found: int = (await session.execute(select(Item.stock).where(Item.id == 1))).scalar_one()
    return found


def application(cluster: AsyncCluster) -> ReadYourWritesMiddleware:
    """An application with an endpoint for each way in which a request may end."""

    async def read(request: Request) -> Response:
        level = LEVELS[request.query_params.get("level", "causal")]
        async with cluster.session(consistency=level) as session:
            return JSONResponse(await stock(session))

    async def save(request: Request) -> Response:
        async with cluster.session() as session:
            await add(session)
            await session.commit()
            return JSONResponse(await stock(session))

    async def give_up(request: Request) -> Response:
        async with cluster.session() as session:
            await add(session)
            await session.rollback()
            return JSONResponse(await stock(session))

    async def late(scope: Any, receive: Any, send: Any) -> None:
        """Commits behind the last line of its response; what a dependency of FastAPI's does."""
        async with cluster.session() as session:
            await session.execute(TWICE) if scope["query_string"] else await add(session)
            await JSONResponse({"saved": True})(scope, receive, send)
            await session.commit()

    async def stream(request: Request) -> Response:
        async def rows() -> AsyncIterator[str]:
            async with cluster.session() as session, aclosing(await session.stream(select(Item.id))) as found:
                async for (number,) in found:
                    yield f"{number}\n"

        return StreamingResponse(rows())

    async def error(request: Request) -> Response:
        """What goes wrong, as the application sees it."""
        name: Any = request.query_params.get("what")
        try:
            async with cluster.session() as session:
                match name:
                    case "twice":
                        await session.execute(insert(Item).values(id=1))
                    case "commit":
                        await session.execute(TWICE)
                        await session.commit()
                    case "syntax":
                        await session.execute(text("SELEKT 1"))
                    case "failed":
                        with pytest.raises(IntegrityError):
                            await session.execute(insert(Item).values(id=1))
                        await session.execute(select(Item.id))
                    case "level":
                        cluster.session(consistency=name)
                    case "level of a writer":
                        cluster.connection(consistency=ANY)
                    case "replicas":
                        cluster.replicas(STRONG)
                    case "read":
                        async with cluster.connection(read=True) as connection:
                            await connection.execute(text("UPDATE item SET stock = 9"))
        except (DBAPIError, ScalekitError) as raised:
            code = getattr(getattr(raised, "orig", None), "sqlstate", None)
            return JSONResponse({"error": type(raised).__name__, "code": code}, status_code=409)
        return JSONResponse({})

    async def block(request: Request) -> Response:
        """Says for itself where it runs; a sequence and a lock are for the primary wherever that is."""
        async with cluster.session() as session:
            with cluster.primary():
                first = await stock(session)
                await session.rollback()
            with cluster.replicas():
                second = await stock(session)
                await session.rollback()
        async with cluster.session() as session:
            await stock(session)
            await session.execute(text("SELECT nextval('numbers')"))
            await session.execute(select(Item.id).with_for_update())
            await session.commit()
        async with cluster.connection(read=True) as connection:
            third = await connection.scalar(text("SELECT stock FROM item WHERE id = 1"))
        return JSONResponse([first, second, third])

    endpoints = {"/": read, "/save": save, "/give-up": give_up, "/stream": stream, "/error": error}
    routes = [Route(path, endpoint, methods=["GET", "POST"]) for path, endpoint in endpoints.items()]
    routes = [*routes, Route("/block", block), Mount("/late", late)]
    return ReadYourWritesMiddleware(
        Starlette(routes=routes), cluster=cluster, secret_key=SECRET, header="X-RW"
    )


VISIT = [
    ("GET", "/"),
    ("POST", "/save"),
    *[("GET", f"/?level={level}") for level in LEVELS],
    ("GET", "/save"),
    ("POST", "/give-up"),
    ("POST", "/late/"),
    ("POST", "/late/?refused"),
    ("GET", "/"),
    ("GET", "/stream"),
    ("GET", "/block"),
    *[
        (method, f"/error?what={what}")
        for what in ("twice", "commit", "syntax", "failed", "level", "level of a writer", "replicas", "read")
        for method in ("GET", "POST")
    ],
    ("GET", "/"),
    ("PUT", "/"),
    ("GET", "/nowhere"),
]
"""The requests of one visitor, one after the other."""

CARRIES = {"set-cookie", "x-rw", "cache-control"}


async def visit(
    cluster: AsyncCluster, items: Database, cookies: dict[str, str]
) -> tuple[list[Any], list[set[str]]]:
    """What each request of the visitor was answered, and by which headers their writes were told."""
    transport = httpx.ASGITransport(application(cluster), raise_app_exceptions=False)
    answers, told = [], []
    async with httpx.AsyncClient(transport=transport, base_url="http://shop", cookies=cookies) as browser:
        for method, path in VISIT:
            if path == "/?level=any":
                items.cluster.wait_caught_up()  # it may be shown anything that there was
            answer = await browser.request(method, path)
            others = {name: value for name, value in answer.headers.items() if name not in CARRIES}
            answers.append((method, path, answer.status_code, answer.text, others))
            told.append(CARRIES & set(answer.headers))
    return answers, told


@both
async def test_one_server_answers_as_several_do(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """25. Statuses, bodies, errors and other headers are the same, whatever cookie the visitor brings, and
    nothing is told to a visitor of one server: there is no other that could be behind."""
    items.cluster.primary.sql(
        "CREATE TABLE once (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)", database=items.name
    )
    items.cluster.wait_caught_up()
    several, alone = make_async(driver), make_async(driver, replicas=[])
    await all_readers(several)
    signer = TokenSigner(SECRET)
    position = Token("pg:1", 9, (("9", 2**60),))  # of another system: nothing here is behind it
    for cookies in ({}, {"rw": "forged"}, {"rw": signer.dumps(position)}):
        found = []
        for cluster in (several, alone):
            items.cluster.primary.sql("UPDATE item SET stock = 0", database=items.name)
            items.cluster.wait_caught_up()
            found.append(await visit(cluster, items, cookies))
        (expected, told), (answers, silence) = found
        assert answers == expected
        assert not set().union(*silence)
        wrote = [path for (_, path), names in zip(VISIT, told, strict=True) if "set-cookie" in names]
        assert wrote == ["/save", "/save", "/late/", "/block"]
    codes = {status for _, _, status, *_ in expected}
    assert codes == {200, 404, 405, 409, 500}
    bodies = {path: body for _, path, _, body, _ in expected}
    assert '"code":"25006"' in bodies["/error?what=read"]
    assert bodies["/block"] == "[3,3,3]"
    assert sum(member.in_flight for member in alone.status().members) == 0


@both
async def test_a_server_that_is_away(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str
) -> None:
    """25. One server that refuses connections is answered for by the same handler as several, and so is a
    name that is wrong; when it is there again, it serves."""

    async def busy(request: Request, error: Exception) -> Response:
        return Response(type(error).__name__, 503)

    with FaultProxy(items.cluster.primary.host, items.cluster.primary.port) as proxy:
        primary = proxy.url(items.primary_url(driver))
        alone = make_async(driver, primary=primary, replicas=[], pool_pre_ping=True)
        several = make_async(
            driver,
            primary=primary,
            replicas=items.replica_urls(driver)[:1],
            failover_wait=0,
            probe_interval=0.1,
        )

        async def save(request: Request) -> Response:
            cluster = alone if request.query_params else several
            async with cluster.session() as session:
                await add(session)
                await session.commit()
                return JSONResponse(await stock(session))

        app = Starlette(routes=[Route("/", save)], exception_handlers={NoServerAvailable: busy})
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:

            async def visit(path: str) -> tuple[int, str]:
                answer = await browser.get(path)
                return answer.status_code, answer.text

            assert await visit("/?alone") == (200, "1")
            proxy.refuse()
            assert await visit("/") == await visit("/?alone") == (503, "NoServerAvailable")
            proxy.pass_through()
            assert await visit("/?alone") == (200, "2")
    wrong = make_async(driver, primary=items.primary_url(driver) + "_none", replicas=[])
    for way in (wrong.session, wrong.connection, wrong.primary_engine.connect):
        with pytest.raises(
            NoServerAvailable, match=f"no connection to .*{items.name}_none: .*does not exist"
        ):
            async with way() as opened:
                await opened.execute(text("SELECT 1"))


AWAY = {
    "postgresql+asyncpg": ConnectionRefusedError,
    "postgresql+psycopg": OperationalError,
    "mariadb+asyncmy": OperationalError,
    "mariadb+aiomysql": OperationalError,
    "mysql+pymysql": OperationalError,
}


@pytest.mark.parametrize("scheme", AWAY)
async def test_what_it_raises_is_still_what_it_was(scheme: str) -> None:
    """25. Code that was written for SQLAlchemy's or the driver's error catches it; it goes to other processes
    as what it says. Who listens to connections being opened is asked."""
    address = f"127.0.0.1:{free_port()}/shop"
    asked = []

    def listen(engine: Engine) -> None:
        event.listen(engine, "do_connect", lambda *given: asked.append(given[3]["user"]))

    async def ask() -> None:
        if scheme == "mysql+pymysql":
            with Cluster(f"{scheme}://somebody@{address}") as one, one.session() as session:
                listen(one.primary_engine)
                session.execute(text("SELECT 1"))
        else:
            async with AsyncCluster(f"{scheme}://somebody@{address}") as other, other.session() as opened:
                listen(other.primary_engine.sync_engine)
                await opened.execute(text("SELECT 1"))

    with pytest.raises(AWAY[scheme]) as raised:
        await ask()
    assert asked == ["somebody"]
    error: Any = raised.value
    assert isinstance(error, NoServerAvailable)
    assert str(error).startswith(f"no connection to {address}: ")
    assert error.__cause__ is not None
    again = copy(error)
    assert (type(again), str(again)) == (NoServerAvailable, str(error))


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """25. SQLite is no server: SQLAlchemy's error, and no 503."""
    with Cluster(f"sqlite:///{tmp_path}/nowhere/shop.db") as cluster, cluster.session() as session:
        with pytest.raises(OperationalError) as raised:
            session.execute(text("SELECT 1"))
        assert not isinstance(raised.value, NoServerAvailable)
