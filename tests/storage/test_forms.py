"""stream_form: what comes in, what is refused, and that nothing is left of it."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalekit.errors import (
    ConfigurationError,
    FileTooLarge,
    MalformedUpload,
    UnsupportedMediaType,
    UploadFailed,
    UploadRejected,
    UploadTooSlow,
)
from scalekit.storage import FileStorage, MemoryStorage, MiB, Source, Storage, Stored
from scalekit.storage.forms import Form, stream_form
from scalekit.storage.s3 import S3Storage
from scalekit.types import Message, Receive, Scope
from tests.storage.forms import BOUNDARY, form, part, pieces, request
from tests.storage.helpers import PNG, cancel_every_turn, cancel_everywhere, eventually, settled
from tests.storage.stand_in import S3StandIn

JPEG = b"\xff\xd8\xff\xe0" + b"JFIF" * 100
PHOTO = part("photo", PNG, filename="cat.png", content_type="image/png")


class SpyStorage(MemoryStorage):
    """Notes what reaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: list[str] = []

    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        self.puts.append(key)
        return await super().put(key, source, **options)


async def keys(storage: Storage) -> list[str]:
    return [stored.key async for stored in storage.list()]


async def read(body: Any, storage: Storage | None = None, **options: Any) -> Form:
    async with stream_form(request(body), storage or MemoryStorage(), **options) as found:
        return found


async def test_fields_and_files(storage: Storage) -> None:
    """12. Fields before and after files, several files in order: all arrive, on every storage."""
    big = PNG + bytes(range(256)) * 40_000
    body = form(
        part("title", "Café ☕"),
        part("photo", big, filename="C:\\pics\\ca\u202et.png", content_type="image/png"),
        part("tag", "a"),
        part("tag", "b"),
        part("photo", JPEG, filename="dog.gif", content_type="image/gif"),
        part("empty", ""),
        part("note", "line\r\n--not a boundary\r\n"),
    )
    async with stream_form(
        request(pieces(body, 65_536)), storage, accept=["image/*"], prefix="u/42/"
    ) as found:
        assert dict(found.fields) == {
            "title": "Café ☕",
            "tag": "b",
            "empty": "",
            "note": "line\r\n--not a boundary\r\n",
        }
        assert found.fields.getlist("tag") == ["a", "b"]
        first, second = found.files.getlist("photo")
        assert found.files["photo"] is second
        assert (first.filename, first.content_type, first.size) == ("cat.png", "image/png", len(big))
        assert (second.filename, second.content_type, second.size) == ("dog.gif", "image/jpeg", len(JPEG))
        assert first.key.startswith("u/42/")
        assert first.key.endswith(".png")
        assert second.key.endswith(".jpg")
        assert first.key.split("/")[-1].split(".")[0] in first.url
    assert await storage.read(first.key) == big
    assert await storage.read(second.key) == JPEG
    assert sorted(await keys(storage)) == sorted([first.key, second.key])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(min_value=1, max_value=200), min_size=1), st.binary(max_size=300))
def test_however_it_is_cut(sizes: list[int], tail: bytes) -> None:
    """12. The chunks in which a body arrives change nothing, whatever the content of its files."""
    content = b"GIF89a" + tail + b"\r\n--" + BOUNDARY[:-1].encode()
    body = form(part("a", "1"), part("f", content, filename="x.gif"), part("b", "2"))

    def chunks() -> Iterator[bytes]:
        position = 0
        while position < len(body):
            for size in sizes:
                yield body[position : position + size]
                position += size

    async def run() -> tuple[dict[str, str], bytes | None]:
        storage = MemoryStorage()
        found = await read(chunks(), storage)
        return dict(found.fields), await storage.read(found.files["f"].key)

    assert asyncio.run(run()) == ({"a": "1", "b": "2"}, content)


