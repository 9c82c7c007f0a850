"""Files from the browser straight to S3: small ones by a form, larger ones by PUT, large ones in parts.

    S3_BUCKET=my-bucket python -m examples.storage_direct

Credentials, region and endpoint come from the environment, as for every AWS tool. The bucket needs the CORS
rule that ``python -m examples.storage_direct cors http://127.0.0.1:8000`` prints.
"""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse
from starlette.routing import Mount, Route

from scalekit.storage import GiB, MiB
from scalekit.storage.direct import DirectUpload, DirectUploads, cors_rule
from scalekit.storage.s3 import S3Storage

SECRET = os.environ.get("SECRET", "change me, I am an example")
TYPES = ["image/jpeg", "image/png", "image/webp", "video/mp4", "video/webm"]

# Up to here a form is least work for a browser, up to there one request is.
FORM, PUT = MiB, 8 * MiB

storage = S3Storage(os.environ.get("S3_BUCKET", "uploads"), prefix="photos/")
finished: list[str] = []


async def remember(file: DirectUpload) -> None:
    """Called for each file that came in parts; a real application writes the key to its database, once."""
    if file.key not in finished:
        finished.append(file.key)


async def page(request: Request) -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"))


async def ticket(request: Request) -> JSONResponse:
    """What the page needs to send one file of up to 8 MiB by itself.

    S3 compares size and type with it. Nobody looks inside: do so before you show such a file to others.
    """
    asked = await request.json()
    size, kind = asked["size"], asked["type"]
    if kind not in TYPES:
        return JSONResponse({"error": f"send one of {', '.join(TYPES)}"}, 415)
    if not 1 <= size <= PUT:
        return JSONResponse({"error": f"send larger files in parts, and no empty ones ({size} bytes)"}, 413)
    if size <= FORM:
        form = await storage.presign_post(max_size=FORM, content_type=kind)
        return JSONResponse({"way": "form", "url": form.url, "fields": form.fields, "key": form.key})
    put = await storage.presign_put(size=size, content_type=kind)
    return JSONResponse({"way": "put", "url": put.url, "headers": put.headers, "key": put.key})


async def photos(request: Request) -> JSONResponse:
    # Below direct/ are notes of files that are being finished.
    found = [stored async for stored in storage.list() if not stored.key.startswith("direct/")]
    return JSONResponse([{"key": stored.key, "size": stored.size} for stored in found])


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with storage:  # closes the connections to S3
        yield


uploads = DirectUploads(
    storage,
    secret_key=SECRET,
    max_size=20 * GiB,
    accept=TYPES,
    part_size=int(os.environ.get("PART_SIZE", 8 * MiB)),
    on_complete=remember,
    # With people who log in: user=lambda scope: scope["session"].get("user")
)
app = Starlette(
    routes=[
        Route("/", page),
        Route("/tickets", ticket, methods=["POST"]),
        Route("/photos", photos),
        Mount("/uploads", uploads),
    ],
    lifespan=lifespan,
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["cors"]:
        print(json.dumps({"CORSRules": [cors_rule(sys.argv[2:] or ["http://127.0.0.1:8000"])]}, indent=2))
    else:
        uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
