"""An application that computes and waits, under uvicorn: bare, or with shedding.

``KIND`` says which: ``bare`` or ``ours``.
"""

import asyncio
import os
import time

from scalekit.ops import Priority, Rule, Shedding
from scalekit.ops.asgi import SheddingMiddleware
from scalekit.types import ASGIApp, Receive, Scope, Send

CPU = float(os.environ.get("CPU", "0.02"))
"""Seconds of the processor that a request takes."""

WAIT = float(os.environ.get("WAIT", "0.05"))
"""Seconds that it waits, between its two halves."""


def compute(seconds: float) -> None:
    # Of this thread, so that a busy machine makes it no less work.
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def work(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    if scope["path"] != "/health/live":
        compute(CPU / 2)
        await asyncio.sleep(WAIT)
        compute(CPU / 2)
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


KIND = os.environ.get("KIND", "bare")
app: ASGIApp = work
if KIND == "ours":
    app = SheddingMiddleware(
        work, shedding=Shedding(rules=[Rule(path="/checkout", priority=Priority.CRITICAL)])
    )
