"""Assets and pages under ASGI.

:class:`AssetMiddleware` goes around an application: it answers requests for assets and rewrites the pages.
:class:`AssetFiles` serves the assets alone, for instance as the origin of a CDN.
"""

from collections.abc import AsyncIterator
from typing import BinaryIO

from anyio import move_on_after, to_thread

from scalekit._http import get
from scalekit.cdn import serve
from scalekit.cdn._rewrite import Page
from scalekit.cdn.assets import Asset, Assets, check_assets
from scalekit.cdn.html import HtmlRewriter
from scalekit.types import ASGIApp, Headers, Message, Receive, Scope, Send

CHUNK = 256 * 1024
"""Bytes read from a file at a time, each in one visit to a worker thread."""

_PATHSEND, _ZEROCOPY = "http.response.pathsend", "http.response.zerocopysend"


class AssetMiddleware:
    """Serves assets and points the application's pages at them.

    Put it inside a compressing middleware, not around it: what is compressed already passes as it is.

    Args:
        app: the application.
        assets: its assets.

    Raises:
        ConfigurationError: ``assets`` is no ``Assets``.
    """

    def __init__(self, app: ASGIApp, *, assets: Assets) -> None:
        self.app = app
        self.assets = check_assets(assets)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        found = serve.find(self.assets, scope["path"])
        if found is not None:
            return await _send_asset(self.assets, *found, scope, receive, send)
        exchange = _Exchange(self.assets, scope, send)
        await self.app(exchange.scope, receive, exchange.send)
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            found = serve.find(self.assets, scope["path"]) or (None, False)
            await _send_asset(self.assets, *found, scope, receive, send)
        elif scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})


async def _send_asset(
    assets: Assets, asset: Asset | None, hashed: bool, scope: Scope, receive: Receive, send: Send
) -> None:
    headers = list(scope["headers"])
    request = serve.Request(asset, hashed, max_age=assets.max_age, method=scope["method"], headers=headers)
    answer = request.answer()
    by_path = answer.status == 200 and _PATHSEND in (scope.get("extensions") or {})
    file: BinaryIO | None = None
    body = b"" if request.method == "HEAD" else answer.body
    if answer.asset is not None and not by_path:
        answer, file, body = await to_thread.run_sync(_open, request)
    try:
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        if answer.asset is not None and by_path:
            await send({"type": _PATHSEND, "path": str(answer.asset.path)})
            return
        left = answer.stop - answer.start - len(body) if file is not None else 0
        while file is not None and left > 0 and body:
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if await _hung_up(receive):
                return
            body = await to_thread.run_sync(file.read, min(left, CHUNK))
            left -= len(body)
        await send({"type": "http.response.body", "body": body})
    finally:
        if file is not None:
            file.close()


def _open(request: serve.Request) -> tuple[serve.Answer, BinaryIO | None, bytes]:
    """The answer, the file while there is more to come, and the first chunk of it."""
    answer, file = request.open()
    if file is None:
        return answer, None, answer.body
    try:
        length = answer.stop - answer.start
        body = file.read(min(length, CHUNK))
    except BaseException:
        file.close()
        raise
    if length > len(body):
        return answer, file, body
    file.close()
    return answer, None, body


async def _hung_up(receive: Receive) -> bool:
    """Whether the client is gone, as far as the server knows without waiting for it."""
    kind = ""
    with move_on_after(0):
        kind = (await receive())["type"]
    return kind == "http.disconnect"


class _Exchange:
    """One request that the application answers, and the response on its way out."""

    def __init__(self, assets: Assets, scope: Scope, send: Send) -> None:
        self._send = send
        self._page = Page(assets, method=scope["method"], path=scope["path"], headers=scope["headers"])
        self._rewriter: HtmlRewriter | None = None
        self._start: Message | None = None  # held back until the length of the page is known
        self._declared = -1
        self.scope = scope
        extensions = scope.get("extensions") or {}
        if self._page.request is not scope["headers"] or _ZEROCOPY in extensions:
            # A page sent by file descriptor could not be rewritten; by path it can.
            extensions = {name: value for name, value in extensions.items() if name != _ZEROCOPY}
            self.scope = {**scope, "headers": self._page.request, "extensions": extensions}

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        if message["type"] == "http.response.start":
            await self._on_start(message)
        elif self._rewriter is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            await self._on_body(self._rewriter, message)
        elif message["type"] == _PATHSEND:
            await self._release()
            async for chunk in _chunks(message["path"]):
                await self._on_body(self._rewriter, {"body": chunk, "more_body": True})
            await self._on_body(self._rewriter, {"body": b""})
        else:
            await self._send(message)

    async def finish(self) -> None:
        """The application has returned."""
        await self._release()

    async def _on_start(self, message: Message) -> None:
        headers: Headers = list(message.get("headers") or [])
        declared = get(headers, b"content-length")
        if not self._page.respond(message["status"], headers):
            await self._send({**message, "headers": headers})
            return
        self._start = {**message, "headers": headers}
        if self._page.method != "HEAD":
            self._rewriter = self._page.rewriter()
            if declared is not None and declared.isdigit():
                self._declared = int(declared)
                return
        await self._release()

    async def _on_body(self, rewriter: HtmlRewriter, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._start is not None and (not more or len(body) == self._declared):
            body = rewriter.rewrite(body)
            self._start["headers"].append((b"content-length", b"%d" % len(body)))
            finished = True
        else:
            body = rewriter.feed(body) if more else rewriter.feed(body) + rewriter.close()
            finished = not more
        await self._release()
        if finished:
            self._page.finished(rewriter)
            self._rewriter = None
        if body or not more:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _release(self) -> None:
        start, self._start = self._start, None
        if start is not None:
            await self._send(start)


async def _chunks(path: str) -> AsyncIterator[bytes]:
    file = await to_thread.run_sync(_open_path, path)
    try:
        while chunk := await to_thread.run_sync(file.read, CHUNK):
            yield chunk
    finally:
        file.close()


def _open_path(path: str) -> BinaryIO:
    return open(path, "rb")
