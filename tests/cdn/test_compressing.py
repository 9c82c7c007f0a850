"""Middleware that compresses, inside ours and around it: Starlette's and Django's, as they are."""

import asyncio
import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from scalekit.cdn import Assets, HtmlRewriter
from scalekit.cdn.asgi import AssetMiddleware
from tests.cdn.drivers import call_asgi

PAGE = "<img src=/static/logo.png>" * 100
ORDERS = ["inside", "around"]


@pytest.fixture
def assets(folder: Path) -> Assets:
    """With counts of its own."""
    return Assets(folder, cdn="https://cdn.example.net")


def starlette(assets: Assets, order: str) -> Starlette:
    async def stream(request: Request) -> Response:
        async def chunks() -> Any:
            for number in range(100):
                yield PAGE[number * 26 : number * 26 + 26]

        return StreamingResponse(chunks(), media_type="text/html")

    ours = Middleware(AssetMiddleware, assets=assets)
    theirs = Middleware(GZipMiddleware)
    return Starlette(
        routes=[Route("/", lambda request: HTMLResponse(PAGE)), Route("/stream", stream)],
        middleware=[theirs, ours] if order == "inside" else [ours, theirs],
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("path", ["/", "/stream"])
@pytest.mark.parametrize("accepted", ["gzip", "identity"])
def test_starlettes(assets: Assets, order: str, path: str, accepted: str) -> None:
    """Whichever goes inside, the page is rewritten, compressed where the client takes it, and says so."""
    headers = {"accept-encoding": accepted}
    reply = asyncio.run(call_asgi(starlette(assets, order), path, headers=headers))
    assert reply.headers.get("content-encoding", "identity") == accepted
    assert reply.headers["vary"].lower() == "accept-encoding"
    body = gzip.decompress(reply.body) if accepted == "gzip" else reply.body
    assert body == HtmlRewriter(assets).rewrite(PAGE.encode())
    assert reply.headers.get("content-length") == (str(len(reply.body)) if path == "/" else None)
    assert assets.counts.as_dict() == {"pages": 1, "urls": 100}


# In a process of its own, for Django's settings are global.
DJANGO = """
import gzip, sys
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path
from scalekit.cdn import Assets, HtmlRewriter
from scalekit.cdn.wsgi import AssetMiddleware
from tests.cdn.drivers import call_wsgi

PAGE = b"<img src=/static/logo.png>" * 100
urlpatterns = [
    path("whole", lambda request: HttpResponse(PAGE, headers={"ETag": '"x"'})),
    path("streamed", lambda request: StreamingHttpResponse([PAGE[:999], PAGE[999:]])),
]
settings.configure(
    SECRET_KEY="for this test",
    ROOT_URLCONF="__main__",
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"],
)
assets = Assets(sys.argv[1], cdn="https://cdn.example.net")
application = AssetMiddleware(get_wsgi_application(), assets=assets)
for url in "/whole", "/streamed":
    reply = call_wsgi(application, url, headers={"accept-encoding": "gzip"})
    assert reply.headers["content-encoding"] == "gzip", url
    assert gzip.decompress(reply.body) == HtmlRewriter(assets).rewrite(PAGE), url
    assert reply.body[3] & 8, "the header has a file name"
    if url == "/whole":
        assert reply.headers["etag"] == f'W/"x-{assets.version}"'
        assert reply.headers["content-length"] == str(len(reply.body))
"""


def test_djangos(folder: Path) -> None:
    """Django's compresses inside ours; the random name by which it hides a page's length stays."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", DJANGO, folder],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
