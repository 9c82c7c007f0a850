"""``ResponseMiddleware`` for ASGI: keeps the pages of any application, whole.

What it stands around is not asked for a page that is kept: neither routes nor dependencies nor guards run.
So name pages that are for everybody, or put ``@cache.response`` on the endpoint, which leaves the guards in
front of it. What is kept: :mod:`scalekit.cache.response`. Besides:

* HEAD passes: what an application sends then has no body to keep.
* What is not kept goes on to its visitor as it comes, and who waits for the page need not wait for its end.
  So it is with a body that comes in parts without a ``Content-Length``: it may have no end.
* An application that is told that its visitor has left may end its response there, as if it were whole: what
  comes after that is not kept.
"""

import asyncio
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from scalekit._durations import Duration
from scalekit._http import get
from scalekit._options import check_application, check_function, check_items
from scalekit._steps import run_async
from scalekit.cache.pages import Pages, Parts
from scalekit.cache.response import objection, refusal
from scalekit.errors import ConfigurationError
from scalekit.types import ASGIApp, Headers, Message, Receive, Scope, Send

# Answered from what is kept; an application that did so itself would leave a 304 to keep.
CONDITIONS = frozenset({b"if-none-match", b"if-modified-since"})


class ResponseMiddleware:
    """Keeps responses to GET in a cache.

    Put it inside the session's middleware: with ``app.add_middleware``, add it before.

    Args:
        app: the application.
        cache: a ``Cache``.
        ttl: seconds that a page is kept at most.
        paths: the pages: ``"/about"`` is one, ``"/catalogue/"`` all below it.
        options: those of ``Cache.response``.

    Raises:
        ConfigurationError: an option is wrong.
    """

    def __init__(
        self, app: ASGIApp, /, *, cache: Any, ttl: Duration, paths: Iterable[str], **options: Any
    ) -> None:
        check_application(
            app,
            "ASGI",
            taker="scalekit.cache.asgi.ResponseMiddleware",
            cure="use ResponseMiddleware of scalekit.cache.wsgi",
        )
        self.app = app
        check_cache(cache)
        self._paths = check_paths(paths)
        self._pages: Pages = cache.response(ttl=ttl, **options).pages(f"asgi:{self._paths}", "async")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_page(scope["path"], self._paths):
            return await self.app(scope, receive, send)
        why = objection(scope["method"], scope["headers"], self._pages.rules)
        if why is None and scope["method"] == "HEAD":
            why = "the method is HEAD"
        if why is not None:
            self._pages.passes(scope["path"], why)
            return await self.app(scope, receive, send)
        exchange = _Exchange(self.app, scope, receive, send, self._pages)
        try:
            result = await run_async(self._pages.serve(exchange, exchange.start))
            if isinstance(result, Parts):
                headers = {"status": result.status, "headers": result.headers}
                await send({"type": "http.response.start", **headers})
                await send({"type": "http.response.body", "body": result.body})
            else:
                await result.deliver()
        except BaseException:
            await exchange.abandon()
            raise
        return await exchange.end()


def check_cache(cache: object) -> None:
    """Refuse a ``cache`` that is none.

    Raises:
        ConfigurationError: it is something else.
    """
    check_function(getattr(cache, "response", None), option="cache=", wanted="a Cache")


def check_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """``paths`` as they may be given.

    Raises:
        ConfigurationError: one is no path.
    """
    checked = check_items(paths, option="paths=")
    for path in checked:
        if not isinstance(path, str) or not path.startswith("/"):
            raise ConfigurationError(f"paths=[{path!r}]: a path begins with '/'")
    return checked


def is_page(path: str, paths: tuple[str, ...]) -> bool:
    """Whether ``path`` is one of ``paths``, or below one that ends with a slash."""
    return any(path == one or (one.endswith("/") and path.startswith(one)) for one in paths)


def session_was_read(session: Any) -> bool:
    """Of any mapping; one that does not know counts as read if there was anything in it."""
    accessed = getattr(session, "accessed", None)
    return bool(session) if accessed is None else bool(accessed)


