"""A page with what browsers bind to an origin: alone, with the middleware, and the CDN it then uses.

CDN=http://localhost:9000 uvicorn tests.e2e.cdn_page:moved
"""

import os
import tempfile
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetFiles, AssetMiddleware

FILES = {
    "subtitles.vtt": "WEBVTT\n\n00:00.000 --> 00:10.000\nhello\n",
    "classic.js": "window.ran = [...(window.ran ?? []), 'classic'];",
    "site.css": "body { color: rgb(1, 2, 3) }",
    "cart.js": "window.ran = [...(window.ran ?? []), 'module']; export const cart = [];",
    "main.js": "import { cart } from './cart.js'; window.carts = [...(window.carts ?? []), cart];",
    "logo.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0h9v9z"/></svg>',
}
PAGE = """<!DOCTYPE html><html><head><title>Origins</title><link rel="icon" href="data:,">
<template><base href="/elsewhere/"></template><noscript><base href="/nowhere/"></noscript>
<base href="/static/">
<link rel="stylesheet" href="/static/site.css" crossorigin="use-credentials">
<script src="/static/classic.js" crossorigin="use-credentials"></script>
<link rel="modulepreload" href="/static/cart.js">
<script type="module" src="/static/cart.js"></script>
<script type="module" src="/static/main.js"></script>
<script type="module">import { cart } from "/static/cart.js"; window.carts = [...window.carts, cart];</script>
</head><body><a href="here">a link</a> <img src="logo.svg" crossorigin>
<object data="/static/logo.svg" type="image/svg+xml"></object>
<video><track default kind="subtitles" src="/static/subtitles.vtt"></video></body></html>
"""

# The processes of one test agree on names, which come from contents, and need not share a folder.
folder = tempfile.TemporaryDirectory()
for name, text in FILES.items():
    Path(folder.name, name).write_text(text)

assets = Assets(folder.name, cdn=os.environ.get("CDN") or None)
cdn = AssetFiles(assets)


async def home(request: Request) -> HTMLResponse:
    return HTMLResponse(PAGE)


plain = Starlette(routes=[Route("/", home), Mount("/static", StaticFiles(directory=folder.name))])
moved = AssetMiddleware(Starlette(routes=[Route("/", home)]), assets=assets)
