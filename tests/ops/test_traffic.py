"""Requests, counted by the middlewares as a server calls them."""

import asyncio
import threading
from typing import Any

import httpx
import pytest

from scalekit.errors import ConfigurationError
from scalekit.metrics import Distribution, Metric, counter
from scalekit.ops import Metrics
from scalekit.ops.asgi import MetricsMiddleware, OpsMiddleware
from scalekit.ops.queue_time import wait_of, waited
from scalekit.ops.wsgi import MetricsMiddleware as WSGIMetricsMiddleware
from scalekit.ops.wsgi import OpsMiddleware as WSGIOpsMiddleware
from scalekit.types import Message, Receive, Scope, Send

NOW = 1_800_000_000.0


def requests(metrics: Metrics) -> dict[tuple[str, str], float]:
    found = next(metric for metric in metrics.collect() if metric.name == "scalekit_http_requests")
    return {(s.labels["method"], s.labels["status"]): s.value for s in found.samples}  # type: ignore[misc]


def seen(metrics: Metrics, name: str) -> int:
    found = next(metric for metric in metrics.collect() if metric.name == name)
    value = found.samples[0].value
    assert isinstance(value, Distribution)
    return value.buckets[-1][1]


def number(metrics: Metrics, name: str) -> float:
    found = next(metric for metric in metrics.collect() if metric.name == name)
    assert not isinstance(found.samples[0].value, Distribution)
    return found.samples[0].value


@pytest.mark.parametrize(
    "said",
    [
        "t=1799999999.5",
        "1799999999.500",
        "t=1799999999500",
        "1799999999500",
        "t=1799999999500000",
        " 1799999999500000000 ",
    ],
    ids=["nginx", "seconds", "milliseconds", "Heroku", "Apache", "nanoseconds"],
)
def test_every_balancer_is_understood(said: str) -> None:
    """Seconds, milliseconds, microseconds and nanoseconds, with and without `t=`."""
    assert wait_of(said, NOW) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "t=",
        "now",
        "nan",
        "inf",
        "-5",
        "1_799_999_999",
        "1e9",
        "0",
        "12345",
        "t=1799999000",
        "t=1800000001",
        "1" * 400,
        "١٧٩٩٩٩٩٩٩٩",
        "1799999999.5.1",
    ],
)
def test_what_cannot_be_is_not_believed(said: str) -> None:
    """Other texts, other times than the last minute, and whatever else a visitor may send."""
    assert wait_of(said, NOW) is None


def test_clocks_may_differ_a_little() -> None:
    """A balancer whose clock is ahead by less than a tenth of a second tells of a wait of nothing."""
    assert wait_of("t=1800000000.05", NOW) == 0
    assert waited([(b"host", b"x"), (b"x-queue-start", b"t=1799999999")], NOW) == 1
    assert waited([(b"host", b"x")], NOW) is None


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/boom":
        raise RuntimeError("boom")
    if scope["path"] == "/gone":
        raise asyncio.CancelledError
    if scope["path"] == "/silent":
        return
    status = int(scope["path"][1:] or 200)
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b"})


async def nothing() -> Message:
    return {"type": "http.request"}


async def call(
    middleware: MetricsMiddleware, path: str, method: str = "GET", **headers: str
) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "method": method, "headers": pairs, "server": ("127.0.0.1", 8000)}
    await middleware(scope, nothing, send)
    return sent


async def test_requests_are_counted_by_method_and_class() -> None:
    """One that failed is a 5xx, one whose client left none at all; what no method is called is `other`."""
    middleware = MetricsMiddleware(app)
    for path in ("/200", "/204", "/304", "/404", "/503"):
        await call(middleware, path)
    await call(middleware, "/200", "POST")
    await call(middleware, "/200", "BREW" * 100)
    await call(middleware, "/silent")
    with pytest.raises(RuntimeError):
        await call(middleware, "/boom")
    with pytest.raises(asyncio.CancelledError):
        await call(middleware, "/gone")
    assert requests(middleware.metrics) == {
        ("GET", "2xx"): 2,
        ("GET", "3xx"): 1,
        ("GET", "4xx"): 1,
        ("GET", "5xx"): 2,
        ("GET", "none"): 2,
        ("POST", "2xx"): 1,
        ("other", "2xx"): 1,
    }
    assert seen(middleware.metrics, "scalekit_http_request_seconds") == 10
    assert seen(middleware.metrics, "scalekit_http_queue_seconds") == 0
    assert middleware.metrics.traffic.in_flight == 0


