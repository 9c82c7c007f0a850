"""Health and drain for any WSGI application."""

import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from scalekit import _http
from scalekit._options import check_kind
from scalekit.dependencies import Dependent
from scalekit.ops import probes
from scalekit.ops._wsgi_body import HeldBody
from scalekit.ops.checks import check_blocking, refresh
from scalekit.ops.drain import Drain
from scalekit.ops.health import Check, Health
from scalekit.ops.pieces import expanded
from scalekit.types import Environ, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse, WSGIApplication


class OpsMiddleware:
    """Answers ``/health/live``, ``/health/ready`` and ``/health/startup``, and drains the server at its end.

    Args:
        app: the WSGI application; for Flask ``app.wsgi_app = OpsMiddleware(app.wsgi_app)``.
        checks: what readiness depends on; none by default. A :class:`~scalekit.ops.Check`, or a piece, such
            as a cluster or a cache, that has checks of its own. Coroutine functions are for ASGI.
        drain: a :class:`~scalekit.ops.Drain` with other options than the default, or one to watch.
        path: the folder of the probes.

    Signals are chained when the middleware is built. Build it in the main thread of the process that
    serves, as gunicorn does without ``--preload``; otherwise call ``drain.install()`` there.

    WSGI leaves the ``Connection`` header to the server (PEP 3333), so that a drain cannot send it here.

    Raises:
        ConfigurationError: ``path`` is not absolute, two checks have one name, or something is no check or no
            drain.
        WrongColour: a check is a coroutine function.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        checks: Iterable[Check | Dependent] = (),
        drain: Drain | None = None,
        path: str = "/health",
    ) -> None:
        self.app = app
        self.health = Health(expanded(checks, "sync"))
        check_blocking(self.health)
        self.drain = Drain() if drain is None else drain
        check_kind(self.drain, Drain, option="drain=", wanted="a Drain, such as Drain(delay=10)")
        self._path = probes.checked_path(path)
        self.drain.install()

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        self.drain.install()  # again only in a fork
        probe = probes.probe_for(environ.get("PATH_INFO", ""), self._path)
        if probe is not None:
            environ[probes.MARK] = True
            return self._answer(probe, environ, start_response)
        self.drain.enter()
        try:
            body = self.app(environ, start_response)
        except BaseException:
            self.drain.leave()
            raise
        return HeldBody(body, self.drain.leave)

    def _answer(self, probe: probes.Probe, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        self.drain.probed()
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            answer = probes.not_allowed()
        elif probe == "live":
            answer = probes.live()
        else:
            refresh(self.health)
            report = self.health.report(time.monotonic(), draining=self.drain.draining)
            if probe == "ready":
                answer = probes.ready(report)
            else:
                answer = probes.startup(report, started=self.health.started)
        status = HTTPStatus(answer.status)
        start_response(f"{status.value} {status.phrase}", _http.to_wsgi(answer.headers))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]
