"""Assets and pages under WSGI: the twin of :mod:`scalekit.cdn.asgi`."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from scalekit._options import check_application
from scalekit.cdn import serve
from scalekit.cdn._file_part import CHUNK, FilePart
from scalekit.cdn._files import MISSING, Files, Served, files_of
from scalekit.cdn._pages import Pages
from scalekit.cdn._wsgi_pages import Response
from scalekit.cdn._wsgi_policy import PolicyMiddleware as PolicyMiddleware
from scalekit.cdn._wsgi_shield import ShieldMiddleware as ShieldMiddleware
from scalekit.cdn.assets import Assets, check_assets
from scalekit.cdn.probe import CdnProbe
from scalekit.types import Environ, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse, WSGIApplication

_ASKED = tuple(("HTTP_" + name.decode().upper().replace("-", "_"), name) for name in serve.ASKED)


class AssetMiddleware:
    """Serves assets and points the application's pages at them.

    Put it inside a compressing middleware. Around one it has to take the compression off a page and put it on
    again, which costs more.

    Args:
        app: the application.
        assets: its assets.
        cdn: chooses the CDN of a page: a function that is given the request's environ and returns an
            address such as ``"https://eu.cdn.example.com"``, or ``None`` for none. Default: that of
            ``assets``, for all pages.
        vary: the request headers that ``cdn`` looks at, such as ``["x-region"]``; they are added to the
            ``Vary`` of pages. ``Host`` need not be named.
        probe: one :class:`~scalekit.cdn.CdnProbe`, or one for each CDN that ``cdn`` may choose: while it says
            that its CDN is down, pages are pointed at the application. Default: none.
        extend_csp: let the CDN into the ``Content-Security-Policy`` of pages, where that lets in the
            application's own files; default ``False``.
        integrity: add ``integrity`` to scripts and style sheets, see :class:`~scalekit.cdn.HtmlRewriter`.
        crossorigin: add ``crossorigin`` to them, see there.
        modules: point modules at the CDN, too, see there for when that is right.

    Raises:
        ConfigurationError: an option is not usable; the message says which and why.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        assets: Assets,
        cdn: Callable[[Environ], str | None] | None = None,
        vary: Iterable[str] = (),
        probe: CdnProbe | Iterable[CdnProbe] = (),
        extend_csp: bool = False,
        integrity: bool = False,
        crossorigin: bool = False,
        modules: bool = False,
    ) -> None:
        cure = "use AssetMiddleware of scalekit.cdn.asgi"
        check_application(app, "WSGI", taker="the WSGI AssetMiddleware", cure=cure)
        self.app = app
        self.assets = assets
        self._pages = Pages(
            assets,
            cdn=cdn,
            vary=vary,
            probe=probe,
            extend_csp=extend_csp,
            integrity=integrity,
            crossorigin=crossorigin,
            modules=modules,
        )
        self._files = files_of(assets)

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        raw = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        path = raw.encode("latin-1").decode("utf-8", "replace")
        found = self._files.find(path)
        if found is not None:
            return _send_asset(found, self._files, environ, start_response)
        response = Response(self._pages, environ, path, start_response)
        return response.wrap(self.app(response.environ, response.start))


class AssetFiles:
    """An application that serves the assets and nothing else, with CORS: behind a CDN, or instead of one.

    Args:
        assets: what to serve, under its own ``url``.

    Raises:
        ConfigurationError: ``assets`` is no ``Assets``.
    """

    def __init__(self, assets: Assets) -> None:
        self.assets = check_assets(assets)
        self._files = files_of(assets)

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        raw = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        path = raw.encode("latin-1").decode("utf-8", "replace")
        return _send_asset(self._files.find(path) or MISSING, self._files, environ, start_response)


def _send_asset(served: Served, files: Files, environ: Environ, start_response: "StartResponse") -> WSGIBody:
    headers = [(name, environ[key].encode("latin-1")) for key, name in _ASKED if key in environ]
    request = serve.Request(served, room=files.room, method=environ["REQUEST_METHOD"], headers=headers)
    answer, file = request.answer(), None
    if answer.body is None:
        answer, file = request.open()
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", [*map(_native, answer.headers)])
    if file is None:
        return [] if request.method == "HEAD" or not answer.body else [answer.body]
    if answer.status == 200 and "wsgi.file_wrapper" in environ:
        wrapped: WSGIBody = environ["wsgi.file_wrapper"](file, CHUNK)
        return wrapped
    return FilePart(file, answer)


@lru_cache(maxsize=1024)
def _native(header: tuple[bytes, bytes]) -> tuple[str, str]:
    """A header in the WSGI shape; most are the same for each request."""
    return header[0].decode("latin-1").title(), header[1].decode("latin-1")
