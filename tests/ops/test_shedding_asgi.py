"""The ASGI shell of load shedding, called as a server calls it."""

import asyncio
import contextlib
import time
import types
from collections.abc import Generator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit.errors import ConfigurationError
from scalekit.ops import Limits, Priority, Rule, Shedding
from scalekit.ops._loop_lag import LoopLag
from scalekit.ops.asgi import SheddingMiddleware
from scalekit.types import ASGIApp, Message, Receive, Scope, Send
from tests.ops.child import PATIENCE

OK: list[Message] = [
    {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]},
    {"type": "http.response.body", "body": b"ok"},
]


def of_one(**options: Any) -> Shedding:
    return Shedding(limits=Limits(minimum=1, initial=1, maximum=options.pop("maximum", 1)), **options)


def scope(kind: str = "http", **more: Any) -> Scope:
    return {"type": kind, "path": "/", "http_version": "1.1", "headers": [], **more} | (
        {"method": "GET"} if kind == "http" else {}
    )


async def never() -> Message:
    raise AssertionError("nothing may be received")


async def answers(app: ASGIApp, given: Scope, receive: Receive = never) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(given, receive, send)
    return sent


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    for message in OK:
        await send(message)


async def test_it_works_without_an_option() -> None:
    """`app.add_middleware(SheddingMiddleware)` is all; requests pass as they are."""

    async def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(SheddingMiddleware)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as http:
        assert (await http.get("/")).text == "hello"


async def test_a_full_server_answers_503_before_the_body_is_read() -> None:
    """Who does not get a slot is answered without a look at the body; who has one is answered after that."""
    middleware = SheddingMiddleware(hello, shedding=of_one())
    slot = middleware.shedding.enter(Priority.NORMAL)
    start, body = await answers(middleware, scope(headers=[(b"accept", b"text/html")], method="POST"))
    assert start["status"] == 503
    headers = dict(start["headers"])
    assert 5 <= int(headers[b"retry-after"]) <= 10
    assert headers[b"cache-control"] == b"no-store"
    assert b"busy" in body["body"]
    assert slot is not None
    slot.leave()
    assert await answers(middleware, scope()) == OK
    assert middleware.shedding.in_flight == 0


async def test_other_scopes_and_probes_pass() -> None:
    """Lifespan and the probes of a full server go through, whatever the path it is mounted at; nothing is
    counted.
    """
    middleware = SheddingMiddleware(hello, shedding=of_one())
    middleware.shedding.enter(Priority.NORMAL)
    assert await answers(middleware, {"type": "lifespan"}) == OK
    assert await answers(middleware, scope(path="/health/live")) == OK
    assert await answers(middleware, scope(path="/shop/health/live", root_path="/shop")) == OK
    assert (await answers(middleware, scope(path="/shop/", root_path="/shop")))[0]["status"] == 503
    assert middleware.shedding.in_flight == 1


async def test_priorities_by_route() -> None:
    """A rule has its route come in where others are turned away."""
    rules = [Rule(path="/checkout", methods=["POST"], priority=Priority.CRITICAL)]
    middleware = SheddingMiddleware(hello, shedding=of_one(rules=rules, maximum=1000))
    middleware.shedding.enter(Priority.NORMAL)
    assert (await answers(middleware, scope(path="/checkout")))[0]["status"] == 503
    assert await answers(middleware, scope(path="/checkout") | {"method": "POST"}) == OK


@types.coroutine
def step() -> Generator[None]:
    """Somewhere that a task waits, for whoever drives it by hand."""
    yield


async def in_steps(scope: Scope, receive: Receive, send: Send) -> None:
    await step()
    await receive()
    for message in OK:
        await send(message)
        await step()


class Stop(Exception):
    pass


STEPS = 6  # in in_steps, with those of receive() and send()


@pytest.mark.parametrize("reason", [asyncio.CancelledError, GeneratorExit, Stop, SystemExit])
@pytest.mark.parametrize("steps", range(1, STEPS + 1))
async def test_a_slot_is_freed_wherever_it_ends(reason: type[BaseException], steps: int) -> None:
    """Cancelled, disconnected or with an exception at any of its awaits, a request gives its slot back."""
    middleware = SheddingMiddleware(in_steps, shedding=of_one())

    async def receive() -> Message:
        await step()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        await step()

    request = middleware(scope(), receive, send)
    assert hasattr(request, "send")
    for _ in range(steps):
        assert request.send(None) is None
        assert middleware.shedding.in_flight == 1
    with pytest.raises(reason):
        request.throw(reason())
    assert middleware.shedding.in_flight == 0


