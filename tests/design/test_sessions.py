"""DESIGN.md's sessions snippet, as it stands there, in FastAPI, Starlette, Flask, WSGI and Django."""

# ruff: noqa: E501 (a quotation)

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from flask import Flask, session
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit.sessions.flask import ServerSessionInterface
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.wsgi import SessionMiddleware as WSGISessionMiddleware
from scalekit.sessions.wsgi import get_session
from tests.sessions.shells import Reply, drive_wsgi, make_environ

SNIPPET = """\
# sessions: FastAPI or Starlette. request.session is the session; nothing else to learn.
from scalekit.sessions.asgi import SessionMiddleware
from scalekit.sessions.redis import RedisStore
app.add_middleware(SessionMiddleware, store=RedisStore.from_url("redis://localhost:6379/0"), secret_key=SECRET)

@app.post("/cart/{sku}")
async def add(request: Request, sku: str):
    request.session.setdefault("cart", []).append(sku)      # a nested change is noticed and saved

# sessions: Flask, any WSGI app, Django
app.session_interface = ServerSessionInterface(RedisStore.from_url(url), secret_key=SECRET)    # scalekit.sessions.flask
app = SessionMiddleware(app, store=RedisStore.from_url(url), secret_key=SECRET)                # scalekit.sessions.wsgi
SESSION_ENGINE = "scalekit.sessions.django"
"""
ADD, ROUTE = SNIPPET.split("# sessions: Flask")[0].split("@app.post")
ROUTE = "@app.post" + ROUTE
FLASK, WSGI, DJANGO = SNIPPET.splitlines()[-3:]

ROOT = Path(__file__).parents[2]
DESIGN = ROOT.parent / "shared" / "DESIGN.md"
SECRET = "a secret of the tests, long enough"


def execute(code: str, url: str, **names: Any) -> dict[str, Any]:
    """Run a piece of the snippet, with the test's server in place of localhost's."""
    names |= {"SECRET": SECRET, "url": url}
    exec(compile(code.replace('"redis://localhost:6379/0"', "url"), "DESIGN.md", "exec"), names)
    return names


async def check(app: Any) -> None:
    """Two servers' worth of requests: the cart grows, and another visitor's is empty."""
    transport = httpx.ASGITransport(app)
    async with (
        httpx.AsyncClient(transport=transport, base_url="https://shop") as client,
        httpx.AsyncClient(transport=transport, base_url="https://shop") as other,
    ):
        for sku in ("tea", "cup"):
            assert (await client.post(f"/cart/{sku}")).status_code == 200
        assert (await client.get("/cart")).json() == ["tea", "cup"]
        assert (await other.get("/cart")).json() == []
        assert list(client.cookies) == ["__Host-session"]


@pytest.mark.skipif(not DESIGN.exists(), reason="the design document is not beside this checkout")
def test_the_snippet_is_the_designs() -> None:
    """What is tested here is what DESIGN.md promises, character for character."""
    assert SNIPPET in DESIGN.read_text()


async def test_fastapi(redis_url: str) -> None:
    """The snippet as it stands."""
    app = FastAPI()
    execute(ADD + ROUTE, redis_url, app=app, Request=Request)

    @app.get("/cart")
    async def show(request: Request) -> list[str]:
        return request.session.get("cart", [])  # type: ignore[no-any-return]

    await check(app)


async def test_starlette(redis_url: str) -> None:
    """The same middleware line; routes are Starlette's own."""

    async def add(request: Any) -> JSONResponse:
        request.session.setdefault("cart", []).append(request.path_params["sku"])
        return JSONResponse(None)

    async def show(request: Any) -> JSONResponse:
        return JSONResponse(request.session.get("cart", []))

    app = Starlette(routes=[Route("/cart", show), Route("/cart/{sku}", add, methods=["POST"])])
    execute(ADD, redis_url, app=app)
    await check(app)


def test_flask(redis_url: str) -> None:
    """One line makes `flask.session` a server-side session."""
    app = Flask(__name__)
    execute(FLASK, redis_url, app=app, ServerSessionInterface=ServerSessionInterface, RedisStore=RedisStore)

    @app.post("/cart/<sku>")
    def add(sku: str) -> list[str]:
        session.setdefault("cart", []).append(sku)
        return list(session["cart"])

    client = app.test_client()
    client.post("/cart/tea")
    assert client.post("/cart/cup").json == ["tea", "cup"]
    assert app.test_client().post("/cart/pot").json == ["pot"]


def test_wsgi(redis_url: str) -> None:
    """One line around any WSGI application."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        cart = get_session(environ).setdefault("cart", [])
        cart.append("tea")
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(cart).encode()]

    names = {"app": app, "SessionMiddleware": WSGISessionMiddleware, "RedisStore": RedisStore}
    wrapped = execute(WSGI, redis_url, **names)["app"]
    first: Reply = drive_wsgi(wrapped, make_environ(None))
    cookie = first.set_cookies[0].split(";")[0].encode()
    assert drive_wsgi(wrapped, make_environ(cookie)).json == ["tea", "tea"]


def test_django(redis_url: str, tmp_path: Path) -> None:
    """One setting, in a Django project of its own (settings are global to a process)."""
    given = [
        str(Path(entry).resolve()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry
    ]
    path = os.pathsep.join([str(ROOT), *given])
    script = tmp_path / "project.py"
    script.write_text(
        DJANGO
        + textwrap.dedent(
            """
            import os
            import django
            from django.conf import settings
            from django.http import HttpRequest, JsonResponse
            from django.urls import path

            settings.configure(
                SESSION_ENGINE=SESSION_ENGINE, SCALEKIT_SESSION_STORE=os.environ["REDIS_URL"],
                SECRET_KEY="a secret of the tests, long enough", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
                MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
            )
            django.setup()

            def add(request: HttpRequest, sku: str) -> JsonResponse:
                request.session.setdefault("cart", []).append(sku)
                return JsonResponse(request.session["cart"], safe=False)

            urlpatterns = [path("cart/<sku>", add)]

            from django.test import Client

            client = Client()
            client.post("/cart/tea")
            assert client.post("/cart/cup").json() == ["tea", "cup"]
            assert Client().post("/cart/pot").json() == ["pot"]
            print("done")
            """
        )
    )
    result = subprocess.run(
        [sys.executable, "-m", "tests.patience", "project"],
        cwd=tmp_path,
        env={**os.environ, "REDIS_URL": redis_url, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
