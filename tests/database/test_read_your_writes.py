"""What a visitor wrote is what they read: on every replica, through every shell, on every server."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from scalekit.database import ANY, AsyncCluster, Bounded, Cluster, TokenSigner
from scalekit.database.asgi import ReadYourWritesMiddleware
from tests.conftest import Database
from tests.database._readers import all_readers
from tests.database._tokens import token
from tests.database._waiting import until
from tests.faults import pause_replay

pytestmark = pytest.mark.slow

SECRET = "a secret that all servers share"
READ = text("SELECT stock, pg_is_in_recovery() FROM item WHERE id = 1")
WRITE = text("UPDATE item SET stock = stock + 1 WHERE id = 1")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("synchronous_commit", ["on", "off"])
async def test_a_thousand_reads_with_one_replica_paused(
    make_async: Callable[..., AsyncCluster], items: Database, driver: str, synchronous_commit: str
) -> None:
    """One replica shows nothing new: no read is stale, and the other one still takes reads."""
    cluster = make_async(driver)
    await all_readers(cluster)
    with pause_replay(items.cluster.replicas[0]):
        written = 0
        on_replica = 0
        for _ in range(10):
            with cluster.scope() as scope:
                async with cluster.session() as session:
                    await session.execute(text(f"SET LOCAL synchronous_commit = {synchronous_commit}"))
                    await session.execute(WRITE)
                    await session.commit()
                written += 1
                assert scope.token is not None
                if written == 10:  # on a busy machine it may be behind all the time until then
                    # A commit that waits takes along those before it, of which none may have left yet.
                    items.cluster.primary.sql("SELECT pg_logical_emit_message(true, 'tests', '')")
                    position = items.cluster.primary.position()
                    await asyncio.to_thread(items.cluster.replicas[1].wait_for, position)
                for _ in range(100):
                    async with cluster.session() as session:
                        stock, replica = (await session.execute(READ)).one()
                        assert stock == written
                        on_replica += replica
        assert on_replica > 0


async def test_all_replicas_paused(make_async: Callable[..., AsyncCluster], items: Database) -> None:
    """The primary takes the reads of those who wrote; others may read from the replicas."""
    cluster = make_async()
    await all_readers(cluster)
    with pause_replay(items.cluster.replicas[0]), pause_replay(items.cluster.replicas[1]):
        with cluster.scope():
            async with cluster.session() as session:
                await session.execute(WRITE)
                await session.commit()
            for _ in range(20):
                async with cluster.session() as session:
                    assert (await session.execute(READ)).one() == (1, False)
        with cluster.scope():
            async with cluster.session() as session:
                assert (await session.execute(READ)).one() == (0, True)


async def test_bounded_reads_avoid_what_is_too_old(
    make_async: Callable[..., AsyncCluster], items: Database
) -> None:
    """Bounded(1) leaves a paused replica within a second; while nothing is written, idle is not old."""
    cluster = make_async()
    await all_readers(cluster)
    primary, idle = cluster._fleet.members[0], time.monotonic()
    await until(lambda: primary.health.asked > idle + 1.5)  # it has said so for longer than the bound

    async def bounded() -> tuple[int, bool]:
        with cluster.scope():
            async with cluster.session(consistency=Bounded(1)) as session:
                return tuple((await session.execute(READ)).one())

    async with asyncio.timeout(30):  # where nobody was asked for a second nobody knows
        while await bounded() != (0, True):
            await asyncio.sleep(0.05)
    with pause_replay(items.cluster.replicas[0]), pause_replay(items.cluster.replicas[1]):
        async with cluster.session() as session:
            await session.execute(WRITE)
            await session.commit()
        async with asyncio.timeout(30):
            while await bounded() != (1, False):
                await asyncio.sleep(0.05)
        with cluster.scope():
            async with cluster.session(consistency=ANY) as session:
                assert (await session.execute(READ)).one() == (0, True)


async def test_a_replica_that_lags_is_left_out(
    make_async: Callable[..., AsyncCluster], items: Database
) -> None:
    """Beyond max_lag a replica gets no reads, and status says why; caught up, it gets them again."""
    cluster = make_async(max_lag=0.5)
    await all_readers(cluster)
    with pause_replay(items.cluster.replicas[0]):
        async with asyncio.timeout(30):
            while "lags" not in str(cluster.status().members[1].reason):
                async with cluster.session() as session:
                    await session.execute(WRITE)
                    await session.commit()
                await asyncio.sleep(0.05)
        assert cluster.status().members[1].role == "out"
    await all_readers(cluster)


async def test_tokens_only_when_something_was_committed(make_async: Callable[..., AsyncCluster]) -> None:
    """Reads, rollbacks and commits of nothing give no token; a writing function read on the primary does."""
    cluster = make_async()
    for driver in ("asyncpg", "psycopg"):
        cluster = make_async(driver)
        with cluster.scope() as scope:
            async with cluster.session() as session:
                await session.execute(READ)
                await session.commit()
            async with cluster.session() as session:
                await session.execute(WRITE)
                await session.rollback()
            with cluster.primary():
                async with cluster.session() as session:
                    await session.execute(READ)
                    await session.commit()
            assert not scope.advanced
            assert scope.token is None
            with cluster.primary():
                async with cluster.session() as session:
                    await session.execute(text("SELECT place_order(2)"))
                    await session.commit()
            assert scope.advanced


async def test_child_tasks_and_threads_write_for_their_request(
    make_async: Callable[..., AsyncCluster], make_sync: Callable[..., Cluster]
) -> None:
    """The token is in an object that children share, not in a variable that they copy."""
    cluster, sync = make_async(), make_sync()

    async def write() -> None:
        async with cluster.session() as session:
            await session.execute(WRITE)
            await session.commit()

    with cluster.scope() as scope:
        await asyncio.create_task(write())
        assert scope.advanced

    def write_in_thread() -> None:
        with sync.session() as session:
            session.execute(WRITE)
            session.commit()

    with sync.scope() as scope:
        await asyncio.to_thread(write_in_thread)
        assert scope.advanced
    with sync.scope() as scope:
        assert scope.token is None, "nothing leaks from one request into the next"


async def test_the_position_comes_with_the_commit(
    make_async: Callable[..., AsyncCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No statement is sent after COMMIT to learn the position."""
    for driver in ("asyncpg", "psycopg"):
        cluster = make_async(driver)
        async with cluster.session() as session:
            await session.execute(WRITE)  # over a new connection, which is asked who is there
        ask = Mock()
        monkeypatch.setattr(type(cluster._fleet.members[0]._driver), "ask", ask)
        for _ in range(20):
            with cluster.scope() as scope:
                async with cluster.session() as session:
                    await session.execute(WRITE)
                    await session.commit()
                assert scope.advanced
                assert scope.token is not None
                assert scope.token.is_known
        ask.assert_not_called()