async def test_an_input_that_was_left_empty() -> None:
    """12. A file input without a file is sent with an empty name and no content; it is no file."""
    found = await read(form(part("photo", b"", filename="", content_type="application/octet-stream")))
    assert len(found.files) == 0
    assert found.files.getlist("photo") == []
    assert "photo" not in found.files


async def test_inputs_that_were_left_empty_count_for_nothing() -> None:
    """12. A form within its limits stays so however many of its inputs were left empty; up to a hundred."""
    empty = part("more", b"", filename="", content_type="application/octet-stream")
    limits = {"max_files": 1, "max_fields": 1}
    found = await read(form(part("title", "Cat"), *[empty] * 50, PHOTO, *[empty] * 50), **limits)
    assert (len(found.fields), len(found.files)) == (1, 1)
    with pytest.raises(MalformedUpload, match="more than 1 fields"):
        await read(form(part("a", "1"), empty, part("b", "2")), **limits)
    with pytest.raises(MalformedUpload, match="more than 1 files"):
        await read(form(PHOTO, empty, PHOTO), **limits)
    with pytest.raises(MalformedUpload, match="more than 102 parts"):
        await read(form(*[empty] * 103), **limits)


async def test_the_limit_is_exact(storage: Storage) -> None:
    """10. A file of exactly the limit is stored; one byte more, sent without a Content-Length, is refused.

    Nothing of the refused form remains, not even the file before it.
    """
    limit = 9 * MiB
    exact = PNG + bytes(limit - len(PNG))
    body = form(PHOTO, part("big", exact, filename="a.png"))
    async with stream_form(request(pieces(body, 65_536)), storage, max_file_size=limit) as found:
        assert found.files["big"].size == limit
    for file in found.files.values():
        await storage.delete(file.key)
    body = form(PHOTO, part("big", exact + b"x", filename="a.png"))
    with pytest.raises(FileTooLarge) as caught:
        await read(pieces(body, 65_536), storage, max_file_size=limit)
    assert (caught.value.status, caught.value.limit) == (413, limit)
    assert caught.value.received <= limit + 65_536
    assert await keys(storage) == []


async def test_no_temporary_file(tmp_path: Path) -> None:
    """12. A file that FileStorage refuses half-way leaves no file of any kind."""
    body = form(part("big", PNG + bytes(3 * MiB), filename="a.png"))
    with pytest.raises(FileTooLarge):
        await read(pieces(body, 65_536), FileStorage(tmp_path), max_file_size=2 * MiB)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_content_length_beyond_the_limits_is_not_read() -> None:
    """10. A request that says it is too long is refused before its first byte is taken."""
    taken: list[int] = []
    sent = request(pieces(form(PHOTO), 100), content_length=10**12, counted=taken)
    with pytest.raises(FileTooLarge):
        async with stream_form(sent, MemoryStorage()):
            pass
    assert taken == []


@pytest.mark.parametrize("difference", [-1, 1, -100, 100])
async def test_content_length_is_kept(storage: Storage, difference: int) -> None:
    """11. A body that is longer or shorter than its Content-Length is a 400, and nothing is stored."""
    body = form(PHOTO)
    sent = request(pieces(body, 256), content_length=len(body) + difference)
    with pytest.raises(MalformedUpload) as caught:
        async with stream_form(sent, storage):
            pass
    assert caught.value.status == 400
    assert await keys(storage) == []


async def test_truncated_anywhere() -> None:
    """11, 12. Wherever a form is cut off, it is a 400 and nothing is stored; whole, it is taken."""
    body = form(part("a", "1"), part("f", PNG[:40], filename="a.png"), part("b", "2"))
    end = len(body) - 2  # the line break after the last boundary may be missing
    for cut in range(end):
        storage = MemoryStorage()
        with pytest.raises(MalformedUpload):
            await read(body[:cut], storage)
        assert await keys(storage) == []
    assert len((await read(body[:end])).files) == 1


