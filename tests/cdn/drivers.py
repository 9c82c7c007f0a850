"""One way to send a request through either middleware, and to say what the application behind it answers."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote
from wsgiref.validate import validator

from scalekit.cdn import Assets
from scalekit.cdn import asgi as asgi_shell
from scalekit.cdn import wsgi as wsgi_shell


@dataclass
class Response:
    """What the application answers. It keeps the request's headers as it saw them."""

    chunks: list[bytes]
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "text/html; charset=utf-8"})
    status: int = 200
    seen: dict[str, str] = field(default_factory=dict)

    def with_length(self) -> "Response":
        self.headers["content-length"] = str(sum(map(len, self.chunks)))
        return self


@dataclass
class Reply:
    """What came out at the other end."""

    status: int
    headers: dict[str, str]
    chunks: list[bytes]
    messages: list[Any] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)


Middleware = Callable[[Any], Any]


def asgi_app(response: Response) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        response.seen = {name.decode(): value.decode() for name, value in scope["headers"]}
        headers = [(name.encode(), value.encode()) for name, value in response.headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        for chunk in response.chunks[:-1]:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": response.chunks[-1]})

    return app


def wsgi_app(response: Response) -> Any:
    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        response.seen = {
            key[5:].lower().replace("_", "-"): value
            for key, value in environ.items()
            if key.startswith("HTTP_")
        }
        start_response(f"{response.status} Status", list(response.headers.items()))
        return list(response.chunks)

    return app


async def call_asgi(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    extensions: dict[str, Any] | None = None,
) -> Reply:
    """One request to an ASGI application."""
    scope = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        "extensions": extensions or {},
    }
    messages: list[Any] = []

    requests = [{"type": "http.request", "body": b""}]

    async def receive() -> Any:
        if not requests:  # the client stays until it has its answer
            await asyncio.Event().wait()
        return requests.pop()

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start = messages[0]
    assert start["type"] == "http.response.start"
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    assert len(found) == len(start["headers"]), "a header was sent twice"
    chunks = [message["body"] for message in messages if message["type"] == "http.response.body"]
    return Reply(start["status"], found, chunks, messages)


def call_wsgi(app: Any, path: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Reply:
    """One request to a WSGI application, both sides checked by the standard library's validator."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(quote(path, safe="/%"), "latin-1"),
        "QUERY_STRING": "",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": _Input(),
        "wsgi.errors": _Errors(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in (headers or {}).items():
        environ["HTTP_" + name.upper().replace("-", "_")] = value
    started: list[Any] = []
    written: list[bytes] = []

    def start_response(status: str, found: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started.append((int(status[:3]), {name.lower(): value for name, value in found}))
        assert len(started[-1][1]) == len(found), "a header was sent twice"
        return written.append

    body = validator(app)(environ, start_response)
    try:
        chunks = list(body)
    finally:
        body.close()
    status, found = started[-1]
    return Reply(status, found, written + chunks)


class _Input:
    def read(self, size: int = -1) -> bytes:
        return b""

    readline = read

    def readlines(self, hint: int = -1) -> list[bytes]:
        return []

    def __iter__(self) -> Any:
        return iter([])


class _Errors:
    def flush(self) -> None: ...

    def write(self, text: str) -> None: ...

    def writelines(self, lines: list[str]) -> None: ...


class Shell:
    """The ASGI or the WSGI middleware, driven alike."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def page(
        self,
        assets: Assets,
        response: Response,
        path: str = "/",
        *,
        options: dict[str, Any] | None = None,
        **request: Any,
    ) -> Reply:
        """A request that the application answers with ``response``; ``options`` are the middleware's."""
        if self.name == "asgi":
            app = asgi_shell.AssetMiddleware(asgi_app(response), assets=assets, **(options or {}))
            return asyncio.run(call_asgi(app, path, **request))
        application = validator(wsgi_app(response))
        return call_wsgi(
            wsgi_shell.AssetMiddleware(application, assets=assets, **(options or {})), path, **request
        )

    def file(self, assets: Assets, path: str, **request: Any) -> Reply:
        """A request to the application that serves nothing but assets."""
        if self.name == "asgi":
            return asyncio.run(call_asgi(asgi_shell.AssetFiles(assets), path, **request))
        return call_wsgi(wsgi_shell.AssetFiles(assets), path, **request)
