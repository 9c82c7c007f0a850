"""Uploads under Flask: the same storages, through ``.sync()``.

    python -m examples.storage_flask
    curl -F title=Cat -F photo=@cat.png localhost:8000/photos
    curl localhost:8000/media/<key>

Files go to the folder UPLOADS, or with S3_BUCKET to that bucket.
"""

import os
from wsgiref.simple_server import make_server

from flask import Flask, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from scalekit.errors import UploadRejected
from scalekit.storage import FileStorage, MiB
from scalekit.storage.wsgi import StorageFiles

if "S3_BUCKET" in os.environ:
    from scalekit.storage.s3 import S3Storage

    storage = S3Storage(os.environ["S3_BUCKET"], prefix="photos/", base_url="/media/").sync()
else:
    storage = FileStorage(os.environ.get("UPLOADS", "uploads"), base_url="/media/").sync()

app = Flask(__name__)


@app.errorhandler(UploadRejected)
def rejected(error: UploadRejected) -> tuple[dict[str, str], int]:
    return {"detail": str(error)}, error.status  # JSON: the message may quote what the client sent


@app.post("/photos")
def upload() -> dict[str, str]:
    # Not request.files: Flask would write the whole upload to a temporary file first.
    with storage.form(request, max_file_size=5 * MiB, accept=["image/*"]) as form:
        return {"url": form.files["photo"].url, "title": form.fields["title"]}


@app.get("/photos")
def photos() -> list[str]:
    return [storage.public_url(stored.key) for stored in storage.list()]


# Ranges, conditions, and nothing that a browser would run.
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/media": StorageFiles(storage)})  # type: ignore[method-assign]

if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), app) as server:
        server.serve_forever()
