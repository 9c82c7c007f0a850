"""Assets from a CDN under FastAPI, with ``asset()`` in a Jinja2 template and a page that streams.

    python -m examples.cdn_fastapi
    curl localhost:8000/
    curl -N localhost:8000/stream             # rewritten as it comes

Set CDN to the address of one; without it the application serves its assets itself, hashed and immutable.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, StreamingResponse
from jinja2 import Environment

from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetMiddleware

PAGE = """<!DOCTYPE html>
<link rel="stylesheet" href="{{ asset("site.css") }}"><title>Assets</title>
<h1>Hello</h1><img src="{{ asset("logo.svg") }}" alt="A basket" width="64">
"""

assets = Assets(Path(__file__).with_name("static"), url="/static/", cdn=os.environ.get("CDN") or None)
templates = Environment(autoescape=True)
templates.globals["asset"] = assets.url  # a misspelled name is an error, not a broken image

app = FastAPI()
app.add_middleware(AssetMiddleware, assets=assets)


@app.get("/", response_class=HTMLResponse)
async def home() -> str:
    return templates.from_string(PAGE).render()


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def page() -> AsyncIterator[str]:
        yield '<!DOCTYPE html><link rel="stylesheet" href="/static/site.css"><title>Assets</title>'
        for number in range(3):
            yield f'<p>{number} <img src="/static/logo.svg" alt="" width="32">'
            await asyncio.sleep(0.1)

    return StreamingResponse(page(), media_type="text/html")


@app.get("/counts")
async def counts() -> dict[str, int]:
    return assets.counts.as_dict()


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
