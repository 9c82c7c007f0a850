"""What each server of a rolling deployment runs: ``uvicorn tests.cdn.rolling_app:app``."""

import os
from typing import Any

from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetMiddleware

DIST = os.environ["DIST"]
PAGE = """<!DOCTYPE html><title>{release}</title><link rel="stylesheet" href="/static/css/site.css">
<script src="/static/app.js"></script><img src="/static/logo.png">""".format(release=os.environ["RELEASE"])


async def home(scope: Any, receive: Any, send: Any) -> None:
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE.encode()})


app = AssetMiddleware(home, assets=Assets.from_manifest(f"{DIST}/manifest.json", folder=DIST))
