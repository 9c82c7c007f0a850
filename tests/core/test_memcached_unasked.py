"""A Memcached server that says more than it was asked for: nobody takes that for an answer. Both colours."""

import asyncio
import time
from typing import Any

import pytest

from scalekit._memcached import Memcached
from scalekit.types import Colour
from tests.core.test_memcached import answer, colour

__all__ = ["colour"]  # a fixture

UNASKED = [b"VAL", b"VALUE k 0 1 1\r\n", b"VALUE k 0 1 1\r\nx\r\n", b"END\r\n", b"\r"]


async def read(commands: Any) -> None:
    """Until the connection has what was sent to it."""
    (peer,) = commands._home().peers.values()
    deadline = time.monotonic() + 30
    while not (peer._stream.closed or peer._stream._replies.pending):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("together", [True, False], ids=["with the answer", "after it"])
@pytest.mark.parametrize("unasked", UNASKED)
async def test_what_is_said_unasked_ends_the_connection(
    colour: Colour, unasked: bytes, together: bool
) -> None:
    """The next command goes over another connection, and each is sent once."""
    heard: list[bytes] = []
    connections: list[asyncio.StreamWriter] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        first = len(connections) == 1
        while line := await reader.readline():
            heard.append(line)
            writer.write(b"END\r\n" + (unasked if first and together else b""))
        writer.close()

    async def get(key: str) -> Any:
        return await (asyncio.to_thread(commands.gets, key) if colour == "sync" else commands.gets(key))

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        commands: Any = Memcached.from_url(f"memcached://127.0.0.1:{port}", timeout=30).using(colour)
        assert await get("a") is None
        if not together:
            connections[0].write(unasked)
            await connections[0].drain()
            if colour == "async":
                await read(commands)
        assert [await get(key) for key in "bc"] == [None, None]
        assert heard == [b"gets a\r\n", b"gets b\r\n", b"gets c\r\n"]
        assert len(connections) == 2
        await answer(commands.close())
        for connection in connections:
            connection.close()
        await asyncio.gather(
            *(connection.wait_closed() for connection in connections), return_exceptions=True
        )
