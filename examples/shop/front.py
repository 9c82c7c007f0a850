"""The ports that visitors see: one for the shop and its control room, one for the CDN."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse

from examples.shop.app.shop import HERE
from examples.shop.control import is_own
from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetMiddleware
from scalekit.types import ASGIApp, Receive, Scope, Send


class Front:
    """``/control`` is the control room, the rest is the shop."""

    def __init__(self, *, shop: ASGIApp, control: ASGIApp) -> None:
        self._shop, self._control = shop, control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        app = self._shop
        if scope["type"] == "http" and path.startswith("/_internal"):
            app = PlainTextResponse("Not found", 404)
        elif scope["type"] == "http" and (path == "/control" or path.startswith("/control/")):
            app = self._control if is_own(scope["headers"]) else PlainTextResponse("Not from there", 403)
        await app(scope, receive, send)


def cdn() -> ASGIApp:
    """A CDN as the browser sees it: the hashed files, cacheable for a year, and nothing else."""
    return AssetMiddleware(Starlette(), assets=Assets(HERE / "static", url="/static/"))


class Server(uvicorn.Server):
    """One of several in this process, whose signals are the supervisor's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(port: int) -> socket.socket:
    """Take connections from now on; they wait for whoever will serve them."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(2048)
    return listener


def serve(
    app: ASGIApp, listener: socket.socket, *, lifespan: bool = False
) -> tuple[Server, asyncio.Task[None]]:
    """Serve in the background; ``should_exit`` of the server, and then awaiting the task, ends it."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=lifespan,
        lifespan="on" if lifespan else "off",
        timeout_graceful_shutdown=2,
        backlog=2048,
    )
    server = Server(config)
    return server, asyncio.create_task(server.serve(sockets=[listener]))
