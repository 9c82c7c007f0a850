"""The WSGI shell of load shedding, under the validator of PEP 3333."""

import time
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from scalekit.errors import ConfigurationError
from scalekit.ops import Limits, Priority, Rule, Shedding
from scalekit.ops.wsgi import SheddingMiddleware
from scalekit.types import Environ

FULL = Limits(minimum=1, initial=1, maximum=1)


def hello(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"hello"


def begin(app: Any, path: str = "/", method: str = "GET", **more: str) -> tuple[Any, list[Any]]:
    """The body, not read yet, and what the response has begun with."""
    environ: Environ = {"PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": "", "SCRIPT_NAME": ""}
    environ |= more
    setup_testing_defaults(environ)
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [status, dict(headers)]
        return lambda data: None

    return validator(app)(environ, start_response), started


def call(app: Any, path: str = "/", method: str = "GET", **more: str) -> tuple[str, dict[str, str], bytes]:
    body, started = begin(app, path, method, **more)
    content = b"".join(body)
    body.close()
    return started[0], started[1], content


def full() -> SheddingMiddleware:
    middleware = SheddingMiddleware(validator(hello), shedding=Shedding(limits=FULL))
    middleware.shedding.enter(Priority.NORMAL)
    return middleware


def test_a_full_server_answers_503() -> None:
    """Browsers get the page, others a problem; probes pass."""
    status, headers, body = call(full(), HTTP_ACCEPT="text/html")
    assert status == "503 Service Unavailable"
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert (headers["Cache-Control"], headers["Content-Length"]) == ("no-store", str(len(body)))
    assert 5 <= int(headers["Retry-After"]) <= 10
    assert call(full())[1]["Content-Type"] == "application/problem+json"
    assert call(full(), method="HEAD")[2] == b""
    assert call(full(), "/health/live")[2] == b"hello"


def test_a_long_body_leaves_the_connection_to_the_server() -> None:
    """An application may not send `Connection` (PEP 3333): the validator would refuse it."""
    headers = call(full(), method="POST", CONTENT_LENGTH="1000000")[1]
    assert "Connection" not in headers


def test_a_slot_is_held_until_the_body_is_closed() -> None:
    """A response counts from its call to `close()`, and closing twice is closing once."""
    middleware = SheddingMiddleware(validator(hello), shedding=Shedding(limits=FULL))
    body, started = begin(middleware)
    assert middleware.shedding.in_flight == 1
    assert call(middleware)[0].startswith("503")
    assert b"".join(body) == b"hello"
    assert middleware.shedding.in_flight == 1
    body.close()
    body.close()
    assert middleware.shedding.in_flight == 0
    assert started[0] == "200 OK"
    assert call(middleware)[2] == b"hello"


def test_exceptions_free_the_slot() -> None:
    """In the call, in the body, in its close, before and after the response began."""

    class Body:
        def __init__(self, fails_in: str) -> None:
            self.fails_in = fails_in

        def __iter__(self) -> Iterator[bytes]:
            if self.fails_in == "body":
                raise ValueError
            yield b"hello"

        def close(self) -> None:
            if self.fails_in == "close":
                raise ValueError

    def failing(environ: Environ, start_response: Any) -> Any:
        if environ["fails in"] == "call":
            raise ValueError
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["fails in"] == "call, begun":
            raise ValueError
        return Body(environ["fails in"])

    for place in ("call", "call, begun", "body", "close"):
        middleware = SheddingMiddleware(failing, shedding=Shedding(limits=FULL))
        environ: Environ = {"fails in": place}
        setup_testing_defaults(environ)

        def serve(middleware: SheddingMiddleware = middleware, environ: Environ = environ) -> None:
            body = middleware(environ, lambda *_: lambda data: None)
            try:
                list(body)
            finally:
                body.close()  # type: ignore[attr-defined]

        with pytest.raises(ValueError):
            serve()
        assert middleware.shedding.in_flight == 0, place


def test_event_streams_leave_the_limit_to_others() -> None:
    """An event stream counts against `maximum`, and not against the limit."""

    def events(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return [b"data: 1\n\n"]

    shedding = Shedding(limits=Limits(minimum=1, initial=1, maximum=2))
    middleware = SheddingMiddleware(validator(events), shedding=shedding)
    body, _ = begin(middleware)
    assert shedding.in_flight == 1
    assert call(middleware)[0] == "200 OK"
    assert b"".join(body) == b"data: 1\n\n"
    body.close()


def test_priorities() -> None:
    """Rules and `classify` see the path and the environ."""
    seen = []

    def classify(environ: Environ) -> Priority | None:
        seen.append(environ["PATH_INFO"])
        return Priority.EXEMPT if environ["PATH_INFO"] == "/in" else None

    rules = [Rule(path="/checkout", priority=Priority.CRITICAL)]
    shedding = Shedding(limits=Limits(minimum=1, initial=1, maximum=9), rules=rules, classify=classify)
    middleware = SheddingMiddleware(validator(hello), shedding=shedding)
    shedding.enter(Priority.NORMAL)
    assert call(middleware, "/in")[2] == call(middleware, "/checkout/pay")[2] == b"hello"
    assert call(middleware, "/")[0].startswith("503")
    assert seen == ["/in", "/checkout/pay", "/"]


def test_the_time_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `queue_header` the wait for the application counts: who waited through a queue is turned away.
    Without it, and where the header says nothing sensible, none is known.
    """
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now)  # a tenth of a second more would be a queue
    shedding = Shedding()
    middleware = SheddingMiddleware(validator(hello), shedding=shedding, queue_header="X-Request-Start")

    def lag() -> float:
        found = {metric.name: metric.samples[0].value for metric in shedding.metrics()}
        value = found["scalekit_shed_lag_seconds"]
        assert isinstance(value, float)
        return value

    call(middleware, HTTP_X_REQUEST_START="t=soon")
    assert lag() == 0.0
    call(middleware, HTTP_X_REQUEST_START=f"t={time.time() - 20:.3f}")
    assert lag() >= 19
    call(SheddingMiddleware(hello, shedding=shedding), HTTP_X_REQUEST_START=f"t={time.time() - 50:.3f}")
    assert lag() < 49
    shedding._limit._standing = True
    assert call(middleware, HTTP_X_REQUEST_START=f"t={time.time() - 20:.3f}")[0].startswith("503")
    assert call(middleware, HTTP_X_REQUEST_START=f"t={time.time():.3f}")[0].startswith("200")


def test_what_is_refused() -> None:
    """An ASGI application, something that is no Shedding, and a header that has no name."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None: ...

    with pytest.raises(ConfigurationError, match=r"use scalekit\.ops\.asgi"):
        SheddingMiddleware(asgi)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="shedding= must be a Shedding"):
        SheddingMiddleware(hello, shedding=True)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="queue_header= must be the name"):
        SheddingMiddleware(hello, queue_header="X Request Start")