async def test_png_declared_html_sent() -> None:
    """13. A web page that calls itself a PNG is a 415 before the storage hears of it."""
    page = b"<!DOCTYPE html><script>alert(document.cookie)</script>" + bytes(2 * MiB)
    storage = SpyStorage()
    body = form(part("photo", page, filename="cat.png", content_type="image/png"))
    with pytest.raises(UnsupportedMediaType) as caught:
        await read(pieces(body, 1000), storage, accept=["image/*"])
    assert (caught.value.status, caught.value.found) == (415, "text/html")
    assert storage.puts == []


async def test_svg_must_be_named() -> None:
    """13. image/* does not include SVG, which can run scripts; naming it does."""
    body = form(part("photo", b"<svg onload='alert(1)'/>", filename="a.svg", content_type="image/svg+xml"))
    with pytest.raises(UnsupportedMediaType):
        await read(body, accept=["image/*"])
    found = await read(body, accept=["image/*", "image/svg+xml"])
    assert found.files["photo"].content_type == "image/svg+xml"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a\x00.png", "txt.\u202egnp", "x" * 300, "/etc/shadow", "..\\b"]
)
async def test_names_never_reach_a_key(name: str) -> None:
    """14. Whatever a client calls its file, the key is random, and the name is shown without its traps."""
    body = form(part("photo", PNG, filename=name.replace("\\", "\\\\")))
    file = (await read(body)).files["photo"]
    stem, _, extension = file.key.partition(".")
    assert (len(stem), extension) == (32, "png")
    assert not set("/\\\x00\u202e") & set(file.filename)
    assert len(file.filename) <= 255


