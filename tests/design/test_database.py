"""The database snippets of DESIGN.md, character for character, on a primary with a replica.

Only the addresses differ: ``primary`` and ``replica-1`` stand for the test servers'.
"""

# ruff: noqa: E501 (a quotation)

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from flask import Flask
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scalekit.database.wsgi import ReadYourWritesMiddleware as WSGIReadYourWritesMiddleware
from tests.conftest import Database

SECRET = "a secret that is long enough"
READ = text("SELECT count(*) FROM item")
WRITE = text("INSERT INTO item SELECT count(*) + 1 FROM item")

SNIPPET = """\
from scalekit.database import AsyncCluster                  # Cluster for synchronous code
from scalekit.database.asgi import ReadYourWritesMiddleware
cluster = AsyncCluster("postgresql+asyncpg://app@primary/shop", replicas=["postgresql+asyncpg://app@replica-1/shop"])
app.add_middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key=SECRET)

async def session():
    async with cluster.session() as session:                # an AsyncSession; reads may go to a replica
        yield session
"""

BOUNDED = """\
async with cluster.session(consistency=Bounded(seconds=5)) as session: ...     # or ANY, CAUSAL (default), STRONG
"""

DESIGN = Path(__file__).parents[3] / "shared" / "DESIGN.md"


@pytest.fixture
def items(database: Database) -> Database:
    database.cluster.primary.sql("CREATE TABLE item (id int)", database=database.name)
    database.cluster.wait_caught_up()
    return database


def run(code: str, database: Database, names: dict[str, Any]) -> dict[str, Any]:
    """Execute a snippet over ``database``."""
    code = code.replace("postgresql+asyncpg://app@primary/shop", database.primary_url("asyncpg"))
    code = code.replace("postgresql+asyncpg://app@replica-1/shop", database.replica_urls("asyncpg")[0])
    exec(compile(code, "DESIGN.md", "exec"), names)
    return names


@pytest.mark.skipif(not DESIGN.exists(), reason="DESIGN.md is not beside this checkout")
def test_the_snippets_are_those_of_the_design() -> None:
    """What is tested here is what DESIGN.md says."""
    design = DESIGN.read_text("utf-8")
    assert SNIPPET in design
    assert BOUNDED in design


def fastapi(names: dict[str, Any]) -> None:
    app, session = names["app"], names["session"]

    @app.get("/")
    async def count(session: AsyncSession = Depends(session)) -> int:
        return int((await session.execute(READ)).scalar_one())

    @app.post("/")
    async def add(session: AsyncSession = Depends(session)) -> int:
        await session.execute(WRITE)
        await session.commit()
        return int((await session.execute(READ)).scalar_one())


def starlette(names: dict[str, Any]) -> None:
    async def endpoint(request: Request) -> Response:
        async for session in names["session"]():
            if request.method == "POST":
                await session.execute(WRITE)
                await session.commit()
            return JSONResponse((await session.execute(READ)).scalar_one())
        raise AssertionError("no session")

    names["app"].add_route("/", endpoint, methods=["GET", "POST"])


@pytest.mark.parametrize(("make", "routes"), [(FastAPI, fastapi), (Starlette, starlette)])
async def test_asgi(items: Database, make: Callable[[], Any], routes: Callable[..., None]) -> None:
    """FastAPI and Starlette: every read shows what this browser wrote."""
    names = run(SNIPPET, items, {"app": make(), "SECRET": SECRET})
    routes(names)
    async with names["cluster"]:
        transport = httpx.ASGITransport(names["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:
            assert (await browser.get("/")).json() == 0
            for number in range(1, 11):
                written = await browser.post("/")
                assert written.json() == number
                assert re.match("rw=", written.headers["set-cookie"])
                assert (await browser.get("/")).json() == number


async def test_bounded(items: Database) -> None:
    """A consistency level for one session."""
    names = run(SNIPPET, items, {"app": FastAPI(), "SECRET": SECRET, "READ": READ})
    used = BOUNDED.replace(": ...", ": found = (await session.execute(READ)).scalar_one()")
    code = f"from scalekit.database import Bounded\nasync def use():\n    {used}    return found\n"
    async with names["cluster"]:
        assert await run(code, items, names)["use"]() == 0


def test_flask(items: Database) -> None:
    """Flask has the same under the same name, from scalekit.database.wsgi."""
    from scalekit.database import Cluster

    with Cluster(items.primary_url("psycopg"), replicas=items.replica_urls("psycopg")) as cluster:
        app = Flask(__name__)

        @app.get("/")
        def count() -> str:
            with cluster.session() as session:
                return str(session.execute(READ).scalar_one())

        @app.post("/")
        def add() -> str:
            with cluster.session() as session:
                session.execute(WRITE)
                session.commit()
                return str(session.execute(READ).scalar_one())

        app.wsgi_app = WSGIReadYourWritesMiddleware(  # type: ignore[method-assign]
            app.wsgi_app, cluster=cluster, secret_key=SECRET
        )
        browser = app.test_client()
        for number in range(1, 11):
            assert browser.post("/").text == str(number)
            assert browser.get("/").text == str(number)
