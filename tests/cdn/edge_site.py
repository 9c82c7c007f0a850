"""The application of that site, in several forms.

FOLDER=... CDN=http://localhost:9000 uvicorn tests.cdn.edge_site:app
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from scalekit.cdn import Assets, CdnProbe
from scalekit.cdn.asgi import AssetMiddleware
from tests.cdn import edge_files

page = edge_files.page(os.environ["RELEASE"])
etag = f'"{hashlib.sha256(page.encode()).hexdigest()[:16]}"'
revalidated = 0


async def home(request: Request) -> Response:
    """A page that browsers keep, and ask about again each time."""
    global revalidated
    headers = {
        "content-security-policy": edge_files.POLICY,
        "link": edge_files.LINK,
        "etag": etag,
        "cache-control": "no-cache",
    }
    if request.headers.get("if-none-match") == etag:
        revalidated += 1
        return Response(status_code=304, headers=headers)
    return HTMLResponse(page, headers=headers)


async def streamed(request: Request) -> Response:
    """The same, in small pieces."""

    async def pieces() -> AsyncIterator[str]:
        for start in range(0, len(page), 50):
            yield page[start : start + 50]
            await asyncio.sleep(0)

    return StreamingResponse(
        pieces(), media_type="text/html", headers={"content-security-policy": edge_files.POLICY}
    )


async def other(request: Request) -> Response:
    return HTMLResponse(f'<title>Other</title><link rel="icon" href="data:,"><p>{revalidated}</p>')


def pages() -> Starlette:
    routes = [Route("/", home), Route("/streamed", streamed), Route("/other", other)]
    return Starlette(routes=routes)


folder, cdn = Path(os.environ["FOLDER"]), os.environ.get("CDN") or None
built = folder / "manifest.json"
files = Assets.from_manifest(built, folder=folder, cdn=cdn) if built.exists() else Assets(folder, cdn=cdn)
options: dict[str, Any] = {"assets": files, "integrity": True, "extend_csp": True, "modules": True}
app = AssetMiddleware(pages(), **options)
outside = GZipMiddleware(app, minimum_size=1)
inside = AssetMiddleware(GZipMiddleware(pages(), minimum_size=1), **options)
probing = AssetMiddleware(pages(), probe=CdnProbe(files, interval=1.0, timeout=0.4), **options)
