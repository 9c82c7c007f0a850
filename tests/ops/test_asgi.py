"""The ASGI shell, called as a server calls it."""

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from scalekit.errors import ConfigurationError
from scalekit.ops import Check, Drain
from scalekit.ops.asgi import OpsMiddleware
from scalekit.types import Message, Receive, Scope, Send


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"keep-alive")]})
    await send({"type": "http.response.body", "body": b"hello"})


def client(app: OpsMiddleware) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")  # type: ignore[arg-type]


async def test_live_and_ready() -> None:
    """Both probes answer 200 with JSON that no cache may keep."""
    async with client(OpsMiddleware(hello)) as http:
        for path, status in (("/health/live", "live"), ("/health/ready", "ready")):
            response = await http.get(path)
            assert response.status_code == 200
            assert response.json()["status"] == status
            assert response.headers["cache-control"] == "no-store"
            assert response.headers["content-type"] == "application/json"


async def test_the_application_keeps_its_paths() -> None:
    """Only the two exact paths are taken; anything near them is the application's."""
    async with client(OpsMiddleware(hello)) as http:
        for path in ("/", "/health", "/health/", "/health/live/", "/healthz/live", "/x/health/live"):
            assert (await http.get(path)).text == "hello"


async def test_another_folder_and_a_root_path() -> None:
    """The folder of the probes can be moved, and a server behind a path prefix is probed beneath it."""
    app = OpsMiddleware(hello, path="/-/")
    async with client(app) as http:
        assert (await http.get("/-/ready")).json()["status"] == "ready"
        assert (await http.get("/health/ready")).text == "hello"
    transport = httpx.ASGITransport(app=app, root_path="/shop")  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/shop/-/ready")).json()["status"] == "ready"
    for bad in ("", "/", "health"):
        with pytest.raises(ConfigurationError, match="path="):
            OpsMiddleware(hello, path=bad)


async def test_head_and_other_methods() -> None:
    """HEAD has the headers without the body; anything that writes is refused."""
    async with client(OpsMiddleware(hello)) as http:
        head, get = await http.head("/health/ready"), await http.get("/health/ready")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]
        post = await http.post("/health/ready")
        assert (post.status_code, post.headers["allow"]) == (405, "GET, HEAD")


async def test_checks_decide() -> None:
    """A required check that fails answers 503, a passing one 200, and liveness does not care."""

    async def broken() -> None:
        raise ConnectionError

    async with client(OpsMiddleware(hello, checks=[Check("database", broken)])) as http:
        response = await http.get("/health/ready")
        assert response.status_code == 503
        assert response.json()["checks"]["database"] == {
            "ok": False,
            "required": True,
            "error": "ConnectionError",
            "took_ms": response.json()["checks"]["database"]["took_ms"],
            "age_s": pytest.approx(0.0, abs=60.0),  # of this very run
        }
        assert (await http.get("/health/live")).status_code == 200
    async with client(OpsMiddleware(hello, checks=[Check("redis", broken, required=False)])) as http:
        assert (await http.get("/health/ready")).status_code == 200


async def test_a_drain_flips_readiness_and_closes_connections() -> None:
    """After start() readiness is 503, liveness 200, requests are served and ask to close."""
    drain = Drain(signals=())
    async with client(OpsMiddleware(hello, drain=drain)) as http:
        assert (await http.get("/")).headers["connection"] == "keep-alive"
        drain.start()
        assert (await http.get("/health/ready")).json()["status"] == "draining"
        assert (await http.get("/health/ready")).status_code == 503
        assert (await http.get("/health/live")).status_code == 200
        response = await http.get("/")
        assert (response.status_code, response.text) == (200, "hello")
        assert response.headers.get_list("connection") == ["close"]


async def test_a_drain_that_begins_during_a_request_closes_its_connection() -> None:
    """Whether to close is decided when the response starts, not when the request came."""
    drain = Drain(signals=())

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        drain.start()
        await hello(scope, receive, send)

    async with client(OpsMiddleware(slow, drain=drain)) as http:
        assert (await http.get("/")).headers["connection"] == "close"


async def test_http2_gets_no_connection_header() -> None:
    """The Connection header is forbidden in HTTP/2, so it is left as the application sent it."""
    drain, sent = Drain(signals=()), []

    async def send(message: Message) -> None:
        sent.append(message)

    drain.start()
    await OpsMiddleware(hello, drain=drain)(
        {"type": "http", "path": "/", "method": "GET", "http_version": "2"},
        None,
        send,  # type: ignore[arg-type]
    )
    assert sent[0]["headers"] == [(b"connection", b"keep-alive")]