async def test_a_failed_transaction_commits_nothing(make_async: Callable[..., AsyncCluster]) -> None:
    """COMMIT of a transaction with an error in it rolls back, and a read-only one gives no token."""
    for driver in ("asyncpg", "psycopg"):
        cluster = make_async(driver)
        with cluster.scope() as scope, cluster.primary():
            async with cluster.session() as session:
                with pytest.raises(DBAPIError, match="division by zero"):
                    await session.execute(text("SELECT 1 / 0"))
                await session.commit()
            assert not scope.advanced
            async with cluster.session() as session:
                assert (await session.execute(text("SELECT 1"))).one() == (1,)


def app(
    cluster: AsyncCluster, inside: Callable[[], AbstractContextManager[object]] = nullcontext
) -> ReadYourWritesMiddleware:
    async def stock(request: Request) -> Response:
        with inside():
            async with cluster.session() as session:
                if request.method == "POST":
                    await session.execute(WRITE)
                    await session.commit()
                value, replica = (await session.execute(READ)).one()
        return JSONResponse({"stock": value, "replica": replica})

    routes = [Route("/", stock, methods=["GET", "POST"])]
    return ReadYourWritesMiddleware(Starlette(routes=routes), cluster=cluster, secret_key=SECRET)


def client(application: Any, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://shop", **options)


async def test_the_cookie(make_async: Callable[..., AsyncCluster], items: Database) -> None:
    """Only a response that follows a commit sets it; it is signed and private, and forged it pins nobody."""
    cluster = make_async()
    await all_readers(cluster)
    application = app(cluster)
    async with client(application) as browser:
        first = await browser.get("/")
        assert first.json() == {"stock": 0, "replica": True}
        assert "set-cookie" not in first.headers
        written = await browser.post("/")
        assert written.json() == {"stock": 1, "replica": False}
        cookie = written.headers["set-cookie"]
        assert cookie.startswith("rw=")
        for attribute in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"):
            assert attribute in cookie
        assert written.headers["cache-control"] == "private"
        items.cluster.wait_caught_up()
        again = await browser.get("/")
        assert again.json() == {"stock": 1, "replica": True}
        assert "set-cookie" not in again.headers
    async with client(application, cookies={"rw": "1.7.1.ffffffffffff.ffffffff.forged"}) as forger:
        assert (await forger.get("/")).json()["replica"] is True
    far = TokenSigner(SECRET).dumps(token(1, 2**63, system=cluster._fleet.system or ""))
    async with client(application, cookies={"rw": far}) as visitor:
        assert (await visitor.get("/")).json()["replica"] is False
    other = TokenSigner(SECRET).dumps(token(0, 1, system=cluster._fleet.system or ""))
    async with client(application, cookies={"rw": other}) as visitor:
        assert (await visitor.get("/")).json()["replica"] is False, "another timeline is never a yes"
    elsewhere = TokenSigner(SECRET).dumps(token(1, 2**63, system="pg:12345"))
    async with client(application, cookies={"rw": elsewhere}) as visitor:
        assert (await visitor.get("/")).json()["replica"] is True, "another database's token means nothing"


async def test_a_scope_inside_a_request_is_the_visitors_too(
    make_async: Callable[..., AsyncCluster], items: Database
) -> None:
    """It starts from the visitor's token, and what is committed inside it is in the visitor's cookie."""
    cluster = make_async()
    await all_readers(cluster)
    with pause_replay(items.cluster.replicas[0]), pause_replay(items.cluster.replicas[1]):
        async with client(app(cluster, inside=cluster.scope)) as browser:
            assert "rw=" in (await browser.post("/")).headers["set-cookie"]
            assert (await browser.get("/")).json() == {"stock": 1, "replica": False}


async def test_https_gets_the_host_prefix(make_async: Callable[..., AsyncCluster]) -> None:
    """Over HTTPS no other host of the domain can plant the cookie."""
    transport = httpx.ASGITransport(app(make_async()))
    async with httpx.AsyncClient(transport=transport, base_url="https://shop") as browser:
        cookie = (await browser.post("/")).headers["set-cookie"]
    assert cookie.startswith("__Host-rw=")
    assert "Secure" in cookie


async def test_a_commit_behind_the_endpoint_still_makes_it_into_the_cookie(
    make_async: Callable[..., AsyncCluster],
) -> None:
    """The response waits while writes are uncommitted, as in FastAPI's dependencies; a failure is a 500."""
    cluster = make_async()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async with cluster.session() as session:
            await session.execute(WRITE)
            await JSONResponse({"saved": True})(scope, receive, send)
            if scope["path"] == "/fail":
                raise RuntimeError("the commit failed")
            await session.commit()

    wrapped = ReadYourWritesMiddleware(application, cluster=cluster, secret_key=SECRET)
    async with client(wrapped) as browser:
        saved = await browser.post("/")
        assert saved.json() == {"saved": True}
        assert "rw=" in saved.headers["set-cookie"]
        failed = await browser.post("/fail")
        assert failed.status_code == 500


async def test_a_commit_before_an_error(
    make_async: Callable[..., AsyncCluster], caplog: pytest.LogCaptureFixture
) -> None:
    """1. Starlette makes its page outside of what add_middleware() adds: the log says so, with the cure."""
    cluster = make_async()

    async def fail(request: Request) -> Response:
        async with cluster.session() as session:
            await session.execute(WRITE)
            if request.query_params:
                await session.commit()
        raise RuntimeError("behind the commit")

    added = Starlette(routes=[Route("/", fail, methods=["POST"])])
    around = ReadYourWritesMiddleware(Starlette(routes=added.routes), cluster=cluster, secret_key=SECRET)
    added.add_middleware(ReadYourWritesMiddleware, cluster=cluster, secret_key=SECRET)
    told = "a request has committed and then failed by RuntimeError"
    for application, commits, cookies, warnings in (
        (added, "", 0, 0), (added, "?commit", 0, 1), (around, "?commit", 1, 1),
    ):  # fmt: skip
        async with client(application) as browser:
            answer = await browser.post(f"/{commits}")
            assert (answer.status_code, len(answer.cookies)) == (500, cookies)
        assert caplog.text.count(told) == warnings


async def test_a_commit_behind_a_stream_is_logged(
    make_async: Callable[..., AsyncCluster], caplog: pytest.LogCaptureFixture
) -> None:
    """Headers that have left cannot carry a cookie: the log says so, and how to cure it."""
    cluster = make_async()

    async def stream(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            async with cluster.session() as session:
                await session.execute(WRITE)
                await session.commit()
            yield b"last"

        return StreamingResponse(parts())

    wrapped = ReadYourWritesMiddleware(
        Starlette(routes=[Route("/", stream)]), cluster=cluster, secret_key=SECRET
    )
    async with client(wrapped) as browser:
        assert (await browser.get("/")).text == "firstlast"
    assert "after the response headers had left" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
async def test_a_middleware_that_passes_the_response_on_in_parts(
    make_async: Callable[..., AsyncCluster], *, fails: bool
) -> None:
    """Starlette's BaseHTTPMiddleware streams the shortest response: it is held all the same."""
    cluster = make_async()

    async def commits_late(scope: Any, receive: Any, send: Any) -> None:
        async with cluster.session() as session:
            await session.execute(WRITE)
            await JSONResponse({"saved": True})(scope, receive, send)
            if fails:
                raise RuntimeError("the commit failed")
            await session.commit()

    async def dispatch(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    wrapped = ReadYourWritesMiddleware(
        BaseHTTPMiddleware(commits_late, dispatch), cluster=cluster, secret_key=SECRET
    )
    async with client(wrapped) as browser:
        answer = await browser.post("/")
        assert (answer.status_code, "set-cookie" in answer.headers) == (
            (500, False) if fails else (200, True)
        )


@pytest.mark.parametrize("length", [None, b"2000000", b"3"])
async def test_what_is_too_long_to_be_kept_is_not_held(
    make_async: Callable[..., AsyncCluster], length: bytes | None
) -> None:
    """A response in parts leaves at once if its length is unknown, too long, or not true."""
    cluster = make_async()
    events: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async with cluster.session() as session:
            await session.execute(WRITE)
            headers = [] if length is None else [(b"content-length", length)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            events.append("the first part was sent")

    async def send(message: Any) -> None:
        events.append(message["type"])

    wrapped = ReadYourWritesMiddleware(application, cluster=cluster, secret_key=SECRET)
    await wrapped({"type": "http", "method": "POST", "headers": []}, send, send)  # type: ignore[arg-type]
    assert events == ["http.response.start", "http.response.body", "the first part was sent"]


async def test_a_websocket(make_async: Callable[..., AsyncCluster], caplog: pytest.LogCaptureFixture) -> None:
    """The handshake carries the cookie; what is committed behind it is logged, once a connection."""
    cluster = make_async()
    sent: list[Any] = []

    async def write() -> None:
        async with cluster.session() as session:
            await session.execute(WRITE)
            await session.commit()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await write()
        await send({"type": "websocket.accept"})
        assert "after the response headers" not in caplog.text
        for _ in range(3):
            await write()
        await send({"type": "websocket.close"})

    async def send(message: Any) -> None:
        sent.append(message)

    wrapped = ReadYourWritesMiddleware(application, cluster=cluster, secret_key=SECRET)
    await wrapped({"type": "websocket", "scheme": "ws", "headers": []}, send, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert dict(sent[0]["headers"])[b"set-cookie"].startswith(b"rw=")
    assert caplog.text.count("after the response headers") == 1


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_two_tabs_at_once(
    make_async: Callable[..., AsyncCluster], items: Database, *, elsewhere: bool
) -> None:
    """The answer to the earlier write arrives last: its cookie covers the later write too, also through
    another server process, once this one has asked the primary."""
    one = make_async(probe_interval=0.1 if elsewhere else 30)
    two = make_async() if elsewhere else one
    await all_readers(one)
    await all_readers(two)
    saved, rendered = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        async with one.session() as session:
            await session.execute(text("UPDATE item SET stock = 1 WHERE id = 2"))
            await session.commit()
        saved.set()
        await rendered.wait()
        return Response()

    first = ReadYourWritesMiddleware(
        Starlette(routes=[Route("/", slow, methods=["POST"])]), cluster=one, secret_key=SECRET
    )
    async with client(first) as tab, client(app(two)) as other_tab:
        slowly = asyncio.create_task(tab.post("/"))
        await saved.wait()
        await asyncio.to_thread(items.cluster.wait_caught_up)
        with pause_replay(items.cluster.replicas[0]), pause_replay(items.cluster.replicas[1]):
            other_tab.cookies = {"rw": (await other_tab.post("/")).cookies["rw"]}
            written = TokenSigner(SECRET).loads(other_tab.cookies["rw"])
            assert written is not None
            start = token(written.epoch, 0, system=written.system)
            # Or more: the server writes to its log by itself, too.
            await until(lambda: one.scopes.newest_since(start).includes(written))
            rendered.set()
            # The browser keeps the one that came last.
            other_tab.cookies = {"rw": (await slowly).cookies["rw"]}
            assert (await other_tab.get("/")).json() == {"stock": 1, "replica": False}


async def test_background_tasks_do_not_hold_the_response(make_async: Callable[..., AsyncCluster]) -> None:
    """A response whose writes are committed leaves at once."""
    cluster = make_async()
    left = asyncio.Event()

    async def later() -> None:
        async with asyncio.timeout(30):
            await left.wait()

    async def save(request: Request) -> Response:
        async with cluster.session() as session:
            await session.execute(WRITE)
            await session.commit()
        return JSONResponse({}, background=BackgroundTask(later))

    wrapped = ReadYourWritesMiddleware(
        Starlette(routes=[Route("/", save, methods=["POST"])]), cluster=cluster, secret_key=SECRET
    )

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            left.set()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"", "scheme": "http",
        "server": ("shop", 80), "client": ("127.0.0.1", 1), "root_path": "", "http_version": "1.1",
    }  # fmt: skip
    await wrapped(scope, receive, send)


@asynccontextmanager
async def server(items: Database) -> AsyncIterator[str]:
    """An application server in a process of its own; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.database._server"],
            pass_fds=[listener.fileno()],
            env={
                **os.environ,
                "PRIMARY_URL": items.primary_url("asyncpg"),
                "REPLICA_URLS": " ".join(items.replica_urls("asyncpg")),
                "LISTEN_FD": str(listener.fileno()),
            },
        )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, 20)


async def test_a_write_on_server_a_is_read_on_server_b(items: Database) -> None:
    """1. 4. Two processes share nothing but the secret: the visitor goes back and forth and is never behind,
    and who has written nothing has the same replica at both."""
    async with server(items) as a, server(items) as b, httpx.AsyncClient(timeout=20) as browser:
        # First: a replica that comes back is given its visitors gradually, by each process for itself.
        for number in range(8):
            visitor = {"User-Agent": f"browser {number}"}
            found = [(await browser.get(at, headers=visitor)).json() for at in (a, b, a)]
            assert {one["replica"] for one in found} == {True}
            assert len({one["port"] for one in found}) == 1
        with pause_replay(items.cluster.replicas[0]):
            on_replica = 0
            for written in range(1, 21):
                writes, reads = (a, b) if written % 2 else (b, a)
                await browser.post(writes)
                if written == 20:  # on a busy machine it may be behind all the time until then
                    position = items.cluster.primary.position()
                    await asyncio.to_thread(items.cluster.replicas[1].wait_for, position)
                for _ in range(5):
                    found = (await browser.get(reads)).json()
                    assert found["stock"] == written
                    on_replica += found["replica"]
            assert on_replica > 0
