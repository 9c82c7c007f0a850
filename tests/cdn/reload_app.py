"""A developer's server: ``uvicorn tests.cdn.reload_app:app``, with files of ``FOLDER`` or a manifest."""

import os
from typing import Any

from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetMiddleware

FOLDER = os.environ["FOLDER"]
if "MANIFEST" in os.environ:
    assets = Assets.from_manifest(os.environ["MANIFEST"], folder=FOLDER, reload=True)
else:
    assets = Assets(FOLDER, reload=True)
asset = assets.at(None).url


async def home(scope: Any, receive: Any, send: Any) -> None:
    """A page with a URL that a template has asked for, and one that the middleware has to write."""
    page = f'<script src="{asset("app.js")}"></script> <link rel="stylesheet" href="/static/site.css">'
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    status = 200 if scope["path"] == "/" else 404
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": page.encode()})


app = AssetMiddleware(home, assets=assets)
