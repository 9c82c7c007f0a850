"""Assets from a CDN under Starlette, for an application that was not written for one.

    python -m examples.cdn_starlette
    curl localhost:8000/                      # /static/logo.svg has become a hashed URL
    curl -I localhost:8000/static/logo.svg

Set CDN to the address of one to have the URLs point there; a CDN of your own is one line:

    CDN=http://localhost:9000 python -m examples.cdn_starlette &
    uvicorn --port 9000 examples.cdn_starlette:cdn
"""

import os
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetFiles, AssetMiddleware

PAGE = """<!DOCTYPE html>
<html lang="en"><head><title>Assets</title>
<link rel="icon" href="/static/logo.svg"><link rel="stylesheet" href="/static/site.css"></head>
<body><h1>Hello</h1><p>This page was written without a CDN,</p><output></output>
<p><img src="/static/logo.svg" alt="A basket" width="64"> <a href="/static/logo.svg">the file itself</a></p>
<script src="/static/hello.js"></script></body></html>
"""

assets = Assets(Path(__file__).with_name("static"), url="/static/", cdn=os.environ.get("CDN") or None)
cdn = AssetFiles(assets)  # an application of its own, for another port or host


async def home(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


app = Starlette(routes=[Route("/", home)], middleware=[Middleware(AssetMiddleware, assets=assets)])

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
