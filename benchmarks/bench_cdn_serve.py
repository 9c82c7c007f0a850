"""A hashed file served from the application: 4 KB and 1 MB, alone and by 32 clients at a time.

Under WSGI beside whitenoise and ServeStatic, under ASGI beside Starlette's ``StaticFiles`` and ServeStatic.
Each request is what a server makes of a browser's first one for a script; the body is read to its end, as by
a server that has no ``sendfile``. The floor opens the file, reads it and closes it.
"""

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import servestatic
import whitenoise
from starlette.staticfiles import StaticFiles

from benchmarks.harness import Case
from scalekit.cdn import AssetFile, Assets
from scalekit.cdn import asgi as asgi_shell
from scalekit.cdn import wsgi as wsgi_shell
from scalekit.types import ASGIApp

WHITENOISE = f"whitenoise {version('whitenoise')}"
SERVESTATIC = f"ServeStatic {version('servestatic')}"
STARLETTE = f"Starlette {version('starlette')}"
SIZES = {"4 KB": 4 * 1024, "1 MB": 1024 * 1024}
CLIENTS = 32

BROWSER = {
    "host": "shop.example.com",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "accept": "*/*",
    "accept-language": "en-GB,en;q=0.5",
    "accept-encoding": "gzip, deflate, br, zstd",
    "referer": "https://shop.example.com/",
    "cookie": "session=0123456789abcdef0123456789abcdef",
}


def wsgi_nothing(environ: Any, start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [])
    return []


async def asgi_nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(scope["path"])


def wsgi_requests(app: Any, path: str, size: int, units: int) -> Callable[[], None]:
    headers = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in BROWSER.items()}
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "shop",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        **headers,
    }

    def run() -> None:
        for _ in range(units):
            answer: list[Any] = []
            body = app(environ.copy(), lambda status, headers, to=answer: to.append((status, headers)))
            read = 0
            for chunk in body:
                read += len(chunk)
            if hasattr(body, "close"):
                body.close()
            assert answer[0][0] == "200 OK"
            assert read == size

    return run


def asgi_requests(app: ASGIApp, path: str, size: int, units: int) -> Callable[[], Awaitable[None]]:
    headers = [(name.encode(), value.encode()) for name, value in BROWSER.items()]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
    }

    async def one() -> None:
        read = status = 0

        async def receive() -> Any:
            await asyncio.Event().wait()  # the client stays

        async def send(message: Any) -> None:
            nonlocal read, status
            status = message.get("status", status)
            read += len(message.get("body", b""))

        await app({**scope, "headers": list(headers)}, receive, send)
        assert (status, read) == (200, size)

    async def run() -> None:
        for _ in range(units // CLIENTS):
            await asyncio.gather(*(one() for _ in range(CLIENTS)))

    return run


async def cases() -> AsyncIterator[Case]:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        names = {}
        for label, size in SIZES.items():
            Path(one, f"app{size}.js").write_bytes(b"x" * size)
            names[label] = f"app{size}.js"
        assets = Assets(one)
        for name in names.values():
            asset = assets.get(name)
            assert isinstance(asset, AssetFile)
            Path(other, asset.hashed_name).write_bytes(asset.path.read_bytes())
        wsgi_peers = {
            WHITENOISE: whitenoise.WhiteNoise(wsgi_nothing, root=other, prefix="static/"),
            SERVESTATIC: servestatic.ServeStatic(wsgi_nothing, root=other, prefix="static/"),
        }
        starlette = StaticFiles(directory=other)

        async def mounted(scope: Any, receive: Any, send: Any) -> None:
            await starlette({**scope, "root_path": "/static"}, receive, send)

        asgi_peers: dict[str, Any] = {
            STARLETTE: mounted,
            SERVESTATIC: servestatic.ServeStaticASGI(asgi_nothing, root=other, prefix="static/"),
        }
        for label, size in SIZES.items():
            path, file = assets.url(names[label]), Path(one, names[label])
            units = CLIENTS * (16 if size < 100_000 else 4)

            def floor(file: Path = file, units: int = units) -> None:
                for _ in range(units):
                    with file.open("rb") as opened:
                        opened.read()

            yield Case(
                piece="cdn",
                name=f"a hashed file of {label}, WSGI",
                ours=wsgi_requests(
                    wsgi_shell.AssetMiddleware(wsgi_nothing, assets=assets), path, size, units
                ),
                peers={name: wsgi_requests(app, path, size, units) for name, app in wsgi_peers.items()},
                floor=floor,
                units=units,
            )
            yield Case(
                piece="cdn",
                name=f"a hashed file of {label}, ASGI, {CLIENTS} clients",
                ours=asgi_requests(
                    asgi_shell.AssetMiddleware(asgi_nothing, assets=assets), path, size, units
                ),
                peers={name: asgi_requests(app, path, size, units) for name, app in asgi_peers.items()},
                floor=floor,
                units=units,
            )
