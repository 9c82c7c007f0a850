"""An application behind a real server, in the event loop of the test."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tests.storage.helpers import eventually


@asynccontextmanager
async def served_by_uvicorn(app: Any) -> AsyncGenerator[tuple[str, int], None]:
    """Its address; at the end the server has answered what it began, and is gone."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server._serve([listener]))
        try:
            await eventually(lambda: server.started)
            yield listener.getsockname()
        finally:
            server.should_exit = True
            await task
