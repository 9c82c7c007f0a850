"""The requests of any WSGI application, counted."""

import os
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from scalekit import _http
from scalekit._options import check_application, check_kind
from scalekit.ops.collecting import Metrics
from scalekit.ops.probes import MARK
from scalekit.ops.queue_time import wait_of
from scalekit.ops.scraping import Scrapes
from scalekit.types import Environ, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse, WSGIApplication


class MetricsMiddleware:
    """Counts requests, and answers scrapes of Prometheus if it is given a path for them.

    Put it outermost: in Flask ``app.wsgi_app = MetricsMiddleware(app.wsgi_app)``, after all others.

    Args:
        app: the WSGI application.
        metrics: what else reports; by default the requests do alone.
        path: where Prometheus asks, such as ``"/metrics"``; by default nowhere. It is as public as the
            application: let the balancer keep others away from it.
        directory: where the processes of one server meet, so that a scrape of one tells the numbers of all;
            by default they find each other, see :mod:`scalekit.ops.siblings`.

    Raises:
        ConfigurationError: ``metrics`` is none, ``path`` or ``directory`` is wrong, or ``app`` is ASGI.
        MissingExtra: with a ``path``, ``prometheus_client`` is not installed.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        metrics: Metrics | None = None,
        path: str | None = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> None:
        cure = "use MetricsMiddleware of scalekit.ops.asgi"
        check_application(app, "WSGI", taker="the WSGI MetricsMiddleware", cure=cure)
        self.app = app
        self.metrics = Metrics() if metrics is None else metrics
        check_kind(
            self.metrics, Metrics, option="metrics=", wanted="a Metrics, such as Metrics({'cache': cache})"
        )
        self._scrapes = None if path is None else Scrapes(self.metrics, path, directory)

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        scrapes = self._scrapes
        if scrapes is not None:
            if not scrapes.siblings.joined:
                scrapes.arrive(_place(environ))
            if environ.get("PATH_INFO") == scrapes.path:
                return _answer(scrapes, environ, start_response)
        exchange = _Exchange(self.metrics, environ)
        try:
            exchange.body = self.app(environ, exchange.starting(start_response))
        except Exception:
            exchange.status = exchange.status or 500
            exchange.end()
            raise
        except BaseException:
            exchange.end()
            raise
        return exchange


class _Exchange:
    """One request, and the body of its response until the server closes that."""

    def __init__(self, metrics: Metrics, environ: Environ) -> None:
        self._traffic = metrics.traffic
        self._environ = environ
        self.status = 0
        self.body: WSGIBody = ()
        said = environ.get("HTTP_X_REQUEST_START") or environ.get("HTTP_X_QUEUE_START")
        self._began: float | None = self._traffic.begin(wait_of(said, time.time()) if said else None)

    def starting(self, start_response: "StartResponse") -> Callable[..., Any]:
        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            self.status = int(status[:3]) if status[:3].isdigit() else 0
            return start_response(status, headers, *exc_info)

        return start

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self.body
        except Exception:
            self.status = self.status or 500
            raise

    def close(self) -> None:
        try:
            close = getattr(self.body, "close", None)
            if close is not None:
                close()
        finally:
            self.end()

    def end(self) -> None:
        began, self._began = self._began, None
        if began is None:
            return
        if MARK in self._environ:
            self._traffic.drop()
        else:
            self._traffic.end(began, self._environ["REQUEST_METHOD"], self.status)


def _answer(scrapes: Scrapes, environ: Environ, start_response: "StartResponse") -> WSGIBody:
    answer = scrapes.answer(environ["REQUEST_METHOD"], environ.get("HTTP_ACCEPT", ""))
    status = HTTPStatus(answer.status)
    start_response(f"{status.value} {status.phrase}", _http.to_wsgi(answer.headers))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]


def _place(environ: Environ) -> object:
    """Where the server listens: its port. Of a Unix socket visitors may choose what stands for that."""
    return environ.get("SERVER_PORT") if environ.get("REMOTE_ADDR") else None
