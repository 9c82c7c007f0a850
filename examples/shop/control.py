"""The control room: an ASGI application beside the shop. Figures arrive as server-sent events.

It can stop servers, so it answers only this machine, and only pages of its own: a request from another
site's page, or under another host's name, is refused.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from examples.shop.burst import Burst
from examples.shop.databases import Refused, Unknown
from examples.shop.traffic import Traffic
from tests.servers.base import ServerFailed

_HERE = Path(__file__).parent / "control_room"
_ON_A_TARGET = (
    "drain_server", "kill_server", "pause_replica", "resume_replica", "kill_replica", "start_replica",
    "promote",
)  # fmt: skip


class Controlled(Protocol):
    """What the control room shows and steers: a fleet, or a single process."""

    traffic: Traffic
    burst: Burst

    def snapshot(self) -> dict[str, Any]: ...

    def note(self, text: str, kind: str = "") -> None: ...


def control_room(fleet: Controlled) -> Starlette:
    """The application, to be served under ``/control``."""
    stopping = asyncio.Event()

    async def page(request: Request) -> Response:
        return FileResponse(_HERE / "index.html", headers={"cache-control": "no-store"})

    async def events(request: Request) -> Response:
        async def stream() -> AsyncIterator[str]:
            seen = time.monotonic() - 5
            while not stopping.is_set() and not await request.is_disconnected():
                tape = fleet.traffic.tape_since(seen)
                seen = time.monotonic()
                yield f"data: {json.dumps(fleet.snapshot() | {'tape': tape})}\n\n"
                try:
                    async with asyncio.timeout(0.5):
                        await stopping.wait()
                except TimeoutError:
                    continue

        return StreamingResponse(
            stream(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def act(request: Request) -> Response:
        name = request.path_params["action"]
        target = request.query_params.get("target", "")
        action: Callable[..., Awaitable[str]] | None = None
        if name == "burst":
            action = fleet.burst.start
        elif name in _ON_A_TARGET or name == "start_server":
            action = getattr(fleet, name, None)
        if action is None:
            return JSONResponse({"problem": "there is no such button"}, 404)
        if not target and name != "start_server":
            return JSONResponse({"problem": f"{name} of what? Add ?target=..."}, 400)
        try:
            text = await (action() if name == "start_server" else action(target))
        except Unknown as error:
            return JSONResponse({"problem": str(error)}, 404)
        except (Refused, ServerFailed, TimeoutError) as error:
            problem = str(error).splitlines()[0]
            fleet.note(problem, "bad")
            return JSONResponse({"problem": problem}, 409)
        fleet.note(text, "act")
        return JSONResponse({"done": text})

    app = Starlette(
        routes=[
            Route("/control", page),
            Route("/control/events", events),
            Route("/control/do/{action}", act, methods=["POST"]),
            Mount("/control/files", StaticFiles(directory=_HERE)),
        ]
    )
    app.state.stopping = stopping
    return app


def is_own(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a request comes from this machine's own pages, or from no page at all."""
    values = dict(headers)
    host = values.get(b"host", b"").rpartition(b":")[0]
    site = values.get(b"sec-fetch-site", b"none")  # "none": typed in, or no browser at all
    return host in (b"127.0.0.1", b"localhost") and site in (b"none", b"same-origin")
