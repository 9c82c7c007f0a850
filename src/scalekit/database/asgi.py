"""Read-your-writes for ASGI applications: what a visitor wrote on one server is seen on every other.

Rules:

* The token is in a signed cookie. It is set only by a response that follows a commit, so that pages
  which only read stay cacheable; such a response is marked private.
* Clients without cookies send it in a header and get it back in each response, private as well. What they
  have only read advances it too.
* A visitor reads from the same replica while it is healthy, on every server, without a cookie for that.
* A response may claim that something was saved only when it was. While a session of the request holds
  uncommitted writes, the response waits for the application to return: a commit after the last line of
  the endpoint, as in a FastAPI dependency, is still in the cookie, and one that fails still is a 500.
* A response that streams cannot wait, unless it announces a length that is short enough to be kept. A
  commit behind it is logged as a warning, and so is one behind the handshake of a websocket, or before an
  error whose page somebody makes outside of the middleware.
* A browser keeps one cookie, the one that arrives last, and two tabs may write at the same time. So the
  cookie tells of all that this process knows to be in the log when the response leaves. What it does not
  know, a write through another server within the last ``probe_interval``, can be forgotten by that visitor.
"""

import logging
from typing import Unpack

from scalekit._http import get
from scalekit._options import check_application, check_kind, check_names
from scalekit.database.cluster import AsyncCluster, Cluster
from scalekit.database.visits import Visit, VisitOptions, Visits
from scalekit.types import ASGIApp, Message, Receive, Scope, SecretKey, Send

_log = logging.getLogger("scalekit.database")

_MOST_HELD = 2**20
_HANDSHAKE = ("websocket.accept", "websocket.http.response.start")


class ReadYourWritesMiddleware:
    """Carries each visitor's token in a cookie, and starts requests that may write on the primary.

    Args:
        app: the application.
        cluster: whose sessions the application uses.
        secret_key: signs the cookie; one secret or a key ring, oldest first, the last one signs.
        options: see :class:`scalekit.database.VisitOptions`.

    Raises:
        ConfigurationError: no cluster, an unknown option, a secret too short, a ``max_age`` that is not
            positive, a WSGI application, or one that another cluster's middleware is around, with the same
            cookie.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        cluster: AsyncCluster | Cluster,
        secret_key: SecretKey,
        **options: Unpack[VisitOptions],
    ) -> None:
        check_names(options, VisitOptions, taker="the ASGI ReadYourWritesMiddleware")
        check_kind(
            cluster,
            AsyncCluster | Cluster,
            option="cluster=",
            wanted="an AsyncCluster or a Cluster, the object that makes the sessions",
        )
        check_application(
            app,
            "ASGI",
            taker="the ASGI ReadYourWritesMiddleware",
            cure="use ReadYourWritesMiddleware of scalekit.database.wsgi, with a Cluster",
        )
        self.app = app
        self._cluster = cluster
        self._visits = Visits(cluster.scopes, secret_key=secret_key, **options)
        self._visits.check_names(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        https = scope.get("scheme") in ("https", "wss")
        # A websocket begins as a GET. What is written over it can be read over it, by the same scope.
        client = scope.get("client")
        visit = self._visits.begin(
            scope["headers"],
            method=scope.get("method", "GET"),
            path=_path(scope),
            address=client[0] if client else None,
            https=https,
        )
        with self._cluster.scopes.enter(visit):
            response = _Response(visit, self._visits, send, https=https)
            if scope["type"] == "websocket":
                await self.app(scope, receive, response.send_at_once)
                return
            try:
                await self.app(scope, receive, response.send)
            except BaseException as error:
                await response.fail()
                if visit.advanced and not visit.sealed and isinstance(error, Exception):
                    _log.warning(
                        "a request has committed and then failed by %s: the error page is made outside of "
                        "ReadYourWritesMiddleware, without a cookie, and the visitor's next request may miss "
                        "that write on a replica; commit last, or put the middleware around the whole "
                        "application: app = ReadYourWritesMiddleware(app, ...)",
                        type(error).__name__,
                    )
                raise
            await response.release()


class _Response:
    """Passes a response on, or holds it until its writes are committed."""

    def __init__(self, visit: Visit, visits: Visits, send: Send, *, https: bool) -> None:
        self._visit, self._visits, self._send, self._https = visit, visits, send, https
        self._held: list[Message] = []
        self._room = self._commits = 0

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._held.append(message)
            self._commits = self._visit.commits
            self._room = _announced(message)
            if not self._visit.has_uncommitted_writes():
                await self.release()
        elif self._held and kind == "http.response.body" and self._can_wait(message):
            self._held.append(message)
        else:
            await self.release()
            await self._send(message)

    async def send_at_once(self, message: Message) -> None:
        """Pass on what belongs to a conversation, in which nothing can wait."""
        await self._send(self._answered(message) if message["type"] in _HANDSHAKE else message)

    async def fail(self) -> None:
        """The application failed: the answer stands only if the writes it waited for are committed."""
        if self._visit.commits > self._commits:
            await self.release()
        self._held.clear()

    async def release(self) -> None:
        """Let what is held leave."""
        held, self._held = self._held, []
        for message in held:
            begins = message["type"] == "http.response.start"
            await self._send(self._answered(message) if begins else message)

    def _answered(self, message: Message) -> Message:
        headers = list(message.get("headers", ()))
        self._visits.answer(self._visit, headers, https=self._https)
        return {**message, "headers": headers}

    def _can_wait(self, message: Message) -> bool:
        if not message.get("more_body", False):
            return True
        # Starlette's @app.middleware("http") passes on every response in parts, the shortest too.
        self._room -= len(message.get("body", b""))
        return self._room >= 0


def _path(scope: Scope) -> str:
    """The path as the application knows it, without that under which it is mounted."""
    path, root = str(scope.get("path", "/")), str(scope.get("root_path", "")).rstrip("/")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def _announced(start: Message) -> int:
    """The length that a response announces, or -1 if it tells none or is too long to be kept."""
    length = get(start.get("headers", ()), b"content-length")
    return int(length) if length is not None and length.isdigit() and int(length) <= _MOST_HELD else -1