async def test_a_request_is_in_flight_until_the_last_byte_and_not_longer() -> None:
    """A stream is in flight while it lasts; a background task after the response is nothing that waits."""
    flights: list[int] = []

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        flights.append(middleware.metrics.traffic.in_flight)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        flights.append(middleware.metrics.traffic.in_flight)
        await send({"type": "http.response.body", "body": b""})
        flights.append(middleware.metrics.traffic.in_flight)

    middleware = MetricsMiddleware(streaming)
    await call(middleware, "/")
    assert flights == [1, 1, 0]


async def test_the_balancers_time_is_the_time_in_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """From either header, in both shells; what is not sane is not counted."""
    monkeypatch.setattr("time.time", lambda: NOW)
    middleware, wsgi = MetricsMiddleware(app), WSGIMetricsMiddleware(respond)
    await call(middleware, "/200", x_request_start="t=1799999999.8")
    await call(middleware, "/200", x_queue_start="1799999999700")
    await call(middleware, "/200", x_request_start="t=5")
    for name in ("HTTP_X_REQUEST_START", "HTTP_X_QUEUE_START"):
        answered(wsgi, "/200", **{name: "t=1799999999.75"})
    answered(wsgi, "/200", HTTP_X_REQUEST_START="soon")
    for metrics in (middleware.metrics, wsgi.metrics):
        assert seen(metrics, "scalekit_http_queue_seconds") == 2
        found = next(m for m in metrics.collect() if m.name == "scalekit_http_queue_seconds")
        assert found.samples[0].value.sum == pytest.approx(0.5, abs=1e-3)  # type: ignore[union-attr]


async def test_probes_are_no_requests() -> None:
    """What the OpsMiddleware inside answers is not counted, in both shells, and nothing stays in flight: of a
    server that drains each probe would be a 5xx."""
    middleware, wsgi = (
        MetricsMiddleware(OpsMiddleware(app)),
        WSGIMetricsMiddleware(WSGIOpsMiddleware(respond)),
    )
    try:
        middleware.app.drain.start()
        wsgi.app.drain.start()
        assert (await call(middleware, "/health/ready"))[0]["status"] == 503
        await call(middleware, "/health/live", "HEAD")
        answered(wsgi, "/health/ready")
        await call(middleware, "/200")
        answered(wsgi, "/200")
    finally:
        wsgi.app.drain.uninstall()
    for metrics in (middleware.metrics, wsgi.metrics):
        assert requests(metrics) == {("GET", "2xx"): 1}
        assert seen(metrics, "scalekit_http_request_seconds") == 1
        assert metrics.traffic.in_flight == 0


