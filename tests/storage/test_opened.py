"""What is open is closed, whatever happens on the way there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from scalekit.storage import Leftover, MemoryStorage, Opened, Stored

STORED = Stored(key="a", size=3, content_type="text/plain", etag="1", modified=datetime.now(UTC))


@pytest.mark.parametrize("error", [asyncio.CancelledError, ConnectionError])
async def test_a_file_is_let_go_of_although_its_content_is_not(error: type[BaseException]) -> None:
    """4. Where closing the content is cancelled, or fails, the file is closed all the same."""
    closed: list[str] = []

    async def content() -> AsyncGenerator[bytes, None]:
        try:
            yield b"abc"
        finally:
            raise error

    async def close() -> None:
        closed.append("file")

    opened = Opened(STORED, content(), close=close)
    await anext(aiter(opened))
    with pytest.raises(error):
        await opened.aclose()
    assert closed == ["file"]
    await opened.aclose()
    assert closed == ["file"]


class Listing(MemoryStorage):
    """Notes which of its listings were closed."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: list[str] = []

    async def list(self, prefix: str = "") -> AsyncGenerator[Stored, None]:
        try:
            async with aclosing(super().list(prefix)) as entries:
                async for stored in entries:
                    yield stored
        finally:
            self.closed.append("list")

    async def strays(self, prefix: str = "") -> AsyncGenerator[tuple[str, str], None]:
        try:
            yield f"{prefix}stray", "no reason"
        finally:
            self.closed.append("strays")

    async def leftovers(self, before: datetime, prefix: str = "") -> AsyncGenerator[Leftover, None]:
        try:
            yield Leftover(kind="pile", name=f"{prefix}a", modified=before, size=1, remove=self.aclose)
        finally:
            self.closed.append("leftovers")


@pytest.mark.parametrize("name", ["list", "strays", "leftovers"])
async def test_a_part_of_a_storage_closes_what_it_lists(name: str) -> None:
    """A listing that is left in the middle is closed at once, through every storage in between."""
    whole = Listing()
    await whole.put("tenants/7/a", b"a")
    await whole.put("tenants/7/b", b"b")
    part = whole.scoped("tenants/").scoped("7/")
    arguments = (datetime.now(UTC),) if name == "leftovers" else ()
    entries = getattr(part, name)(*arguments)
    await anext(entries)
    await entries.aclose()
    assert whole.closed == [name]
