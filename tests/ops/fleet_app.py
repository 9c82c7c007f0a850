"""What each server of the test fleet runs: ``uvicorn tests.ops.fleet_app:app``."""

import asyncio
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit.ops import Drain
from scalekit.ops.asgi import OpsMiddleware

drain = Drain(delay=float(os.environ["DRAIN_DELAY"]))


async def work(request: Request) -> JSONResponse:
    await request.body()
    await asyncio.sleep(0.02)
    return JSONResponse({"pid": os.getpid()})


async def slow(request: Request) -> JSONResponse:
    """Outlives the delay by far."""
    await asyncio.sleep(float(os.environ["DRAIN_DELAY"]) + 1)
    return JSONResponse({"draining": drain.draining})


async def in_flight(request: Request) -> JSONResponse:
    return JSONResponse(drain.in_flight)


async def always(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ready"})


routes = [
    Route("/work", work, methods=["POST"]),
    Route("/slow", slow),
    Route("/in-flight", in_flight),
    Route("/health/ready", always),  # behind the middleware nobody comes here
]
app = Starlette(routes=routes)
if not os.environ.get("BARE"):
    app.add_middleware(OpsMiddleware, drain=drain)
