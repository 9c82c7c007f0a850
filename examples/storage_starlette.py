"""Uploads under Starlette, to a folder that all servers share.

python -m examples.storage_starlette
curl -F photo=@cat.png localhost:8000/photos
"""

import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from scalekit.storage import FileStorage, MiB
from scalekit.storage.forms import stream_form
from scalekit.storage.serve import StorageFiles

storage = FileStorage(os.environ.get("UPLOADS", "uploads"), base_url="/media/")


async def upload(request: Request) -> JSONResponse:
    async with stream_form(request, storage, max_file_size=5 * MiB, accept=["image/*"]) as form:
        # If anything goes wrong in here, the files are removed again.
        return JSONResponse([file.url for file in form.files.getlist("photo")], status_code=201)


async def photos(request: Request) -> JSONResponse:
    return JSONResponse([storage.public_url(stored.key) async for stored in storage.list()])


# The keys are random and never used again, so browsers may keep what they got for ever.
files = StorageFiles(storage, cache_control="public, max-age=31536000, immutable")
app = Starlette(
    routes=[
        Route("/photos", upload, methods=["POST"]),
        Route("/photos", photos),
        Mount("/media", files),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