def address(scope: Scope) -> tuple[str, str, str, str]:
    """Origin, path, target and query of a request (see ``Exchange``), as its visitor sees them."""
    host = get(scope["headers"], b"host") or b""
    raw: bytes = scope.get("raw_path") or b""
    path = raw.partition(b"?")[0].decode("latin-1") or quote(scope["path"])
    return (
        f"{scope['scheme']}://{host.decode('latin-1').lower()}",
        path,
        # The first two have no line break in them, so nothing else reads like this.
        f"{path}\n{scope.get('root_path', '')}\n{scope['path']}",
        scope["query_string"].decode("latin-1"),
    )


class _Exchange:
    """One request, and one run of the application at most."""

    method = "GET"

    def __init__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, pages: Pages) -> None:
        self._app, self._scope, self._receive, self._send, self._pages = app, scope, receive, send, pages
        self.headers: Headers = list(scope["headers"])
        self.given: Headers = []
        self.origin, self.path, self.target, self.query = address(scope)
        self._capture: _Capture | None = None

    def is_personal(self) -> bool:
        return session_was_read(self._scope.get("session"))

    async def start(self) -> "_Capture":
        """Run the application until it is known whether there is a page to keep."""
        headers = [pair for pair in self.headers if pair[0] not in CONDITIONS]
        self._capture = capture = _Capture(self._receive, self._send, self._pages)
        await capture.start(self._app({**self._scope, "headers": headers}, capture.receive, capture.take))
        return capture

    def parts(self, capture: "_Capture", /) -> Parts | str:
        return capture.parts()

    def make(self, parts: Parts) -> Parts:
        return parts

    async def end(self) -> None:
        if self._capture is not None:
            await self._capture.end()

    async def abandon(self) -> None:
        if self._capture is not None:
            await self._capture.abandon()


class _Capture:
    """What an application sends: held back while it may be a page to keep, then passed on."""

    def __init__(self, receive: Receive, send: Send, pages: Pages) -> None:
        self._receive, self._send, self._pages = receive, send, pages
        self._held: list[Message] = []
        self._size = 0
        self._passes = self._left = False
        self._why = "the application did not finish it"
        self._known = asyncio.Event()
        self._task: asyncio.Task[None]

    async def start(self, run: Any) -> None:
        self._task = asyncio.ensure_future(run)
        self._task.add_done_callback(lambda _: self._known.set())
        await self._known.wait()
        if self._task.done():
            self._task.result()

    async def receive(self) -> Message:
        message = await self._receive()
        self._left |= message["type"] == "http.disconnect" and not self._known.is_set()
        return message

    async def take(self, message: Message) -> None:
        if self._passes:
            return await self._send(message)
        self._held.append(message)
        if message["type"] == "http.response.start":
            if why := refusal(message["status"], message["headers"], self._pages.rules):
                await self._pass_on(why)
        elif message["type"] != "http.response.body":
            await self._pass_on(f"the application sent {message['type']}")
        elif not message.get("more_body", False):
            self._known.set()
        else:
            self._size += len(message.get("body", b""))
            known = get(self._held[0]["headers"], b"content-length") is not None
            if not known:
                await self._pass_on("it is streamed: it comes in parts, without Content-Length")
            elif self._size > self._pages.rules.max_size:
                await self._pass_on(f"its body has more than max_size={self._pages.rules.max_size} bytes")
        return None

    async def _pass_on(self, why: str) -> None:
        self._passes, self._why = True, why
        held, self._held = self._held, []
        for message in held:
            await self._send(message)
        self._known.set()

    def parts(self) -> Parts | str:
        if self._left:
            return "its visitor left before it was whole"
        # The last one may be its start alone.
        if self._passes or len(self._held) < 2 or self._held[-1].get("more_body", False):
            return self._why
        first, *rest = self._held
        body = b"".join(message.get("body", b"") for message in rest)
        return Parts(first["status"], list(first["headers"]), body)

    async def deliver(self) -> None:
        """Pass on what is held back."""
        if not self._passes:
            await self._pass_on(self._why)

    async def end(self) -> None:
        """Wait for what the application does when its response has been sent."""
        await self._task

    async def abandon(self) -> None:
        """Nobody listens any more: end the application, and wait until it has."""
        self._task.cancel()
        await asyncio.wait([self._task])
