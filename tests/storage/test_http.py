"""stream_form inside Starlette and FastAPI, and behind a real server with clients that misbehave."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Form, Request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit.errors import ConfigurationError, FileTooLarge, StorageFull, UploadFailed, UploadRejected
from scalekit.storage import MemoryStorage, MiB
from scalekit.storage.forms import stream_form
from scalekit.storage.s3 import S3Storage
from tests.storage.forms import BOUNDARY, form, part, pieces
from tests.storage.helpers import PNG, eventually
from tests.storage.served import served_by_uvicorn
from tests.storage.stand_in import S3StandIn

HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
PHOTO = form(part("photo", PNG, filename="cat.png"), part("title", "Cat"))
HTML = form(part("photo", b"<html>", filename="cat.png", content_type="image/png"))
OTHER = form(part("picture", PNG, filename="cat.png"), part("title", "Cat"))
LARGE = form(part("photo", PNG + bytes(2 * MiB), filename="cat.png"))


def starlette_app(storage: Any, **options: Any) -> Starlette:
    async def upload(request: Any) -> JSONResponse:
        async with stream_form(request, storage, max_file_size=MiB, accept=["image/*"]) as found:
            return JSONResponse({"photo": found.files["photo"].url, "title": found.fields["title"]})

    return Starlette(routes=[Route("/photos", upload, methods=["POST"])], **options)


def fastapi_app(storage: Any) -> FastAPI:
    app = FastAPI()

    @app.post("/photos")
    async def upload(request: Request):
        async with stream_form(request, storage, max_file_size=MiB, accept=["image/*"]) as found:
            return {"photo": found.files["photo"].url, "title": found.fields["title"]}

    return app


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=HEADERS)


def _behind_middleware(storage: Any) -> Starlette:
    async def passes(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    return starlette_app(storage, middleware=[Middleware(BaseHTTPMiddleware, dispatch=passes)])


@pytest.mark.parametrize("make", [starlette_app, fastapi_app, _behind_middleware])
async def test_statuses(make: Any) -> None:
    """A refused upload is answered with its status and the reason, without any code of the application; so is
    one without what the application asks the form for."""
    storage = MemoryStorage()
    async with client_of(make(storage)) as client:
        good = await client.post("/photos", content=PHOTO)
        assert good.status_code == 200
        assert good.json()["title"] == "Cat"
        assert len(storage._objects) == 1
        for body, status, reason in (
            (LARGE, 413, "1048576"),
            (HTML, 415, "text/html"),
            (PHOTO[:-20], 400, "last boundary"),
            (OTHER, 400, "no file 'photo'"),
        ):
            answer = await client.post("/photos", content=body)
            assert answer.status_code == status
            assert reason in answer.text
        assert (await client.post("/photos", headers={"content-type": "text/csv"})).status_code == 415
    assert len(storage._objects) == 1


async def test_errors_stay_what_they_are() -> None:
    """In a framework a refused upload can still be caught, or given a handler, as the error that it is."""
    caught = []

    async def upload(request: Any) -> JSONResponse:
        try:
            async with stream_form(request, MemoryStorage(), max_file_size=MiB):
                return JSONResponse({})
        except FileTooLarge as error:
            caught.append((type(error).__name__, error.limit, str(error)))
            raise

    def handler(request: Any, error: UploadRejected) -> JSONResponse:
        return JSONResponse({"reason": str(error)}, status_code=error.status)

    app = Starlette(
        routes=[Route("/photos", upload, methods=["POST"])], exception_handlers={UploadRejected: handler}
    )
    async with client_of(app) as client:
        answer = await client.post("/photos", content=LARGE)
    [(name, limit, text)] = caught
    assert (name, limit, answer.status_code) == ("FileTooLarge", MiB, 413)
    assert answer.json() == {"reason": text}


async def test_a_body_that_was_read_before() -> None:
    """A body that the application has read is still a form; one that it streamed away is a mistake."""

    async def upload(request: Any) -> JSONResponse:
        if request.url.query == "body":
            await request.body()
        else:
            async for _ in request.stream():
                pass
        async with stream_form(request, MemoryStorage()) as found:
            return JSONResponse(dict(found.fields))

    async with client_of(Starlette(routes=[Route("/", upload, methods=["POST"])])) as client:
        assert (await client.post("/?body", content=PHOTO)).json() == {"title": "Cat"}
        with pytest.raises(ConfigurationError, match="was read before"):
            await client.post("/?stream", content=PHOTO)


@pytest.fixture
async def served(stand_in: S3StandIn) -> AsyncGenerator[tuple[str, int], None]:
    """The application on a real server, storing to S3."""
    async with (
        S3Storage("media", part_size=5 * MiB, **stand_in.client_kwargs) as storage,
        served_by_uvicorn(starlette_app(storage)) as address,
    ):
        yield address


async def test_over_the_limit_in_chunks(served: tuple[str, int], stand_in: S3StandIn) -> None:
    """10. limit + 1 bytes, chunked, without a Content-Length: the client reads a 413, nothing is stored."""
    host, port = served
    body = form(part("photo", PNG + bytes(MiB + 1 - len(PNG)), filename="cat.png"))

    async def chunked() -> AsyncGenerator[bytes, None]:
        for piece in pieces(body, 10_000):
            yield piece

    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", headers=HEADERS) as client:
        answer = await client.post("/photos", content=chunked())
        assert answer.status_code == 413
        assert (await client.post("/photos", content=PHOTO)).status_code == 200
    assert len(stand_in.objects) == 1
    assert stand_in.uploads == {}


@pytest.mark.parametrize("sent", [0.01, 0.5, 0.99])
async def test_the_client_goes_away(served: tuple[str, int], stand_in: S3StandIn, sent: float) -> None:
    """3. A connection that is cut in the middle of an upload leaves neither object nor upload."""
    body = form(part("photo", PNG + bytes(MiB // 2), filename="cat.png"))
    _, writer = await asyncio.open_connection(*served)
    head = f"POST /photos HTTP/1.1\r\nHost: test\r\nContent-Type: {HEADERS['content-type']}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: int(len(body) * sent)])
    await writer.drain()
    writer.transport.abort()
    async with httpx.AsyncClient(base_url=f"http://{served[0]}:{served[1]}", headers=HEADERS) as client:
        answer = await client.post("/photos", content=PHOTO)
        assert answer.status_code == 200
    await eventually(lambda: len(stand_in.objects) == 1)
    assert stand_in.uploads == {}


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
@pytest.mark.parametrize(("error", "status"), [(StorageFull, 507), (UploadFailed, 503)])
async def test_a_storage_that_fails(
    make: Any, error: type[UploadFailed], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is answered with 507, another failure with 503; what is wrong is in the log only."""

    class Failing(MemoryStorage):
        async def put(self, key: str, source: Any, **options: Any) -> Any:
            raise error("no room in the folder '/srv/secret'")

    async with client_of(make(Failing())) as client:
        answer = await client.post("/photos", content=PHOTO)
    assert answer.status_code == status
    assert "the upload could not be stored" in answer.text
    assert "secret" not in answer.text
    (record,) = [record for record in caplog.records if record.name == "scalekit.storage"]
    assert record.levelname == "ERROR"
    assert "no room in the folder '/srv/secret'" in record.getMessage()
    assert record.exc_info is not None


