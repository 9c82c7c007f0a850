"""One handler, every shell: what a visitor sees through ASGI, Starlette, FastAPI, WSGI and Flask.

A handler is a function of the session; what it returns is the JSON of the response, unless it is an
`Answer`. An `async def` one awaits `settled(...)`: a value in one colour, an awaitable in the other. A visit
may be made from inside of a handler, which is how a test lets one request overtake another.
"""

import asyncio
import inspect
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from scalekit.sessions import Store
from scalekit.sessions.session import Session

SECRET = "a secret of the tests, long enough"


@dataclass
class Answer:
    """A response that is more than a 200 with JSON."""

    data: Any = None
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)


Handler = Callable[[Session], Any]


@dataclass
class Reply:
    """What came back. Header names are lower-case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.status == 200, (self.status, self.body)
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    @property
    def set_cookies(self) -> list[str]:
        return [value for key, value in self.headers if key == "set-cookie"]


class Shell:
    """An application around one handler, in one framework."""

    def __init__(self, store: Store, **options: Any) -> None:
        self.store, self.options = store, {"secret_key": SECRET, **options}
        self.handler: Handler = lambda session: None
        self.agent: str | None = None

    def request(self, handler: Handler, cookie: bytes | None, *, scheme: str = "http") -> Reply:
        raise NotImplementedError

    def visitor(self, **options: Any) -> "Visitor":
        return Visitor(self, **options)


def answer(result: Any) -> Answer:
    return result if isinstance(result, Answer) else Answer(result)


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def at_once(value: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    if not inspect.iscoroutine(value):
        return value
    try:
        value.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a synchronous session was awaited")


class ASGIShell(Shell):
    """A bare ASGI callable. Requests run on a loop of their own, in a thread of their own."""

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(store, **options)
        self.app = self.make()

    def make(self) -> Any:
        from scalekit.sessions.asgi import SessionMiddleware

        async def app(scope: Any, receive: Any, send: Any) -> None:
            result = answer(await settled(scope["tests.handler"](scope["session"])))
            headers = [(name.lower().encode(), value.encode()) for name, value in result.headers]
            await send({"type": "http.response.start", "status": result.status, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(result.data).encode()})

        return SessionMiddleware(app, store=self.store, **self.options)

    def request(self, handler: Handler, cookie: bytes | None, *, scheme: str = "http") -> Reply:
        scope = make_scope(cookie, scheme=scheme, agent=self.agent) | {"tests.handler": handler}
        return in_thread(lambda: asyncio.run(drive_asgi(self.app, scope)))


class StarletteShell(ASGIShell):
    def make(self) -> Any:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import JSONResponse
        from starlette.routing import Route

        from scalekit.sessions.asgi import SessionMiddleware

        async def endpoint(request: Request) -> JSONResponse:
            result = answer(await settled(request.scope["tests.handler"](request.session)))
            return JSONResponse(result.data, result.status, dict(result.headers))

        app = Starlette(routes=[Route("/", endpoint)])
        app.add_middleware(SessionMiddleware, store=self.store, **self.options)
        return app


class FastAPIShell(ASGIShell):
    def make(self) -> Any:
        from fastapi import FastAPI, Request
        from fastapi.responses import JSONResponse

        from scalekit.sessions.asgi import SessionMiddleware

        app = FastAPI()
        app.add_middleware(SessionMiddleware, store=self.store, **self.options)

        @app.get("/")
        async def endpoint(request: Request) -> JSONResponse:
            result = answer(await settled(request.scope["tests.handler"](request.session)))
            return JSONResponse(result.data, result.status, dict(result.headers))

        return app


class WSGIShell(Shell):
    """A bare WSGI callable, with the validator on both sides of the middleware."""

    def __init__(self, store: Store, **options: Any) -> None:
        super().__init__(store, **options)
        self.app = self.make()

    def make(self) -> Any:
        from scalekit.sessions.wsgi import SessionMiddleware, get_session

        def app(environ: Any, start_response: Any) -> Any:
            result = answer(at_once(environ["tests.handler"](get_session(environ))))
            headers = [("Content-Type", "application/json"), *result.headers]
            start_response(f"{result.status} Whatever", headers)
            return [json.dumps(result.data).encode()]

        return validator(SessionMiddleware(validator(app), store=self.store, **self.options))

    def request(self, handler: Handler, cookie: bytes | None, *, scheme: str = "http") -> Reply:
        environ = make_environ(cookie, scheme=scheme, agent=self.agent)
        return drive_wsgi(self.app, environ | {"tests.handler": handler})


class FlaskShell(WSGIShell):
    def make(self) -> Any:
        import flask

        from scalekit.sessions.flask import ServerSessionInterface

        app = flask.Flask("tests")
        app.session_interface = ServerSessionInterface(self.store, **self.options)

        @app.get("/")
        def endpoint() -> Any:
            handler = flask.request.environ["tests.handler"]
            # The proxy's object: handlers use what flask.session stands for.
            result = answer(at_once(handler(flask.session._get_current_object())))  # type: ignore[attr-defined]
            return flask.Response(json.dumps(result.data), result.status, dict(result.headers))

        return validator(app)


SHELLS: dict[str, type[Shell]] = {
    "asgi": ASGIShell,
    "starlette": StarletteShell,
    "fastapi": FastAPIShell,
    "wsgi": WSGIShell,
    "flask": FlaskShell,
}


@dataclass
class Visitor:
    """A browser with one cookie jar: keeps the session cookie that it is sent."""

    shell: Shell
    cookie: str | None = None
    scheme: str = "http"
    extra: bytes = b""

    def visit(self, handler: Handler) -> Reply:
        name = "__Host-session" if self.scheme == "https" else "session"
        header = self.extra + (f"{name}={self.cookie}".encode("latin-1") if self.cookie is not None else b"")
        reply = self.shell.request(handler, header or None, scheme=self.scheme)
        for line in reply.set_cookies:
            key, _, value = line.split(";")[0].partition("=")
            if key == name:
                self.cookie = value or None
        return reply

    def __call__(self, handler: Handler) -> Any:
        """Visit and give the JSON of a response that is a 200."""
        return self.visit(handler).json


def make_scope(
    cookie: bytes | None, *, scheme: str = "http", type: str = "http", agent: str | None = None
) -> dict[str, Any]:
    given = {b"cookie": cookie, b"user-agent": None if agent is None else agent.encode("latin-1")}
    return {
        "type": type,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": scheme,
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"test"),
            *((name, value) for name, value in given.items() if value is not None),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }


def make_environ(cookie: bytes | None, *, scheme: str = "http", agent: str | None = None) -> dict[str, Any]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {"wsgi.url_scheme": scheme, "QUERY_STRING": ""}
    if cookie is not None:
        environ["HTTP_COOKIE"] = cookie.decode("latin-1")
    if agent is not None:
        environ["HTTP_USER_AGENT"] = agent
    return environ


async def drive_asgi(app: Any, scope: dict[str, Any]) -> Reply:
    """One request without a body; what the application sent."""
    sent: list[Any] = []
    requested = False

    async def receive() -> Any:
        nonlocal requested
        if not requested:
            requested = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await asyncio.Event().wait()
        return None

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *bodies = sent
    assert start["type"] == "http.response.start"
    assert {message["type"] for message in bodies} <= {"http.response.body"}
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    return Reply(start["status"], headers, b"".join(message.get("body", b"") for message in bodies))


def drive_wsgi(app: Any, environ: dict[str, Any]) -> Reply:
    """One request; what the application sent."""
    started: list[Any] = []
    written: list[bytes] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        started[:] = [status, headers]
        return written.append

    body = app(environ, start_response)
    try:
        written.extend(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    status, headers = started
    return Reply(int(status[:3]), [(name.lower(), value) for name, value in headers], b"".join(written))


def in_thread(call: Callable[[], Any]) -> Any:
    """The result of ``call`` in a thread of its own, where no event loop runs yet."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  it is raised again where it can be seen
            errors.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
