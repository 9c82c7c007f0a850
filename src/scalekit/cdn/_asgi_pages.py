"""Pages under ASGI: the application's messages on their way to the server."""

from collections.abc import AsyncIterator
from typing import BinaryIO

from anyio import to_thread
from anyio.lowlevel import checkpoint

from scalekit._http import get
from scalekit.cdn._body import Body
from scalekit.cdn._pages import Pages
from scalekit.cdn._rewrite import CONDITIONAL, Page, is_other
from scalekit.types import Headers, Message, Scope, Send

PATHSEND = "http.response.pathsend"
"""The message that has a file's path in place of its bytes."""

_EARLY_HINT = "http.response.early_hint"
_ZEROCOPY = "http.response.zerocopysend"
_CHUNK = 256 * 1024  # bytes read from a page's file at a time


class Exchange:
    """One request that the application answers, and the response on its way out.

    ``held`` is the start of a response, held back until the length of the page is known.
    """

    __slots__ = ("_body", "_declared", "_pages", "_passing", "_rules", "_scope", "_send", "held", "scope")

    def __init__(self, pages: Pages, scope: Scope, send: Send) -> None:
        self._pages, self._scope, self._send = pages, scope, send
        self._rules: Page | None = None
        self._passing = False  # no more of this response is looked at
        self._body: Body | None = None
        self.held: Message | None = None
        self._declared = -1
        self.scope = scope
        headers = scope["headers"]
        for name, _ in headers:
            if name in CONDITIONAL:
                headers = self._page.request
                break
        extensions = scope.get("extensions")
        if headers is not scope["headers"] or (extensions and _ZEROCOPY in extensions):
            # A page sent by file descriptor could not be rewritten; by path it can.
            offered = {name: value for name, value in (extensions or {}).items() if name != _ZEROCOPY}
            self.scope = {**scope, "headers": headers, "extensions": offered}

    @property
    def _page(self) -> Page:
        """Made when it is first asked for: most responses are no pages."""
        if self._rules is None:
            scope = self._scope
            self._rules = Page(
                self._pages,
                scope,
                method=scope["method"],
                path=scope["path"],
                headers=scope["headers"],
            )
        return self._rules

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        if self._passing:
            await self._send(message)
        elif message["type"] == "http.response.start":
            if self.scope is not self._scope and "session" in self.scope:
                # Who is around this has another scope, and asks it whether the session was looked at.
                self._scope["session"] = self.scope["session"]
            if self._rules is None and is_other(message["status"], message.get("headers") or ()):
                self._passing = True
                await self._send(message)
            else:
                await self._on_start(message)
        elif message["type"] == _EARLY_HINT:
            # Who sends hints is about to send a page: what else would fetch anything?
            links = [self._page.link(link) for link in message["links"]]
            await self._send({**message, "links": links})
        elif self._body is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            await self._on_body(self._body, message)
        elif message["type"] == PATHSEND:
            await self._release()
            async for chunk in _chunks(message["path"]):
                await self._on_body(self._body, {"body": chunk, "more_body": True})
            await self._on_body(self._body, {"body": b""})
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
        self.held = {**message, "headers": headers}
        if self._page.method != "HEAD":
            self._body = self._page.body()
            if declared is not None and declared.isdigit():
                self._declared = int(declared)
                return
        await self._release()

    async def _on_body(self, body: Body, message: Message) -> None:
        chunk, more = message.get("body", b""), message.get("more_body", False)
        only = self.held is not None and (not more or len(chunk) == self._declared)
        pieces = body.only(chunk) if only else body.feed(chunk) if more else body.last(chunk)
        piece = next(pieces, b"")
        following = next(pieces, None)
        if only and following is None and self.held is not None:
            self.held["headers"].append((b"content-length", b"%d" % len(piece)))
        await self._release()
        while following is not None:
            if piece:
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            await checkpoint()  # what a small chunk expands to may keep the others waiting
            piece, following = following, next(pieces, None)
        if only or not more:
            self._page.finished(body)
            self._body = None
        if piece or not more:
            await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    async def _release(self) -> None:
        start, self.held = self.held, None
        if start is not None:
            await self._send(start)


async def _chunks(path: str) -> AsyncIterator[bytes]:
    file = await to_thread.run_sync(_open_path, path)
    try:
        while chunk := await to_thread.run_sync(file.read, _CHUNK):
            yield chunk
    finally:
        file.close()


def _open_path(path: str) -> BinaryIO:
    return open(path, "rb")