HOSTILE = {
    "no boundary in the body": b"hello",
    "nothing": b"",
    "another boundary": form(PHOTO).replace(BOUNDARY.encode(), b"other"),
    "no name": f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n".encode(),
    "no disposition": f"--{BOUNDARY}\r\nContent-Type: image/png\r\n\r\nx\r\n".encode(),
    "an attachment": f'--{BOUNDARY}\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n'.encode(),
    "a bad header": f"--{BOUNDARY}\r\nContent Disposition: x\r\n\r\n".encode(),
    "a header that never ends": f"--{BOUNDARY}\r\nX: ".encode() + b"x" * 100_000,
    "a header name that never ends": f"--{BOUNDARY}\r\n".encode() + b"x" * 100_000,
    "many headers": f"--{BOUNDARY}\r\n".encode() + b"".join(b"X-%d: y\r\n" % number for number in range(100)),
    "a header twice": f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n'.encode() * 2
    + b"\r\n\r\nx",
    "base64": form(part("a", "eA==", extra="Content-Transfer-Encoding: base64\r\n")),
    "a name that is not UTF-8": form(part("a", "x").replace(b'name="a"', b'name="\xff"')),
    "a file name that is not UTF-8": form(PHOTO.replace(b"cat.png", b"\xff.png")),
    "a value that is not UTF-8": form(part("a", b"\xff\xfe")),
    "too many fields": form(*(part("a", "x") for _ in range(101))),
    "too many files": form(*(part("a", PNG, filename="a.png") for _ in range(11))),
    "endless parts": form(*(part("a", b"", filename="") for _ in range(1000))),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("size", [7, 65_536])
async def test_hostile_bodies(body: bytes, size: int) -> None:
    """12. What is no form, or is one beyond its bounds, is a 400 and leaves nothing."""
    storage = MemoryStorage()
    with pytest.raises(MalformedUpload) as caught:
        await read(pieces(body, size), storage)
    assert len(str(caught.value)) < 300
    assert await keys(storage) == []


@pytest.mark.parametrize(
    ("content_type", "error"),
    [
        ("multipart/form-data", MalformedUpload),
        ("multipart/form-data; boundary=", MalformedUpload),
        (f"multipart/form-data; boundary={'x' * 201}", MalformedUpload),
        (f"multipart/form-data; boundary={'x' * 10_000}", MalformedUpload),
        ("multipart/mixed; boundary=x", UnsupportedMediaType),
        ("application/x-www-form-urlencoded", UnsupportedMediaType),
        ("application/json", UnsupportedMediaType),
        ("", UnsupportedMediaType),
    ],
)
async def test_other_content_types(content_type: str, error: type[UploadRejected]) -> None:
    """12. Only multipart/form-data with a boundary is a form with files."""
    taken: list[int] = []
    with pytest.raises(error):
        async with stream_form(request(b"x", content_type=content_type, counted=taken), MemoryStorage()):
            pass
    assert taken == []


@pytest.mark.parametrize("length", [1, 70, 75, 200])
async def test_boundaries_of_any_usual_length(length: int) -> None:
    """12. Those of RFC 2046, and longer ones: one in a hundred of Werkzeug's test client is."""
    boundary = "y" * length
    body = form(PHOTO).replace(BOUNDARY.encode(), boundary.encode())
    storage = MemoryStorage()
    asked = request(pieces(body, 7), content_type=f"multipart/form-data; boundary={boundary}")
    async with stream_form(asked, storage) as found:
        assert await storage.read(found.files["photo"].key) == PNG


async def test_a_field_over_its_limit() -> None:
    """10. A field is not a way to fill the memory."""
    body = form(part("a", "x" * 65_537))
    with pytest.raises(FileTooLarge, match="field 'a'"):
        await read(pieces(body, 4096))
    with pytest.raises(FileTooLarge):
        await read(form(part("a", "xx")), max_field_size=1)


async def test_an_endless_epilogue() -> None:
    """12. What follows the last boundary is not read for ever."""

    def endless() -> Iterator[bytes]:
        yield form(PHOTO)
        while True:
            yield b"x" * 65_536

    storage = MemoryStorage()
    with pytest.raises(FileTooLarge, match="the request body"):
        await read(endless(), storage, max_file_size=MiB, max_files=1, max_fields=1)
    assert await keys(storage) == []


async def test_the_client_hangs_up(storage: Storage) -> None:
    """3. A client that goes away in the middle of its file leaves nothing."""
    body = form(PHOTO, part("big", PNG + bytes(9 * MiB), filename="a.png"))
    sent = request(pieces(body[: -2 * MiB], 65_536), disconnect=True)
    with pytest.raises(MalformedUpload, match="hung up"):
        async with stream_form(sent, storage):
            pass
    assert await keys(storage) == []


async def test_the_block_fails(storage: Storage) -> None:
    """6. If the block raises, the files are removed again; if it is left in another way, they stay."""

    async def handle() -> None:
        async with stream_form(request(form(PHOTO, PHOTO)), storage):
            assert len(await keys(storage)) == 2
            raise LookupError

    with pytest.raises(LookupError):
        await handle()
    assert await keys(storage) == []
    await read(form(PHOTO), storage)
    assert len(await keys(storage)) == 1


async def test_the_block_is_cancelled(storage: Storage) -> None:
    """4. A handler that is cancelled while it uses the form leaves no files."""
    inside = asyncio.Event()

    async def handler() -> None:
        async with stream_form(request(form(PHOTO)), storage):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(handler())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await keys(storage) == []


@pytest.mark.parametrize("kind", ["file", "s3"])
async def test_cancelled_at_every_await(kind: str, tmp_path: Path, stand_in: S3StandIn) -> None:
    """4. Wherever a request is cancelled, nothing of its form remains."""
    s3 = S3Storage("media", part_size=5 * MiB, **stand_in.client_kwargs)
    storage: Storage = FileStorage(tmp_path) if kind == "file" else s3
    body = form(PHOTO, part("a", "1"), part("big", PNG + bytes(6 * MiB), filename="a.png"))

    async def handle() -> None:
        async with stream_form(request(pieces(body, MiB)), storage):
            pass

    async def nothing_left(number: int) -> None:
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [], number
        assert (stand_in.objects, stand_in.uploads) == ({}, {}), number

    async with s3:
        await s3.stat("warm-up")
        assert await cancel_everywhere(handle, nothing_left) > 3
        for key in await keys(storage):
            await storage.delete(key)
        assert await cancel_every_turn(handle, nothing_left) > 10


async def test_memory_is_bounded_when_s3_stalls(stand_in: S3StandIn) -> None:
    """2. When S3 stalls, no more than (concurrency + 1) parts and one chunk are taken from the client."""
    stand_in.stall_after = MiB
    taken: list[int] = []
    part_size, chunk = 16 * MiB, 65_536

    def endless() -> Iterator[bytes]:
        yield part("big", PNG, filename="a.png")[:-2]
        while True:
            yield b"x" * chunk

    async with S3Storage("media", part_size=part_size, concurrency=2, **stand_in.client_kwargs) as storage:
        task = asyncio.create_task(
            _enter(stream_form(request(endless(), counted=taken), storage, max_file_size=10**10))
        )
        await eventually(lambda: sum(taken) > 2 * part_size)
        assert await settled(lambda: sum(taken)) <= 3 * part_size + chunk
        task.cancel()
        stand_in.hang_up()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (stand_in.objects, stand_in.uploads) == ({}, {})


async def _enter(context: Any) -> None:
    async with context:
        pass


class _SecondFails(MemoryStorage):
    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        if len(self._objects):
            raise UploadFailed("the disk is full")
        return await super().put(key, source, **options)


async def test_the_storage_fails() -> None:
    """6. When the storage fails at a later file, those before it are removed; the caller gets its error."""
    storage = _SecondFails()
    with pytest.raises(UploadFailed, match="the disk is full"):
        await read(form(PHOTO, PHOTO), storage)
    assert await keys(storage) == []


class _CannotDelete(MemoryStorage):
    async def delete(self, key: str) -> None:
        raise UploadFailed("read-only")


async def test_what_cannot_be_removed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """6. The error of the request is not hidden by that of its clean-up, which goes to the log."""
    with pytest.raises(LookupError):
        async with stream_form(request(form(PHOTO)), _CannotDelete()) as found:
            raise LookupError
    assert f"{found.files['photo'].key!r} of a refused form could not be removed: read-only" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        {"accept": "image/*"},
        {"accept": []},
        {"accept": ["png"]},
        {"max_file_size": "50MB"},
        {"max_files": -1},
        {"max_fields": 1.5},
    ],
)
async def test_mistakes_are_found(options: dict[str, Any]) -> None:
    """An option that could never work is an error of the application, not of the client."""
    with pytest.raises(ConfigurationError):
        await read(form(PHOTO), **options)


