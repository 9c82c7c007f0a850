"""What each level promises, and what it may cost, on a primary and two replicas."""

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from sqlalchemy import select, text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scalekit.database import ANY, STRONG, AsyncCluster, Bounded, Consistency, TokenSigner
from scalekit.database.asgi import ReadYourWritesMiddleware
from tests.conftest import Database
from tests.database._readers import all_readers
from tests.database._tokens import token

SECRET = "a secret that all servers share"
WHERE = text("SELECT inet_server_port(), pg_is_in_recovery()")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_any_never_asks_and_strong_never_leaves(
    make_async: Callable[..., AsyncCluster], monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    """6. ANY reads from a replica whatever the visitor was promised, and no question goes out before it;
    STRONG stays on the primary whatever is read and however, and needs none either. CAUSAL asks, once."""
    cluster = make_async(driver)
    await all_readers(cluster)
    ask = Mock(side_effect=AssertionError("a server was asked"))
    monkeypatch.setattr(type(cluster._fleet.members[0]), "ask_over", ask)
    far = token(1, 2**63, system=cluster._fleet.system or "")

    async def port(consistency: Consistency | None = None) -> Any:
        async with cluster.session(consistency=consistency) as session:
            return tuple((await session.execute(WHERE)).one())

    primary = (await port(STRONG))[0]
    for number in range(20):
        with cluster.scope(far, visitor=str(number)):
            assert (await port(ANY))[1]
    with cluster.scope(writes=True), cluster.replicas(ANY):
        assert (await port())[1]
    for consistency, scope in ((STRONG, cluster.scope()), (None, cluster.scope(writes=True))):
        with scope:
            async with cluster.session(consistency=consistency) as session:
                for _ in range(3):
                    assert await session.scalar(text("SELECT inet_server_port()")) == primary
                    assert (await session.scalars(select(text("inet_server_port()")))).all() == [primary]
                    streamed = await session.stream(WHERE)
                    assert [tuple(row) async for row in streamed] == [(primary, False)]
                    await session.rollback()
    ask.assert_not_called()
    with cluster.scope(far), pytest.raises(AssertionError, match="a server was asked"):
        await port()
    assert ask.call_count == 1


async def test_bounded_by_less_than_anybody_knows(make_async: Callable[..., AsyncCluster]) -> None:
    """5. A bound shorter than the time between two probes is met by the primary: nobody knows better."""
    cluster = make_async(probe_interval=3)
    await all_readers(cluster)
    async with asyncio.timeout(20):
        while True:
            async with cluster.session(consistency=Bounded(0.01)) as session:
                if not (await session.execute(WHERE)).one()[1]:
                    break
    async with cluster.session(consistency=Bounded(600)) as session:
        assert (await session.execute(WHERE)).one()[1]


async def test_requests(make_async: Callable[..., AsyncCluster], items: Database) -> None:
    """4. 26. A visitor's pages come from one replica, at each server, without a cookie; a POST that a route
    says reads is one of them, a GET that writes starts on the primary; and a client without cookies reads
    what it wrote by a header."""
    clusters = [make_async(), make_async("psycopg")]
    for cluster in clusters:
        await all_readers(cluster)

    def server(cluster: AsyncCluster) -> Any:
        async def stock(request: Request) -> Response:
            async with cluster.session() as session:
                if request.method == "PUT":
                    await session.execute(text("UPDATE item SET stock = stock + 1 WHERE id = 1"))
                    await session.commit()
                found = (await session.execute(WHERE)).one()
                value = await session.scalar(text("SELECT stock FROM item WHERE id = 1"))
            return JSONResponse({"port": found[0], "replica": found[1], "stock": value})

        routes = [
            Route(path, stock, methods=["GET", "POST", "PUT"]) for path in ("/", "/search", "/callback")
        ]
        wrapped = ReadYourWritesMiddleware(
            Starlette(routes=routes),
            cluster=cluster,
            secret_key=SECRET,
            header="X-RW",
            routes={"POST /search": "reads", "/callback": "writes"},
        )
        return httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="http://shop")

    async with server(clusters[0]) as one, server(clusters[1]) as two:
        ports = set()
        for number in range(32):  # all of them on one replica, by their names alone: 1 in 2**31
            visitor = {"User-Agent": f"browser {number}"}
            answers = [await at.get("/", headers=visitor) for at in (one, two, one)]
            answers.append(await two.post("/search", headers=visitor))
            (port,) = {answer.json()["port"] for answer in answers}
            assert all(answer.json()["replica"] for answer in answers)
            assert not any({"set-cookie", "x-rw"} & set(answer.headers) for answer in answers)
            ports.add(port)
        assert ports == {replica.port for replica in items.cluster.replicas}
        for answer in (await one.get("/callback"), await one.post("/")):
            assert not answer.json()["replica"]
        for number in range(1, 6):
            written = await one.put("/")
            one.cookies.clear()
            answer = await two.get("/", headers={"X-RW": written.headers["x-rw"]})
            assert answer.json()["stock"] == number
            assert "set-cookie" not in answer.headers
            before, after = (TokenSigner(SECRET).loads(one.headers["x-rw"]) for one in (written, answer))
            assert before is not None
            assert after is not None
            assert after.includes(before)
