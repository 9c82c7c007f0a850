"""What each server of the test fleet runs: ``uvicorn tests.ops.fleet_app:app``.

Its delay ends when a balancer says that it sends no more, and not by a clock: however busy the machine is, it
is as long as the balancer needs.
"""

import asyncio
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from scalekit.ops import Drain
from scalekit.ops.asgi import OpsMiddleware

HOUR = 3600.0
SLOW = b"slow"

drain = Drain(delay=HOUR, grace=HOUR, file=os.environ.get("DRAIN_FILE"))


async def work(request: Request) -> JSONResponse:
    body = await request.body()
    await asyncio.sleep(0.2 if body == SLOW else 0.02)
    return JSONResponse({"pid": os.getpid()})


async def slow(request: Request) -> JSONResponse:
    """Begun before the drain, and answered after its delay."""
    while drain.delay:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)  # for a server that did not wait for it
    return JSONResponse({"draining": drain.draining})


async def events(request: Request) -> StreamingResponse:
    """Has no end but the drain."""

    async def stream() -> AsyncIterator[str]:
        yield "data: hello\n\n"
        await drain.wait()
        yield "event: bye\ndata: please reconnect\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


async def chat(socket: WebSocket) -> None:
    """As docs/howto/ops-drain.md has it."""
    await socket.accept()

    async def say_goodbye() -> None:
        await drain.wait()
        await socket.close(1012, "service restart")

    goodbye = asyncio.create_task(say_goodbye())
    try:
        async for text in socket.iter_text():
            await socket.send_text(text)
    finally:
        goodbye.cancel()


async def state(request: Request) -> JSONResponse:
    return JSONResponse({"pid": os.getpid(), "in flight": drain.in_flight, "draining": drain.draining})


async def taken_out(request: Request) -> JSONResponse:
    """Its balancer sends nothing to this server any more."""
    if drain.draining:
        drain.delay = 0.0
    return JSONResponse(drain.draining)


async def always(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ready"})


routes = [
    Route("/work", work, methods=["POST"]),
    Route("/slow", slow),
    Route("/state", state),
    Route("/events", events),
    WebSocketRoute("/chat", chat),
    Route("/taken-out", taken_out, methods=["POST"]),
    Route("/health/ready", always),  # behind the middleware nobody comes here
]
app = Starlette(routes=routes)
if not os.environ.get("BARE"):
    app.add_middleware(OpsMiddleware, drain=drain)