async def test_a_synchronous_storage_is_a_mistake() -> None:
    """What ``.sync()`` gives out is told apart from the storage itself, and both by name."""
    with pytest.raises(ConfigurationError, match=r"storage must be a storage, .* not .*SyncStorage"):
        async with stream_form(request(form(PHOTO)), MemoryStorage().sync()):  # type: ignore[arg-type]
            pass


async def test_values_are_a_mapping() -> None:
    """The fields of a form can be used like a dict, and printed."""
    found = await read(form(part("a", "1"), part("a", "2"), part("b", "3")))
    assert list(found.fields.items()) == [("a", "2"), ("b", "3")]
    assert found.fields.get("c", "none") == "none"
    assert repr(found.fields) == "Values({'a': ['1', '2'], 'b': ['3']})"
    with pytest.raises(KeyError, match=r"^the form has no field 'c'$"):
        found.fields["c"]


async def test_files_are_streamed_one_after_the_other() -> None:
    """12. A file is in the storage before the client has sent the next one."""
    storage = MemoryStorage()
    seen: list[int] = []

    async def body() -> AsyncGenerator[bytes, None]:
        for _ in range(3):
            yield PHOTO
            await asyncio.sleep(0)
        yield form()

    chunks = body()
    scope, _ = request(b"")

    async def receive() -> dict[str, Any]:
        seen.append(len(await keys(storage)))
        chunk = await anext(chunks, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async with stream_form((scope, receive), storage):
        pass
    assert seen == [0, 0, 1, 2, 3]


async def slow_request(sizes: list[int], pause: float) -> tuple[Scope, Receive]:
    """A form that begins well; then come ``sizes``, one byte after another, and after that nothing more."""
    scope, receive = request(part("f", b"", filename="a.bin").removesuffix(b"\r\n"))
    left = iter(sizes)

    async def slow() -> Message:
        message = await receive()
        if message["body"]:
            return message
        size = next(left, None)
        await asyncio.sleep(pause if size is not None else 3600)
        return {"type": "http.request", "body": bytes(size or 0), "more_body": True}

    return scope, slow


@pytest.mark.parametrize(
    "sizes", [[], [100, 100], [1] * 1000], ids=["silent", "then silent", "a byte at a time"]
)
async def test_a_client_that_keeps_us_waiting(storage: Storage, sizes: list[int]) -> None:
    """10. A client that sends nothing, or a byte now and then, is a 408, and leaves nothing."""
    slow = await slow_request(sizes, pause=0.1)
    async with asyncio.timeout(60):
        with pytest.raises(UploadTooSlow) as refused:
            async with stream_form(slow, storage, idle_timeout=1):
                pass
    assert refused.value.status == 408
    assert [stored async for stored in storage.list()] == []


class SlowStorage(MemoryStorage):
    """Takes a while over each chunk."""

    async def put(self, key: str, source: Source, **options: Any) -> Stored:
        async def slowly() -> AsyncGenerator[Any, None]:
            async for chunk in source:  # type: ignore[union-attr]
                await asyncio.sleep(0.25)
                yield chunk

        return await super().put(key, slowly(), **options)


async def test_a_slow_storage_is_not_the_clients_fault() -> None:
    """10. Only what the client makes us wait for counts, however long the whole takes."""
    body = form(part("f", b"x" * 80, filename="a.bin"))
    async with stream_form(request(pieces(body, 20)), SlowStorage(), idle_timeout=0.5) as found:
        assert found.files["f"].size == 80


async def test_all_files_together_have_a_limit(storage: Storage) -> None:
    """10. Exactly the limit is taken; one byte more is a 413, and none of the files stays."""
    body = form(*(part("f", b"x" * 100, filename="a.bin") for _ in range(3)))
    async with stream_form(request(body), storage, max_total_size=300) as found:
        assert len(found.files.getlist("f")) == 3
        for file in found.files.getlist("f"):
            await storage.delete(file.key)
    for chunk in (7, 10_000):
        with pytest.raises(
            FileTooLarge, match="all files together is over the limit of 299 bytes"
        ) as refused:
            async with stream_form(request(pieces(body, chunk)), storage, max_total_size=299):
                pass
        assert refused.value.limit == 299 < refused.value.received <= 300
        assert [stored async for stored in storage.list()] == []


async def test_files_by_their_content(storage: Storage) -> None:
    """The same file twice is one object; a form that fails later does not take it from those who have it."""
    body = form(part("f", PNG, filename="a.png"), part("f", PNG, filename="b.png"))
    async with stream_form(request(body), storage, by_content=True, prefix="p/") as found:
        first, second = found.files.getlist("f")
        assert (first.key, first.filename, second.filename) == (second.key, "a.png", "b.png")
    with pytest.raises(RuntimeError):
        async with stream_form(request(body), storage, by_content=True, prefix="p/"):
            raise RuntimeError
    assert [stored.key async for stored in storage.list()] == [first.key]


async def test_the_name_is_kept_beside_the_file() -> None:
    """14. What the client calls its file is stored with it, and is no part of its key."""
    storage = MemoryStorage()
    async with stream_form(request(form(part("f", PNG, filename="../Été.png"))), storage) as found:
        stored = await storage.stat(found.files["f"].key)
    assert stored is not None
    assert (stored.filename, "t" in stored.key) == ("Été.png", False)
