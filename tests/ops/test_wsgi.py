"""The WSGI shell, under the validator of PEP 3333."""

import json
import signal
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from scalekit.errors import ConfigurationError, WrongColour
from scalekit.ops import Check, Drain, asgi
from scalekit.ops.wsgi import OpsMiddleware
from scalekit.types import Environ


def hello(environ: Environ, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"hello"


def call(
    app: Any, path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[str, dict[str, str], bytes]:
    path, _, query = path.partition("?")
    environ: Environ = {"PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": query, "SCRIPT_NAME": ""}
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()}
    setup_testing_defaults(environ)
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        started[:] = [status, headers]
        return lambda data: None

    body = validator(app)(environ, start_response)
    try:
        content = b"".join(body)
    finally:
        body.close()  # type: ignore[attr-defined]
    return started[0], dict(started[1]), content


def ops(app: Any = hello, **options: Any) -> OpsMiddleware:
    options.setdefault("drain", Drain(signals=()))
    return OpsMiddleware(validator(app), **options)


def test_probes_and_application() -> None:
    """Probes answer as in ASGI; every other path is the application's."""
    app = ops()
    for path, status in (("/health/live", "live"), ("/health/ready", "ready")):
        line, headers, body = call(app, path)
        assert line == "200 OK"
        assert headers["Cache-Control"] == "no-store"
        assert json.loads(body)["status"] == status
    assert call(app, "/health")[2] == b"hello"
    assert call(app, "/health/ready", "HEAD")[2] == b""
    assert call(app, "/health/ready", "POST")[0] == "405 Method Not Allowed"


@pytest.mark.parametrize("wrap", [lambda check: check, partial])
def test_a_coroutine_function_is_refused_at_start_up(wrap: Any) -> None:
    """WSGI has no loop to await it on: readiness would be 503 for ever."""

    async def ping() -> None: ...

    message = (
        "the check 'database' under WSGI wants a synchronous function, but was given an asynchronous one"
    )
    with pytest.raises(WrongColour, match=message):
        ops(checks=[Check("database", wrap(ping))])


@pytest.mark.parametrize("shell", [OpsMiddleware, asgi.OpsMiddleware])
def test_what_is_no_drain_is_refused(shell: Any) -> None:
    """The seconds of a delay are not yet a drain."""
    with pytest.raises(
        ConfigurationError, match=r"drain= must be a Drain, such as Drain\(delay=10\), not int"
    ):
        shell(hello, drain=10)


def test_checks_and_drain() -> None:
    """A failed required check and a drain answer 503; requests are served on."""
    line, _, body = call(ops(checks=[Check("database", lambda: False)]), "/health/ready")
    assert line == "503 Service Unavailable"
    assert json.loads(body)["checks"]["database"]["error"] == "returned False"

    drain = Drain(signals=())
    app = ops(drain=drain)
    drain.start()
    assert call(app, "/health/ready")[0] == "503 Service Unavailable"
    assert call(app, "/health/live")[0] == "200 OK"
    assert call(app)[2] == b"hello"


def test_in_flight_until_the_body_is_closed() -> None:
    """A response that streams is in flight until the server closes it, once; an error ends it too."""
    drain = Drain(signals=())
    app = OpsMiddleware(hello, drain=drain)
    environ: Environ = {}
    setup_testing_defaults(environ)
    body: Any = app(environ, lambda *_: lambda data: None)
    assert drain.in_flight == 1
    assert list(body) == [b"hello"]
    assert drain.in_flight == 1
    body.close()
    body.close()
    assert drain.in_flight == 0

    def broken(environ: Environ, start_response: Any) -> list[bytes]:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        OpsMiddleware(broken, drain=drain)(environ, lambda *_: lambda data: None)
    assert drain.in_flight == 0


def test_built_in_the_main_thread_it_chains_the_signal() -> None:
    """WSGI has no start-up event, so that the handler is put in front when the middleware is built."""
    before, drain = signal.getsignal(signal.SIGTERM), Drain()
    try:
        OpsMiddleware(hello, drain=drain)
        assert signal.getsignal(signal.SIGTERM) != before
    finally:
        drain.uninstall()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_stream_looks_at_the_drain() -> None:
    """An endless body ends itself when the drain has begun, and is in flight until then."""
    drain = Drain(signals=())

    def stream(environ: Environ, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        while not drain.draining:
            yield b"data: hello\n\n"
        yield b"event: bye\n\n"

    environ: Environ = {}
    setup_testing_defaults(environ)
    body: Any = OpsMiddleware(stream, drain=drain)(environ, lambda *_: lambda data: None)
    pieces = iter(body)
    assert next(pieces) == b"data: hello\n\n"
    drain.start()
    assert list(pieces) == [b"event: bye\n\n"]
    assert not drain.drained
    body.close()
    assert drain.in_flight == 0
