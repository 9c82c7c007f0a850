"""Assets and pages under ASGI.

:class:`AssetMiddleware` goes around an application: it answers requests for assets and rewrites the pages.
:class:`AssetFiles` serves the assets alone, for instance as the origin of a CDN.
"""

from collections.abc import Callable, Iterable

from anyio import move_on_after, to_thread

from scalekit._options import check_application
from scalekit.cdn import serve
from scalekit.cdn._asgi_pages import PATHSEND, Exchange
from scalekit.cdn._asgi_policy import PolicyMiddleware as PolicyMiddleware
from scalekit.cdn._asgi_shield import ShieldMiddleware as ShieldMiddleware
from scalekit.cdn._file_part import FilePart
from scalekit.cdn._files import MISSING, Files, Served, files_of
from scalekit.cdn._pages import Pages
from scalekit.cdn.assets import Assets, check_assets
from scalekit.cdn.probe import CdnProbe
from scalekit.types import ASGIApp, Receive, Scope, Send


class AssetMiddleware:
    """Serves assets and points the application's pages at them.

    Put it inside a compressing middleware. Around one it has to take the compression off a page and put it on
    again, which costs more.

    Args:
        app: the application.
        assets: its assets.
        cdn: chooses the CDN of a page: a function that is given the request's scope and returns an
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
        app: ASGIApp,
        *,
        assets: Assets,
        cdn: Callable[[Scope], str | None] | None = None,
        vary: Iterable[str] = (),
        probe: CdnProbe | Iterable[CdnProbe] = (),
        extend_csp: bool = False,
        integrity: bool = False,
        crossorigin: bool = False,
        modules: bool = False,
    ) -> None:
        cure = "use AssetMiddleware of scalekit.cdn.wsgi"
        check_application(app, "ASGI", taker="the ASGI AssetMiddleware", cure=cure)
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        found = self._files.find(scope["path"])
        if found is not None:
            return await _send_asset(found, self._files, scope, receive, send)
        exchange = Exchange(self._pages, scope, send)
        await self.app(exchange.scope, receive, exchange.send)
        if exchange.held is not None:
            await exchange.finish()
        return None


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            found = self._files.find(scope["path"]) or MISSING
            await _send_asset(found, self._files, scope, receive, send)
        elif scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})


async def _send_asset(served: Served, files: Files, scope: Scope, receive: Receive, send: Send) -> None:
    headers = serve.asked(scope["headers"])
    request = serve.Request(served, room=files.room, method=scope["method"], headers=headers)
    answer = request.answer()
    path = answer.path if PATHSEND in (scope.get("extensions") or {}) else None
    part: FilePart | None = None
    body = answer.body
    if body is None and path is None:
        answer, part, body = await to_thread.run_sync(_open, request)
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        if path is not None:
            await send({"type": PATHSEND, "path": path})
            return
        body = b"" if body is None or request.method == "HEAD" else body
        while part is not None and part.left:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if await _hung_up(receive):
                return
            body = await to_thread.run_sync(part.read)
        await send({"type": "http.response.body", "body": body})
    finally:
        if part is not None:
            part.close()


def _open(request: serve.Request) -> tuple[serve.Answer, FilePart | None, bytes | None]:
    """The answer, the file while there is more to come, and the first piece of it."""
    answer, file = request.open()
    if file is None:
        return answer, None, answer.body
    part = FilePart(file, answer)
    try:
        body = part.read()
    except BaseException:
        part.close()
        raise
    if part.left:
        return answer, part, body
    part.close()
    return answer, None, body


async def _hung_up(receive: Receive) -> bool:
    """Whether the client is gone, as far as the server knows without waiting for it."""
    kind = ""
    with move_on_after(0):
        kind = (await receive())["type"]
    return kind == "http.disconnect"
