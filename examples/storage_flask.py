"""Uploads under Flask: the same storages, through ``.sync()``.

    python -m examples.storage_flask
    curl -F title=Cat -F photo=@cat.png localhost:8000/photos

Files go to the folder UPLOADS, or with S3_BUCKET to that bucket.
"""

import os
from wsgiref.simple_server import make_server

from flask import Flask, Response, abort, request

from scalekit.errors import UploadRejected
from scalekit.storage import FileStorage, MiB

if "S3_BUCKET" in os.environ:
    from scalekit.storage.s3 import S3Storage

    storage = S3Storage(os.environ["S3_BUCKET"], prefix="photos/", base_url="/media/").sync()
else:
    storage = FileStorage(os.environ.get("UPLOADS", "uploads"), base_url="/media/").sync()

app = Flask(__name__)


@app.errorhandler(UploadRejected)
def rejected(error: UploadRejected) -> tuple[str, int]:
    return str(error), error.status


@app.post("/photos")
def upload() -> dict[str, str]:
    # Not request.files: Flask would write the whole upload to a temporary file first.
    with storage.form(request.environ, max_file_size=5 * MiB, accept=["image/*"]) as form:
        return {"url": form.files["photo"].url, "title": form.fields["title"]}


@app.get("/photos")
def photos() -> list[str]:
    return [storage.public_url(stored.key) for stored in storage.list()]


@app.get("/media/<path:key>")
def media(key: str) -> Response:
    opened = storage.open(key)
    if opened is None:
        abort(404)
    headers = {"X-Content-Type-Options": "nosniff", "ETag": f'"{opened.stored.etag}"'}
    return Response(opened, mimetype=opened.stored.content_type, headers=headers)


if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        server.serve_forever()
