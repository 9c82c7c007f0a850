"""The public types of scalekit.storage."""

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from datetime import datetime, timedelta
from typing import assert_type

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from scalekit.storage import FileStorage, MemoryStorage, MiB, Opened, Storage, Stored, UploadedFile
from scalekit.storage.direct import PostTicket
from scalekit.storage.forms import Form, stream_form
from scalekit.storage.s3 import S3Storage
from scalekit.storage.serve import StorageFiles
from scalekit.storage.sync import SyncOpened, SyncStorage
from scalekit.storage.tus import TusUploads
from scalekit.testing import check_storage
from scalekit.types import Environ, Receive, Scope

assert_type(MiB, int)
s3 = S3Storage("media", prefix="photos/", url_expires=timedelta(hours=1), endpoint_url=None)
storages: list[Storage] = [s3, FileStorage("uploads"), MemoryStorage(base_url=None)]


async def contract(storage: Storage, request: Request, chunks: AsyncIterator[bytes]) -> None:
    stored = await storage.put("a.png", chunks, content_type="image/png", overwrite=True, size=10)
    assert_type(stored, Stored)
    assert_type(stored.modified, datetime)
    await storage.put("b.txt", b"bytes")
    await storage.put("c.txt", request.stream())
    assert_type(await storage.stat("a.png"), Stored | None)
    assert_type(await storage.read("a.png"), bytes | None)
    opened = await storage.open("a.png", offset=1, length=2)
    assert_type(opened, Opened | None)
    if opened is not None:
        async with opened as reading:
            async for chunk in reading:
                assert_type(chunk, bytes)
    assert_type(storage.list("a/"), AsyncGenerator[Stored, None])
    assert_type(storage.public_url("a.png"), str)
    assert_type(await storage.url("a.png"), str)
    await check_storage(storage)


async def forms(request: Request, scope: Scope, receive: Receive) -> None:
    async with stream_form(request, s3, max_file_size=50 * MiB, accept=["image/*"]) as form:
        assert_type(form, Form)
        assert_type(form.fields["title"], str)
        assert_type(form.fields.getlist("title"), list[str])
        assert_type(form.files["photo"], UploadedFile)
        assert_type(form.files["photo"].url, str)
    async with stream_form((scope, receive), s3):
        pass


async def direct() -> None:
    ticket = await s3.presign_post(max_size=5 * MiB, content_type="image/png", expires=timedelta(minutes=5))
    assert_type(ticket, PostTicket)
    assert_type(ticket.fields, dict[str, str])
    assert_type(await s3.presign_get("a.png", filename="cat.png"), str)


async def finished(file: UploadedFile) -> None: ...


app = Starlette(
    routes=[
        Mount("/uploads", TusUploads(s3, secret_key=[b"old", b"new"], on_complete=finished)),
        Mount("/media", StorageFiles(s3)),
    ]
)


def synchronous(environ: Environ) -> None:
    with s3.sync() as storage:
        assert_type(storage, SyncStorage)
        assert_type(storage.put("a.txt", [b"a", b"b"]), Stored)
        assert_type(storage.open("a.txt"), SyncOpened | None)
        assert_type(storage.list(), Generator[Stored, None, None])
        with storage.form(environ, max_file_size=MiB, accept=["image/*"]) as form:
            assert_type(form, Form)
