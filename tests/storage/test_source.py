"""Cutting a source into pieces, and bodies that S3 clients can read."""

import asyncio
import hashlib
import io
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalekit.errors import MalformedUpload
from scalekit.storage import MemoryStorage, MiB
from scalekit.storage._source import Body, cut
from tests.storage.helpers import SourceBroken, broken, chunks, stream


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(min_value=1, max_value=50))
def test_pieces(content: list[bytes], piece_size: int) -> None:
    """However it arrives, a source becomes equal pieces and a last one, empty only if the source is."""

    async def collect() -> list[tuple[bytes, bool]]:
        return [(body.join(), more) async for body, more in cut(chunks(*content), piece_size)]

    pieces = asyncio.run(collect())
    assert b"".join(piece for piece, _ in pieces) == b"".join(content)
    assert [more for _, more in pieces] == [True] * (len(pieces) - 1) + [False]
    assert all(len(piece) == piece_size for piece, _ in pieces[:-1])
    assert 0 < len(pieces[-1][0]) <= piece_size or content == [] or not any(content)


async def test_nothing_is_read_ahead() -> None:
    """2. For the first piece, one chunk more than fits is asked for, to learn whether more follow."""
    taken: list[int] = []
    async with aclosing(cut(stream(1000, chunk=10, counted=taken), 100)) as pieces:
        await anext(pieces)
    assert sum(taken) == 110


async def test_lengths_are_kept() -> None:
    """11. A source that is longer or shorter than promised fails before its last piece."""
    for promised in (99, 101):
        seen: list[bool] = []
        with pytest.raises(MalformedUpload):
            await _consume(cut(stream(100, chunk=10), 50, size=promised), seen)
        assert all(seen)


@pytest.mark.parametrize("wrong", ["text", None, {"a": 1}, [b"x"], io.BytesIO(b"x")])
async def test_what_is_no_source(wrong: Any) -> None:
    """Text, a list or an open file is a TypeError that says what a source is, and where a file goes."""
    with pytest.raises(
        TypeError, match=rf"not {type(wrong).__name__}; .* file goes through storage.sync\(\)"
    ):
        await MemoryStorage().put("a.txt", wrong)


async def test_a_failing_source_has_no_last_piece() -> None:
    """6. The error of a source comes instead of its last piece."""
    seen: list[bool] = []
    with pytest.raises(SourceBroken):
        await _consume(cut(broken(3 * MiB), MiB), seen)
    assert all(seen)


async def _consume(pieces: AsyncIterator[tuple[Body, bool]], seen: list[bool]) -> None:
    async for _, more in pieces:
        seen.append(more)


async def test_tiny_chunks_are_gathered() -> None:
    """A client that sends single bytes costs no more memory than what it sends."""
    tracemalloc.start()
    try:
        async for body, _ in cut(stream(MiB // 8, chunk=1), MiB):
            size, _ = tracemalloc.get_traced_memory()
            assert body.size == MiB // 8
            assert size < MiB // 4
    finally:
        tracemalloc.stop()


async def test_a_buffer_that_is_used_again() -> None:
    """A chunk that its owner overwrites afterwards keeps the content it had."""
    buffer = bytearray(32 * 1024)

    async def reusing():
        for number in range(3):
            buffer[:] = bytes([number]) * len(buffer)
            yield buffer
            yield memoryview(buffer)

    pieces = [body.join() async for body, _ in cut(reusing(), MiB)]
    assert pieces == [b"".join(bytes([number]) * 2 * len(buffer) for number in range(3))]


async def test_body_is_read_as_often_as_needed() -> None:
    """Signing reads a body as a file, sending iterates over it, retrying does both again."""
    content = [bytes([number]) * size for number, size in enumerate((10, 100_000, 20, 20, 70_000))]
    body = Body()
    for chunk in content:
        body.append(chunk)
    whole = b"".join(content)
    for _ in range(2):
        body.seek(0)
        digest = hashlib.sha256()
        for chunk in iter(partial(body.read, MiB), b""):
            digest.update(chunk)
        assert digest.digest() == hashlib.sha256(whole).digest()
        body.seek(0)
        assert b"".join([bytes(chunk) async for chunk in body]) == whole
        assert body.read() == whole
    assert len(body) == body.seek(0, 2) == len(whole)
    with pytest.raises(ValueError, match="seeks to its beginning"):
        body.seek(5)


async def test_a_body_knows_when_it_is_handed_out() -> None:
    """It is exhausted with its last chunk, and reports every chunk as progress."""
    progress = []
    body = Body()
    body.on_progress = lambda: progress.append(body.exhausted)
    body.append(b"x" * 20_000)
    body.append(b"y" * 20_000)
    sent = aiter(body)
    await anext(sent)
    assert not body.exhausted
    await anext(sent)
    assert body.exhausted
    assert progress == [False, True]
