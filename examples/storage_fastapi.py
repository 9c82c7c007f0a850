"""Uploads under FastAPI: a form, a resumable upload, and a ticket for uploads straight from the browser.

    python -m examples.storage_fastapi
    curl -F title=Cat -F photo=@cat.png localhost:8000/photos
    curl localhost:8000/media/<key>

Files go to the folder UPLOADS. With S3_BUCKET they go to that bucket; credentials, region and endpoint then
come from the environment, as for every AWS tool.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request

from scalekit.storage import FileStorage, MiB, Storage, UploadedFile
from scalekit.storage.forms import stream_form
from scalekit.storage.serve import StorageFiles
from scalekit.storage.tus import TusUploads

SECRET = os.environ.get("SECRET", "change me, I am an example")
IMAGES = ["image/*"]

storage: Storage
presign_post = None
if "S3_BUCKET" in os.environ:
    from scalekit.storage.s3 import S3Storage

    storage = S3Storage(os.environ["S3_BUCKET"], prefix="photos/")
    presign_post = storage.presign_post
else:
    storage = FileStorage(os.environ.get("UPLOADS", "uploads"), base_url="/media/")

finished: list[str] = []


async def remember(file: UploadedFile) -> None:
    """Called for every finished resumable upload; a real application writes the key to its database."""
    finished.append(file.key)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with storage:  # closes the connections to S3
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/uploads", TusUploads(storage, secret_key=SECRET, accept=IMAGES, on_complete=remember))
app.mount("/media", StorageFiles(storage))


@app.post("/photos")
async def upload(request: Request) -> dict[str, Any]:
    async with stream_form(request, storage, max_file_size=5 * MiB, accept=IMAGES) as form:
        photo = form.files["photo"]
        return {"key": photo.key, "url": photo.url, "title": form.fields["title"]}


@app.post("/tickets")
async def ticket() -> dict[str, Any]:
    """What a browser needs to upload one PNG to S3 by itself."""
    if presign_post is None:
        raise HTTPException(501, "needs S3_BUCKET")
    granted = await presign_post(max_size=5 * MiB, content_type="image/png")
    return {"url": granted.url, "fields": granted.fields, "key": granted.key}


@app.get("/photos")
async def photos() -> list[str]:
    # Below tus/ are uploads that may still go on.
    return [stored.key async for stored in storage.list() if not stored.key.startswith("tus/")]


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