async def test_all_steps_are_stopped_at() -> None:
    """The test above stops at each await that there is."""
    reached = 0

    async def counted(*_: object) -> Message:
        nonlocal reached
        await step()
        return {}

    request = in_steps(scope(), counted, counted)  # type: ignore[arg-type]
    with contextlib.suppress(StopIteration):
        while True:
            request.send(None)  # type: ignore[attr-defined]
            reached += 1
    assert reached == STEPS


async def test_a_stream_holds_its_slot_to_the_end() -> None:
    """A response that is under way counts, until the application returns."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send(OK[0])
        begun.set()
        await go_on.wait()
        await send(OK[1])

    middleware = SheddingMiddleware(stream, shedding=of_one())
    request = asyncio.create_task(answers(middleware, scope()))
    await begun.wait()
    assert (await answers(middleware, scope()))[0]["status"] == 503
    go_on.set()
    assert await request == OK
    assert await answers(middleware, scope()) == OK


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "http",
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"Content-Type", b"text/event-stream")],
            },
        ),
        ("websocket", {"type": "websocket.accept"}),
    ],
)
async def test_event_streams_and_web_sockets_leave_the_limit_to_others(kind: str, message: Message) -> None:
    """They count against `maximum` and not against the limit, and teach it nothing."""
    begun, end = asyncio.Event(), asyncio.Event()

    async def endless(given: Scope, receive: Receive, send: Send) -> None:
        if given["path"] == "/":
            await hello(given, receive, send)
            return
        await send(message)
        begun.set()
        await end.wait()

    middleware = SheddingMiddleware(endless, shedding=of_one(maximum=2))
    request = asyncio.create_task(answers(middleware, scope(kind, path="/events")))
    await begun.wait()
    assert middleware.shedding.in_flight == 1
    assert await answers(middleware, scope()) == OK
    assert middleware.shedding.enter(Priority.NORMAL) is not None
    assert (await answers(middleware, scope()))[0]["status"] == 503  # of two
    end.set()
    await request
    assert middleware.shedding.in_flight == 1


async def test_a_web_socket_that_is_turned_away() -> None:
    """It gets the busy answer where the server can send one, else close code 1013; after its handshake."""
    middleware = SheddingMiddleware(hello, shedding=of_one())
    middleware.shedding.enter(Priority.NORMAL)
    received = []

    async def connect() -> Message:
        received.append("websocket.connect")
        return {"type": "websocket.connect"}

    (closed,) = await answers(middleware, scope("websocket"), connect)
    assert (closed["type"], closed["code"]) == ("websocket.close", 1013)
    can = scope("websocket", extensions={"websocket.http.response": {}})
    start, body = await answers(middleware, can, connect)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert body["type"] == "websocket.http.response.body"
    assert len(received) == 2


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


async def test_the_lag_of_the_loop_is_seen() -> None:
    """What blocks the loop is seen at once by who asks, and reported by the timer after."""
    reports: list[float] = []
    lag = LoopLag(reports.append, lambda: False)
    assert lag.late() == 0.0
    time.sleep(0.1)
    assert lag.late() >= 0.07
    await until(lambda: reports)
    assert reports[0] >= 0.07
    await until(lambda: len(reports) >= 2)


async def test_the_timer_ends_without_requests() -> None:
    """It runs while it is wanted, ends with that, and begins again."""
    wanted, reports = True, []
    lag = LoopLag(reports.append, lambda: wanted)
    lag.late()
    await until(lambda: len(reports) > 5)
    wanted = False
    await until(lambda: lag._local.timer._due is None)
    count = len(reports)
    await asyncio.sleep(0.1)
    assert len(reports) == count
    lag.late()
    await until(lambda: len(reports) > count)


def test_loops_that_come_and_go() -> None:
    """A loop that ends takes its timer along, without a word; the next one has its own. No loop: no lag."""
    middleware = SheddingMiddleware(hello)
    for _ in range(3):
        assert asyncio.run(answers(middleware, scope())) == OK
    assert LoopLag(lambda lag: None, lambda: True).late() == 0.0


def test_what_is_refused() -> None:
    """A WSGI application, and something that is no Shedding."""

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        return []

    with pytest.raises(ConfigurationError, match=r"use scalekit\.ops\.wsgi"):
        SheddingMiddleware(wsgi)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="shedding= must be a Shedding"):
        SheddingMiddleware(hello, shedding=Limits())  # type: ignore[arg-type]