async def test_in_flight_counts_http_and_websockets_and_survives_errors() -> None:
    """Requests and WebSockets count while the application runs, also when it fails; probes do not."""
    drain, seen = Drain(signals=()), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(drain.in_flight)
        raise RuntimeError("boom")

    ops = OpsMiddleware(app, drain=drain)
    for scope in (
        {"type": "http", "path": "/", "method": "GET"},
        {"type": "websocket", "path": "/health/live"},
    ):
        with pytest.raises(RuntimeError, match="boom"):
            await ops(scope, None, None)  # type: ignore[arg-type]
    assert seen == [1, 1]
    assert drain.in_flight == 0


async def test_a_stream_hears_of_the_drain() -> None:
    """An endless stream that awaits drain.wait() ends itself when the drain begins."""
    drain, sent = Drain(signals=()), list[Message]()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await drain.wait()
        await send({"type": "http.response.body", "body": b"event: bye\n\n"})

    async def send(message: Message) -> None:
        sent.append(message)

    ops = OpsMiddleware(stream, drain=drain)
    request = asyncio.create_task(ops({"type": "http", "path": "/", "method": "GET"}, None, send))  # type: ignore[arg-type]
    while not sent:
        await asyncio.sleep(0)
    assert drain.in_flight == 1
    drain.start()
    async with asyncio.timeout(30):
        await request
    assert sent[-1]["body"] == b"event: bye\n\n"


async def test_lifespan_chains_the_signal_and_puts_it_back() -> None:
    """The handler is in place between start-up and shut-down, and the first results are there by then."""
    before, during = signal.getsignal(signal.SIGTERM), list[Any]()
    calls = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        during.append(signal.getsignal(signal.SIGTERM))
        assert not calls  # the application starts first: its checks may need what it opens
        await send({"type": "lifespan.startup.complete"})
        await receive()
        during.append(signal.getsignal(signal.SIGTERM))
        await send({"type": "lifespan.shutdown.complete"})

    messages = iter(["lifespan.startup", "lifespan.shutdown"])
    sent = []

    async def receive() -> Message:
        return {"type": next(messages)}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await OpsMiddleware(app, checks=[Check("x", lambda: calls.append(1))])(
        {"type": "lifespan"}, receive, send
    )
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert calls == [1]
    assert during[0] != before
    assert during[1] == before
    assert signal.getsignal(signal.SIGTERM) == before


async def test_a_drain_that_cannot_be_is_told_to_the_server(tmp_path: Path) -> None:
    """A file where nothing can be written fails the start-up, by the message for it: an exception would be
    taken for an application without a lifespan, which is served. The application does not begin."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError(scope)

    drain = Drain(file=tmp_path / "none/drain", signals=())
    await OpsMiddleware(app, drain=drain)({"type": "lifespan"}, receive, send)
    (failed,) = sent
    assert failed["type"] == "lifespan.startup.failed"
    assert "the server can write nothing there" in failed["message"]


@pytest.mark.parametrize("raises", [True, False])
async def test_an_application_without_a_lifespan_has_started(raises: bool) -> None:
    """It raises, as Django does, or returns, and is served all the same: the startup probe passes."""

    async def bare(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and raises:
            raise ValueError("only HTTP here")
        if scope["type"] == "http":
            await hello(scope, receive, send)

    app = OpsMiddleware(bare, drain=Drain(signals=()))
    with pytest.raises(ValueError, match="only HTTP") if raises else contextlib.nullcontext():
        await app({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    async with client(app) as http:
        assert (await http.get("/health/startup")).status_code == 200


async def test_building_it_changes_nothing() -> None:
    """Neither the import nor the construction touches a signal handler."""
    before = signal.getsignal(signal.SIGTERM)
    OpsMiddleware(hello)
    assert signal.getsignal(signal.SIGTERM) == before


async def test_json_is_json() -> None:
    """A check may have any name."""
    async with client(OpsMiddleware(hello, checks=[Check('quote " and ü', lambda: None)])) as http:
        assert list(json.loads((await http.get("/health/ready")).content)["checks"]) == ['quote " and ü']
