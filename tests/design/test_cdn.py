"""The CDN snippet of DESIGN.md, character for character, in every framework that applies."""

# ruff: noqa: E501 (a quotation)

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from flask import Flask, render_template_string
from starlette.applications import Starlette
from starlette.routing import Route

from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetMiddleware
from scalekit.cdn.wsgi import AssetMiddleware as WSGIAssetMiddleware
from scalekit.cli import main
from tests.cdn.drivers import call_asgi, call_wsgi

SNIPPET = """\
from scalekit.cdn import Assets
from scalekit.cdn.asgi import AssetMiddleware               # scalekit.cdn.wsgi has its WSGI twin
assets = Assets("static", url="/static/", cdn="https://d111111abcdef8.cloudfront.net")
app.add_middleware(AssetMiddleware, assets=assets)          # serves them hashed and immutable, rewrites HTML to the CDN
templates.env.globals["asset"] = assets.url                 # or at the source: {{ asset("logo.png") }}
"""

COMMAND = "scalekit assets push s3://shop-assets/static"

ROOT = Path(__file__).parents[2]
DESIGN = ROOT.parent / "shared" / "DESIGN.md"
CDN = "https://d111111abcdef8.cloudfront.net"
PAGE = '<a href="/static/logo.png"><img src="/static/logo.png"></a>'
TEMPLATE = '<a href="/static/logo.png"><img src="{{ asset("logo.png") }}"></a>'


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "logo.png").write_bytes(b"logo")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.html").write_text(TEMPLATE)
    monkeypatch.chdir(tmp_path)


def run(app: Any) -> Any:
    """Execute the snippet around ``app``; the templates that it adds to."""
    templates = Jinja2Templates(directory="templates")
    exec(compile(SNIPPET, "DESIGN.md", "exec"), {"app": app, "templates": templates})
    return templates


def check_page(page: str) -> str:
    """The image is on the CDN, the link is not; the path of the file at the origin."""
    match = re.fullmatch(
        r'<a href="/static/logo\.png"><img src="([^"]+)(/static/logo\.[0-9a-f]{12}\.png)"></a>', page
    )
    assert match, page
    assert match[1] == CDN
    return match[2]


async def check(app: Any, *paths: str) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        for path in paths:
            response = await client.get(path)
            assert response.headers["content-length"] == str(len(response.content))
            file = await client.get(check_page(response.text))
            assert file.content == b"logo"
            assert file.headers["cache-control"] == "public, max-age=31536000, immutable"


@pytest.mark.skipif(not DESIGN.exists(), reason="DESIGN.md is not beside this checkout")
def test_the_snippet_is_that_of_the_design() -> None:
    """What is tested here is what DESIGN.md says."""
    assert SNIPPET in DESIGN.read_text("utf-8")
    assert f"$ {COMMAND}  " in DESIGN.read_text("utf-8")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One word more than where to: what was built lies in the bucket, where the CDN asks for it."""
    for extra in ("aiobotocore", "rich"):
        pytest.importorskip(extra)
    from tests.cdn.bucket import served_apart

    for name, value in {
        "ACCESS_KEY_ID": "key",
        "SECRET_ACCESS_KEY": "secret",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    assert main(["assets", "build", "static", "dist"]) == 0
    with served_apart() as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint_url)
        assert main(COMMAND.split()[1:]) == 0
        asset = Assets.from_manifest("dist/manifest.json").get("logo.png")
        assert asset is not None
        assert s3.objects[f"static/{asset.hashed_name}"][0] == b"logo"


async def test_fastapi() -> None:
    """A page that knows nothing of it, and a template that asks for the asset."""
    app = FastAPI()
    templates = run(app)

    @app.get("/plain", response_class=HTMLResponse)
    async def plain() -> str:
        return PAGE

    @app.get("/template")
    async def template(request: Request) -> HTMLResponse:
        return templates.TemplateResponse(request, "page.html")

    await check(app, "/plain", "/template")


async def test_starlette() -> None:
    """The same under Starlette alone."""
    app = Starlette()
    templates = run(app)

    async def plain(request: Request) -> HTMLResponse:
        return HTMLResponse(PAGE)

    async def template(request: Request) -> HTMLResponse:
        return templates.TemplateResponse(request, "page.html")

    app.routes.extend([Route("/plain", plain), Route("/template", template)])
    await check(app, "/plain", "/template")


async def test_any_asgi_application() -> None:
    """A bare callable, wrapped by hand."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]}
        )
        await send({"type": "http.response.body", "body": PAGE.encode()})

    wrapped = AssetMiddleware(app, assets=Assets("static", url="/static/", cdn=CDN))
    page = await call_asgi(wrapped, "/")
    assert (await call_asgi(wrapped, check_page(page.body.decode()))).body == b"logo"


def test_flask() -> None:
    """The WSGI twin around Flask, whose own static route it goes before."""
    assets = Assets("static", url="/static/", cdn=CDN)
    app = Flask(__name__)
    app.jinja_env.globals["asset"] = assets.url
    app.wsgi_app = WSGIAssetMiddleware(app.wsgi_app, assets=assets)  # type: ignore[method-assign]
    app.add_url_rule("/plain", view_func=lambda: PAGE)
    app.add_url_rule("/template", view_func=lambda: render_template_string(TEMPLATE), endpoint="template")
    for path in ("/plain", "/template"):
        with app.test_client().get(path) as response:
            file = check_page(response.text)
        with app.test_client().get(file) as response:
            assert response.data == b"logo"


def test_any_wsgi_application() -> None:
    """A bare callable under the standard library's validator, on both sides of the middleware."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [PAGE.encode()]

    wrapped = WSGIAssetMiddleware(validator(app), assets=Assets("static", url="/static/", cdn=CDN))
    page = call_wsgi(wrapped, "/")
    assert call_wsgi(wrapped, check_page(page.body.decode())).body == b"logo"


DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
from scalekit.cdn import Assets
from scalekit.cdn.wsgi import AssetMiddleware
from tests.cdn.drivers import call_wsgi
from tests.design.test_cdn import CDN, PAGE, check_page

urlpatterns = [path("plain", lambda request: HttpResponse(PAGE))]
settings.configure(SECRET_KEY="for this test", ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"])
application = AssetMiddleware(get_wsgi_application(), assets=Assets("static", url="/static/", cdn=CDN))
page = call_wsgi(application, "/plain")
assert call_wsgi(application, check_page(page.body.decode())).body == b"logo"
"""


def test_django() -> None:
    """The WSGI twin around Django, as in its ``wsgi.py``; in a process of its own, for settings are global."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", DJANGO], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
