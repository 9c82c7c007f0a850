"""Cookies that real Starlette and Flask applications have set, and a browser that holds several."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scalekit.sessions.migration import FlaskCookie, LegacyCookie, StarletteCookie
from tests.sessions.shells import Handler, Reply, Shell, drive_asgi, in_thread, make_scope

OLD = "0ld-s3cret"


def value_of(line: str) -> str:
    return line.split(";")[0].partition("=")[2]


def starlette_value(data: dict[str, Any], **options: Any) -> str:
    """What Starlette's middleware sends for ``data``."""
    from starlette.middleware.sessions import SessionMiddleware

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["session"].update(data)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    old = SessionMiddleware(app, **{"secret_key": OLD, **options})
    reply = in_thread(lambda: asyncio.run(drive_asgi(old, make_scope(None))))
    return value_of(reply.set_cookies[0])


def flask_value(data: dict[str, Any], *, secret_key: str = OLD, **attributes: Any) -> str:
    """What Flask sends for ``data``; ``attributes`` are those of its session interface."""
    import flask
    from flask.sessions import SecureCookieSessionInterface

    app = flask.Flask("old")
    app.secret_key = secret_key
    app.session_interface = type("Interface", (SecureCookieSessionInterface,), attributes)()

    @app.get("/")
    def endpoint() -> str:
        flask.session.update(data)
        return ""

    return value_of(app.test_client().get("/").headers["Set-Cookie"])


VALUES: dict[str, Callable[..., str]] = {"starlette": starlette_value, "flask": flask_value}
COOKIES: dict[str, type[LegacyCookie]] = {"starlette": StarletteCookie, "flask": FlaskCookie}


@dataclass
class Browser:
    """A jar with cookies by name; knows no paths and no domains."""

    shell: Shell
    jar: dict[str, str] = field(default_factory=dict)
    scheme: str = "https"

    def visit(self, handler: Handler) -> Reply:
        header = "; ".join(f"{name}={value}" for name, value in self.jar.items()).encode("latin-1")
        reply = self.shell.request(handler, header or None, scheme=self.scheme)
        self.keep(reply.set_cookies)
        return reply

    def keep(self, lines: list[str]) -> None:
        for line in lines:
            name = line.partition("=")[0]
            self.jar[name] = value_of(line)
            if not self.jar[name]:
                del self.jar[name]

    def __call__(self, handler: Handler) -> Any:
        return self.visit(handler).json
