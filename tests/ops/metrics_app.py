"""What the servers of the tests run: it counts requests, and answers scrapes for all of its processes."""

import os
import time
from typing import Any

from scalekit.metrics import counter
from scalekit.ops import Metrics, siblings
from scalekit.ops.asgi import MetricsMiddleware
from scalekit.ops.wsgi import MetricsMiddleware as WSGIMetricsMiddleware

siblings._PATIENCE = 60.0  # as a scrape that is in a hurry would leave out who has no turn


class Loaded:
    def metrics(self) -> Any:
        yield counter("shop_loaded", "Imports.", 1)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def respond(environ: Any, start_response: Any) -> list[bytes]:
    time.sleep(0.01)  # or one worker would take them all
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


app = MetricsMiddleware(answer, metrics=Metrics({"shop": Loaded()}), path="/metrics")
wsgi = WSGIMetricsMiddleware(respond, metrics=Metrics({"shop": Loaded()}), path="/metrics")
