"""Sessions under WSGI: reading one value of a session of 20 keys and 1 KB, in one thread.

* in Flask, against Flask-Session as it comes, which stores the session again with each request to extend it,
  and with that switched off, so that its sessions end however active the visitor is;
* in a bare WSGI application.

What the application takes without a session is taken off every number, so that the table tells what a session
adds. The floor is one ``GET`` of 1 KB with redis-py and its decoding.
"""

import io
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any

import flask
import flask_session.redis
import msgspec
import redis

from benchmarks._session_apps import DATA, SECRET, cookies_of
from benchmarks.harness import Case, Contender
from scalekit.sessions.flask import ServerSessionInterface
from scalekit.sessions.redis import RedisStore
from scalekit.sessions.wsgi import SessionMiddleware, get_session
from tests.servers import RedisServer

PEER = f"Flask-Session {version('flask-session')}"
UNITS = 128


def flask_app(interface: Any = None, client: Any = None, *, refresh: bool = True) -> flask.Flask:
    app = flask.Flask(__name__)
    app.secret_key = SECRET
    app.config["SESSION_REFRESH_EACH_REQUEST"] = refresh
    if interface is not None:
        app.session_interface = interface(app)
    decode = msgspec.msgpack.Decoder(dict[str, str]).decode

    @app.get("/read")
    def read() -> str:
        assert flask.session["key-07"] == DATA["key-07"]
        return "ok"

    @app.get("/fill")
    def fill() -> str:
        flask.session.update(DATA)
        return "ok"

    @app.get("/floor")
    def floor() -> str:
        assert decode(client.get("floor"))["key-07"] == DATA["key-07"]
        return "ok"

    @app.get("/untouched")
    def untouched() -> str:
        return "ok"

    return app


def bare(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def reads(environ: Any, start_response: Any) -> Any:
    assert get_session(environ)["key-07"] == DATA["key-07"]
    return bare(environ, start_response)


def fills(environ: Any, start_response: Any) -> Any:
    get_session(environ).update(DATA)
    return bare(environ, start_response)


def call(app: Any, path: str, cookie: str | None = None) -> list[tuple[str, str]]:
    """One request as a server makes it; the headers of the response."""
    answer: list[Any] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "shop",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
    }
    if cookie is not None:
        environ["HTTP_COOKIE"] = cookie
    body = app(environ, lambda status, headers, exc_info=None: answer.append((status, headers)))
    b"".join(body)
    if hasattr(body, "close"):
        body.close()
    assert answer[0][0] == "200 OK"
    headers: list[tuple[str, str]] = answer[0][1]
    return headers


def requests(app: Any, path: str, fill: Any = None) -> Contender:
    """``UNITS`` requests, by a visitor who has a session if there is a ``fill``."""
    cookie = None
    if fill is not None:
        cookie = cookies_of([(name.encode(), value.encode()) for name, value in call(fill, "/fill")])

    def run() -> None:
        for _ in range(UNITS):
            call(app, path, cookie)

    return run


async def cases() -> AsyncIterator[Case]:
    with RedisServer() as server, redis.Redis.from_url(server.url) as client:
        client.set("floor", msgspec.msgpack.encode(DATA))
        decode = msgspec.msgpack.Decoder(dict[str, str]).decode

        def floor(environ: Any, start_response: Any) -> Any:
            assert decode(client.get("floor"))["key-07"] == DATA["key-07"]
            return bare(environ, start_response)

        store = RedisStore.from_url(server.url)
        ours = flask_app(lambda app: ServerSessionInterface(store, secret_key=SECRET))
        plain = flask_app(client=client)

        def theirs(*, refresh: bool) -> Contender:
            app = flask_app(
                lambda app: flask_session.redis.RedisSessionInterface(app, client), refresh=refresh
            )
            return requests(app, "/read", fill=app)

        yield Case(
            piece="sessions",
            name="read, Flask, over the application",
            ours=requests(ours, "/read", fill=ours),
            peers={PEER: theirs(refresh=True), f"{PEER}, never extended": theirs(refresh=False)},
            floor=requests(plain, "/floor"),
            base=requests(plain, "/untouched"),
            units=UNITS,
        )
        yield Case(
            piece="sessions",
            name="read, WSGI, over the bare application",
            ours=requests(
                SessionMiddleware(reads, store=store, secret_key=SECRET),
                "/read",
                fill=SessionMiddleware(fills, store=store, secret_key=SECRET),
            ),
            peers={},
            floor=requests(floor, "/"),
            base=requests(bare, "/"),
            units=UNITS,
        )
