"""The storage snippet of DESIGN.md, character for character, against a real S3 server."""

import ast
import inspect
import types
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit.errors import UnsupportedMediaType
from scalekit.storage import MiB
from scalekit.storage.forms import stream_form
from scalekit.storage.tus import TusUploads
from tests.plain import PATIENCE
from tests.servers import S3Server
from tests.storage.forms import BOUNDARY, form, part, request
from tests.storage.helpers import PNG

SNIPPET = """\
from scalekit.storage.s3 import S3Storage                   # FileStorage, MemoryStorage: the same contract
from scalekit.storage.forms import stream_form
storage = S3Storage("media", prefix="photos/")

@app.post("/photos")
async def upload(request: Request):
    async with stream_form(request, storage, max_file_size=50 * MiB, accept=["image/*"]) as form:
        return {"photo": form.files["photo"].url, "title": form.fields["title"]}

app.mount("/uploads", TusUploads(storage, secret_key=SECRET))                  # resumable, on any server
ticket = await storage.presign_post(max_size=5 * MiB, content_type="image/png")  # straight from the browser
"""

DESIGN = Path(__file__).parents[3] / "shared" / "DESIGN.md"
HEADERS = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
PHOTO = form(part("title", "Cat"), part("photo", PNG, filename="cat.png", content_type="image/png"))
HTML = form(part("title", "Cat"), part("photo", b"<html>", filename="cat.png", content_type="image/png"))


@pytest.fixture
async def design(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[dict[str, Any], None]:
    """The names that the snippet leaves behind, run with the environment that every AWS tool reads."""
    options = s3_server.client_kwargs
    for name, value in {
        "AWS_ENDPOINT_URL": options["endpoint_url"],
        "AWS_DEFAULT_REGION": options["region_name"],
        "AWS_ACCESS_KEY_ID": options["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": options["aws_secret_access_key"],
    }.items():
        monkeypatch.setenv(name, value)
    s3_server.create_bucket("media")
    given = {
        "app": FastAPI(),
        "Request": Request,
        "MiB": MiB,
        "TusUploads": TusUploads,
        "SECRET": "a secret of 16 bytes",
    }
    module = types.ModuleType("design")
    module.__dict__.update(given)
    code = compile(SNIPPET, "DESIGN.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    run = types.FunctionType(code, module.__dict__)()
    assert inspect.iscoroutine(run)
    await run
    yield module.__dict__
    storage = module.__dict__["storage"]
    for stored in [stored async for stored in storage.list()]:
        await storage.delete(stored.key)
    await (await storage._clients.get()).delete_bucket(Bucket="media")
    await storage.aclose()


@pytest.mark.skipif(not DESIGN.exists(), reason="DESIGN.md is not beside this checkout")
def test_it_is_the_snippet_of_the_design() -> None:
    """What runs here is what DESIGN.md promises."""
    assert SNIPPET in DESIGN.read_text("utf-8")


async def test_fastapi(design: dict[str, Any]) -> None:
    """An upload is in S3 when it is answered; a web page that calls itself a PNG is a 415."""
    transport = httpx.ASGITransport(design["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=HEADERS) as client:
        answer = await client.post("/photos", content=PHOTO)
        assert answer.status_code == 200
        assert answer.json()["title"] == "Cat"
        refused = await client.post("/photos", content=HTML)
        assert refused.status_code == 415
    async with httpx.AsyncClient(timeout=PATIENCE) as browser:
        assert (await browser.get(answer.json()["photo"])).content == PNG
    assert len([stored async for stored in design["storage"].list()]) == 1


async def test_resumable(design: dict[str, Any]) -> None:
    """The mounted tus server takes a file in two pieces."""
    transport = httpx.ASGITransport(design["app"])
    headers = {"tus-resumable": "1.0.0", "content-type": "application/offset+octet-stream"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        created = await client.post("/uploads/", headers={"upload-length": str(len(PNG))}, content=PNG[:100])
        assert created.status_code == 201
        url = created.headers["location"]
        assert url.startswith("/uploads/")
        assert (await client.head(url)).headers["upload-offset"] == "100"
        sent = await client.patch(url, headers={"upload-offset": "100"}, content=PNG[100:])
        assert sent.status_code == 204
    everything = [stored async for stored in design["storage"].list()]
    [stored] = [stored for stored in everything if not stored.key.startswith("tus/")]
    assert await design["storage"].read(stored.key) == PNG


async def test_straight_from_the_browser(design: dict[str, Any]) -> None:
    """The ticket is taken by S3."""
    ticket = design["ticket"]
    async with httpx.AsyncClient(timeout=PATIENCE) as browser:
        answer = await browser.post(
            ticket.url, data=ticket.fields, files={"file": ("cat.png", PNG, "image/png")}
        )
    assert answer.status_code == 201
    assert await design["storage"].read(ticket.key) == PNG


async def test_starlette(design: dict[str, Any]) -> None:
    """The same block in a route of bare Starlette."""
    storage = design["storage"]

    async def upload(request: Any) -> JSONResponse:
        async with stream_form(request, storage, max_file_size=50 * MiB, accept=["image/*"]) as form:
            return JSONResponse({"photo": form.files["photo"].url, "title": form.fields["title"]})

    transport = httpx.ASGITransport(Starlette(routes=[Route("/photos", upload, methods=["POST"])]))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=HEADERS) as client:
        assert (await client.post("/photos", content=PHOTO)).json()["title"] == "Cat"
        assert (await client.post("/photos", content=HTML)).status_code == 415


async def test_raw_asgi(design: dict[str, Any]) -> None:
    """The same block in a raw ASGI callable, which gets the error to answer as it likes."""
    storage = design["storage"]
    async with stream_form(request(PHOTO), storage, max_file_size=50 * MiB, accept=["image/*"]) as found:
        assert await storage.read(found.files["photo"].key) == PNG
    with pytest.raises(UnsupportedMediaType):
        async with stream_form(request(HTML), storage, accept=["image/*"]):
            pass
