"""Health probes and a drain under FastAPI.

    python -m examples.ops_fastapi
    curl -i localhost:8000/health/ready      # 200
    kill %1                                  # or Ctrl-C to stop at once
    curl -i localhost:8000/health/ready      # 503 while it drains; localhost:8000/ still answers

Set REDIS_URL or DATABASE_HOST to see readiness follow a dependency.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from scalekit.ops import Check, Drain
from scalekit.ops.asgi import OpsMiddleware

drain = Drain(delay=float(os.environ.get("DRAIN_DELAY", "5")))


def can_connect(host: str, port: int) -> Callable[[], Awaitable[None]]:
    """The plainest check there is: the server accepts a connection."""

    async def connect() -> None:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        await writer.wait_closed()

    return connect


checks = []
if "DATABASE_HOST" in os.environ:
    checks.append(Check("database", can_connect(os.environ["DATABASE_HOST"], 5432)))
if "REDIS_URL" in os.environ:
    redis = urlsplit(os.environ["REDIS_URL"])
    # Not required: without its cache the shop is slow, without servers it is closed.
    checks.append(
        Check("redis", can_connect(redis.hostname or "localhost", redis.port or 6379), required=False)
    )

app = FastAPI()
app.add_middleware(OpsMiddleware, checks=checks, drain=drain)


@app.get("/")
async def home() -> dict[str, int]:
    return {"server": os.getpid()}


@app.get("/events")
async def events() -> StreamingResponse:
    async def stream() -> AsyncIterator[str]:
        yield f"data: hello from {os.getpid()}\n\n"
        await drain.wait()  # an endless stream says goodbye, and the browser connects to another server
        yield "event: bye\ndata: please reconnect\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