async def test_websockets_are_counted_apart_and_other_scopes_not() -> None:
    """An open WebSocket is no request that somebody waits for."""
    numbers: list[float] = []

    async def socket(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            numbers.append(number(middleware.metrics, "scalekit_http_websockets"))
            raise RuntimeError

    middleware = MetricsMiddleware(socket, path=None)
    with pytest.raises(RuntimeError):
        await middleware({"type": "websocket", "path": "/"}, nothing, None)  # type: ignore[arg-type]
    await middleware({"type": "lifespan"}, nothing, None)  # type: ignore[arg-type]
    assert numbers == [1]
    assert number(middleware.metrics, "scalekit_http_websockets") == 0
    assert requests(middleware.metrics) == {}


class Thing:
    def metrics(self) -> list[Metric]:
        return [counter("hits", "H.", 3)]


def scraping(folder: Any) -> dict[str, Any]:
    pytest.importorskip("prometheus_client")
    return {"metrics": Metrics({"cache": Thing()}), "path": "/metrics", "directory": folder}


async def test_a_scrape_is_answered_and_not_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """GET and HEAD have the numbers, under a root path too; nothing else is taken from the application."""
    middleware = MetricsMiddleware(app, **scraping(tmp_path_factory.mktemp("m")))
    for root in ("", "/shop"):
        transport = httpx.ASGITransport(app=middleware, root_path=root)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            got = await http.get(f"{root}/metrics")
            assert (got.status_code, got.headers["cache-control"]) == (200, "no-store")
            assert got.headers["content-type"].startswith("text/plain; version=")
            assert 'hits_total{name="cache",process="' in got.text
            head = await http.head(f"{root}/metrics")
            assert (head.status_code, head.content) == (200, b"")
            opened = await http.get(f"{root}/metrics", headers={"accept": "application/openmetrics-text"})
            assert opened.text.endswith("# EOF\n")
            posted = await http.post(f"{root}/metrics")
            assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
    assert requests(middleware.metrics) == {}
    await call(middleware, "/200")
    assert requests(middleware.metrics) == {("GET", "2xx"): 1}
    assert middleware._scrapes is not None
    middleware._scrapes.siblings.close()


async def test_without_a_path_nothing_is_served() -> None:
    """The application has all of its paths."""
    assert (await call(MetricsMiddleware(app), "/404"))[0]["status"] == 404


def respond(environ: dict[str, Any], start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise RuntimeError("boom")
    start_response(f"{path[1:]} X", [])
    return [b"a", b"b"]


def answered(
    middleware: WSGIMetricsMiddleware, path: str, method: str = "GET", **environ: str
) -> tuple[Any, Any]:
    started: list[Any] = []
    asked = {"PATH_INFO": path, "REQUEST_METHOD": method, "REMOTE_ADDR": "::1", "SERVER_PORT": "1", **environ}
    body = middleware(asked, lambda *start: started.append(start))  # type: ignore[arg-type,return-value,func-returns-value]
    content = b"".join(body)
    if hasattr(body, "close"):
        body.close()
        body.close()  # twice is once
    return started[0], content


def test_wsgi_requests_are_counted_alike(tmp_path_factory: pytest.TempPathFactory) -> None:
    """By method and class, with what raises as 5xx; in flight until the body is closed; scraped, too."""
    middleware = WSGIMetricsMiddleware(respond, **scraping(tmp_path_factory.mktemp("m")))
    assert answered(middleware, "/200") == (("200 X", []), b"ab")
    answered(middleware, "/404", "PUT")
    with pytest.raises(RuntimeError):
        answered(middleware, "/boom")
    body = middleware({"PATH_INFO": "/200", "REQUEST_METHOD": "GET"}, lambda *start: None)  # type: ignore[arg-type,return-value]
    assert middleware.metrics.traffic.in_flight == 1
    body.close()  # type: ignore[attr-defined]
    assert middleware.metrics.traffic.in_flight == 0
    assert requests(middleware.metrics) == {("GET", "2xx"): 2, ("PUT", "4xx"): 1, ("GET", "5xx"): 1}
    (status, headers), text = answered(middleware, "/metrics")
    assert status == "200 OK"
    assert ("cache-control", "no-store") in [(name.lower(), value) for name, value in headers]
    assert b'hits_total{name="cache",process="' in text
    assert answered(middleware, "/metrics", "DELETE")[0][0] == "405 Method Not Allowed"
    assert answered(middleware, "/metrics", "HEAD")[1] == b""
    assert middleware._scrapes is not None
    middleware._scrapes.siblings.close()


def test_a_wsgi_body_that_fails_first_is_a_5xx() -> None:
    """An iterable that raises before it has started a response."""

    def late(environ: dict[str, Any], start_response: Any) -> Any:
        raise RuntimeError
        yield b""

    middleware = WSGIMetricsMiddleware(late)
    body = middleware({"PATH_INFO": "/", "REQUEST_METHOD": "GET"}, lambda *start: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(RuntimeError):
        list(body)
    body.close()  # type: ignore[attr-defined]
    assert requests(middleware.metrics) == {("GET", "5xx"): 1}


def test_threads_count_all() -> None:
    """Requests of eight threads at once are all there in the end, and none is in flight."""
    middleware = WSGIMetricsMiddleware(respond)

    def visit() -> None:
        for _ in range(500):
            answered(middleware, "/200", HTTP_X_REQUEST_START="t=1")

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert requests(middleware.metrics) == {("GET", "2xx"): 4000}
    assert seen(middleware.metrics, "scalekit_http_request_seconds") == 4000
    assert middleware.metrics.traffic.in_flight == 0


def test_mistakes_are_told_at_start_up() -> None:
    """An application of the other interface, something else for metrics, a path without a slash."""
    with pytest.raises(ConfigurationError, match=r"scalekit\.ops\.wsgi"):
        MetricsMiddleware(respond)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"scalekit\.ops\.asgi"):
        WSGIMetricsMiddleware(app)  # type: ignore[arg-type]
    for make in (
        lambda **options: MetricsMiddleware(app, **options),
        lambda **o: WSGIMetricsMiddleware(respond, **o),
    ):
        with pytest.raises(ConfigurationError, match="metrics= must be a Metrics"):
            make(metrics={"cache": Thing()})
    pytest.importorskip("prometheus_client")
    for path in ("metrics", "", "/"):
        with pytest.raises(ConfigurationError, match="path="):
            MetricsMiddleware(app, path=path)