async def test_a_storage_that_fails_outside_of_a_framework(caplog: pytest.LogCaptureFixture) -> None:
    """Without Starlette the error is the caller's, message and status and all."""

    class Full(MemoryStorage):
        async def put(self, key: str, source: Any, **options: Any) -> Any:
            raise StorageFull("no room")

    async def receive() -> Any:
        return {"type": "http.request", "body": PHOTO, "more_body": False}

    scope = {"type": "http", "headers": [(b"content-type", HEADERS["content-type"].encode())]}
    with pytest.raises(StorageFull, match="no room") as caught:
        async with stream_form((scope, receive), Full(), max_file_size=MiB):
            pass
    assert caught.value.status == 507
    assert type(caught.value) is StorageFull
    assert caplog.records == []


async def test_a_body_that_fastapi_has_read() -> None:
    """A parameter that reads the form leaves nothing to stream: the error says so, and what to do instead."""
    app = FastAPI()

    @app.post("/photos")
    async def upload(request: Request, title: Annotated[str, Form()]):
        async with stream_form(request, MemoryStorage()):
            raise AssertionError("there is nothing to read")

    async with client_of(app) as client:
        with pytest.raises(ConfigurationError, match=r"was read before, .*Form\(\).*; .*form.fields"):
            await client.post("/photos", content=PHOTO)
