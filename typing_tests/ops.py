"""The public types of scalekit.ops."""

import asyncio
from datetime import timedelta
from signal import SIGINT, SIGTERM
from typing import Literal, assert_type
from wsgiref.types import StartResponse

from starlette.applications import Starlette
from starlette.middleware import Middleware

from scalekit.ops import Check, Drain, Health, Report
from scalekit.ops.asgi import OpsMiddleware
from scalekit.ops.wsgi import OpsMiddleware as WSGIOpsMiddleware
from scalekit.types import Environ, WSGIBody


async def ping() -> None: ...


def blocking() -> bool:
    return True


checks = [
    Check("a", ping),
    Check("b", blocking, required=False, timeout=0.5, ttl=timedelta(minutes=1)),
    Check("c", lambda: ping()),
]
drain = Drain(delay=timedelta(seconds=5), grace=20, signals=[SIGTERM, SIGINT])
assert_type(drain.draining, bool)
assert_type(drain.in_flight, int)
assert_type(drain.install(), bool)
assert_type(drain.drained, bool)
assert_type(asyncio.run(drain.wait()), None)
assert_type(Health(checks).report(0.0, draining=True), Report)
assert_type(Health(checks).report(0.0).status, Literal["ready", "starting", "unavailable", "draining"])

app = Starlette(middleware=[Middleware(OpsMiddleware, checks=checks, drain=drain)])
app.add_middleware(OpsMiddleware)
OpsMiddleware(app, path="/-")


def wsgi(environ: Environ, start_response: StartResponse) -> WSGIBody:
    return []


WSGIOpsMiddleware(wsgi, checks=checks)
assert_type(WSGIOpsMiddleware(wsgi).health, Health)
