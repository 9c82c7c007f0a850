"""Sessions for ASGI: FastAPI, Starlette, and any application that can read ``scope["session"]``.

* The session is loaded before the application runs, because ``request.session`` cannot await; with
  ``lazy=True`` it is loaded by ``await load(request)``, and a request that does not ask costs nothing.
* It is saved when the response starts, before the first byte leaves. A response that failed (5xx) saves
  nothing.
* If the store does not answer, routes that touch no session work; the others are answered with 503, also
  where an error handler inside of this middleware has made a 500 of what the session raised.
* The tasks of one request load and save one at a time.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, Protocol, TypeVar, Unpack, overload

from scalekit._http import for_one_visitor
from scalekit._options import check_application
from scalekit._steps import run, run_async
from scalekit.errors import BackendError, ConfigurationError
from scalekit.sessions._core import Core, Options, bind
from scalekit.sessions._state import Status
from scalekit.sessions.atomic import Change, Number, extend, increment, removal, update
from scalekit.sessions.session import Session
from scalekit.sessions.store import Store
from scalekit.types import ASGIApp, Headers, Message, Receive, Scope, SecretKey, Send

T = TypeVar("T")

_FOR_WSGI = (
    "use SessionMiddleware of scalekit.sessions.wsgi, and in Flask ServerSessionInterface of "
    "scalekit.sessions.flask"
)

_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})

_BODY = b"Service Unavailable\n"
_DENIAL = "websocket.http.response"  # the extension by which a handshake is answered like a request
_TRY_AGAIN_LATER = 1013  # the WebSocket's 503


class AsyncSession(Session):
    """The session of an ASGI request."""

    _unread = False

    def __init__(
        self, core: Core, token: str | None, *, https: bool, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        super().__init__(token, https=https, codec=core.codec)
        self._core = core
        self._headers = headers
        self._lock = asyncio.Lock()

    @property
    def _came_with(self) -> str | None:
        """The token of the request; with ``lazy=True`` its cookie is verified when that is asked for."""
        if self._unread:
            self._unread = False
            self._token = self._core.token(self._headers, https=self._https)
        return self._token

    @_came_with.setter
    def _came_with(self, token: str | None) -> None:
        self._token = token

    async def save(self) -> bool:
        """Save now. Needed only for changes after the response has started: background tasks, streams,
        WebSockets.

        Returns:
            ``False`` if the session was ended meanwhile; nothing was stored then.

        Raises:
            SessionValueError, SessionTooLarge: a value that cannot be stored.
            BackendError: the store failed.
        """
        async with self._lock:
            return await run_async(self._core.commit(self))

    @overload
    async def incr(self, key: str) -> int: ...
    @overload
    async def incr(self, key: str, by: Number) -> Number: ...
    async def incr(self, key: str, by: Any = 1) -> Any:
        """Add ``by`` to a number, 0 if there is none, and return the sum. Of concurrent calls, on any server,
        all count. Stored at once, whatever becomes of the response, if there is a session.

        Raises:
            SessionValueError: the value is no number.
            BackendError: the store failed; after a time-out it may have been added.
        """
        return await self._update(key, increment(key, by))

    async def append(self, key: str, *items: Any) -> int:
        """Add ``items`` to the end of a list, an empty one if there is none, and return its length. Otherwise
        like :meth:`incr`.
        """
        return await self._update(key, extend(key, items))

    async def take(self, key: str, default: Any = None) -> Any:
        """Remove a value and return it. Of concurrent calls, on any server, exactly one gets it: for what
        is shown once, such as a flash message. Otherwise like :meth:`incr`.
        """
        return await self._update(key, removal(default))

    def _load_now(self) -> None:
        if self._core.stored:
            super()._load_now()
        run(self._core.load(self))  # nobody has to be waited for

    def _agent(self) -> str | None:
        return next((value.decode("latin-1") for name, value in self._headers if name == b"user-agent"), None)

    def _at_rest(self) -> bool:
        """Whether there is nothing to commit for certain, and no task of the request is at it."""
        # Without a store, a cookie that is sent again is all that extends a session.
        return self._unchanged() and self._core.stored and not self._lock.locked()

    async def _update(self, key: str, change: Change[T]) -> T:
        async with self._lock:
            return await run_async(update(self._core, self, key, change))


class Connection(Protocol):
    """A Starlette ``Request`` or ``WebSocket``, or a plain scope."""

    def __getitem__(self, name: str, /) -> Any: ...


def get_session(connection: Connection) -> AsyncSession:
    """The session of a request, WebSocket or scope: what ``request.session`` is, with its type.

    Starlette says that ``request.session`` is a dict; a type checker does not see ``login()`` there.

    Raises:
        ConfigurationError: no :class:`SessionMiddleware` around the application.
    """
    try:
        session = connection["session"]
    except KeyError:
        session = None
    if not isinstance(session, AsyncSession):
        found = "no session" if session is None else f"the session of {type(session).__module__}"
        raise ConfigurationError(
            f"{found} in this scope; app.add_middleware(SessionMiddleware, ...) of scalekit.sessions.asgi"
        )
    return session


async def load(connection: Connection) -> AsyncSession:
    """The session of a request, WebSocket or scope, loaded. Loading twice is loading once; after a failure
    it is asked for again.

    Raises:
        BackendError: the store failed and ``on_error="unavailable"``.
        ConfigurationError: no :class:`SessionMiddleware` around the application.
    """
    session = get_session(connection)
    async with session._lock:
        await run_async(session._core.load(session))
    session._ready()
    return session


class SessionMiddleware:
    """Gives every request a session as ``scope["session"]``, which is ``request.session`` in Starlette.

    Args:
        app: the application.
        store: where sessions live, e.g. ``RedisStore.from_url(url)``.
        secret_key: signs the cookies; one secret or a key ring, oldest first.
        lazy: load only on ``await load(request)``.
        options: see :class:`scalekit.sessions.Options`.

    Raises:
        ConfigurationError: an option is wrong, the store's client is synchronous, or ``app`` is WSGI.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: Store,
        secret_key: SecretKey,
        lazy: bool = False,
        **options: Unpack[Options],
    ) -> None:
        check_application(app, "ASGI", taker="the ASGI SessionMiddleware", cure=_FOR_WSGI)
        self.app = app
        rules = bind(store, "async", taker="the ASGI SessionMiddleware", options=options)
        self._core = rules(secret_key=secret_key, **options)
        self._lazy = lazy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        core = self._core
        https = scope.get("scheme") in ("https", "wss")
        token = None if self._lazy else core.token(scope["headers"], https=https)
        session = scope["session"] = AsyncSession(core, token, https=https, headers=scope["headers"])
        if scope["type"] == "websocket":
            session._departed, session._start = "the WebSocket was accepted", "accept()"
        if self._lazy:
            # For visitors without a session too: who forgets to load must see it at once, not in production.
            session._status, session._unread = Status.UNLOADED, True
        elif token is not None and core.stored:
            await run_async(core.load(session))
        response = _Response(session, send, scope)
        try:
            await self.app(scope, receive, response)
        except Exception as error:
            # Only what the session raised: another piece's outage is not ours to answer.
            if not session._raised(error) or (response.started and not response.replaced):
                await response.failed()
                raise
            if not response.started:
                await response.unavailable()
        else:
            session._close()
        return None


async def _nothing() -> None:
    pass


class _Response:
    """``send``, with the session committed before the first message of the response."""

    def __init__(self, session: AsyncSession, send: Send, scope: Scope) -> None:
        self.started = self.replaced = False
        self._session = session
        self._send = send
        self._scope = scope

    def __call__(self, message: Message) -> Awaitable[None]:
        if self.started or message["type"] not in _STARTS:
            return _nothing() if self.replaced else self._send(message)
        status = message.get("status", 200)
        if status >= 500 or (self._session.accessed and not self._session._at_rest()):
            return self._settle(message, status)
        return self._begin(message)

    async def _settle(self, message: Message, status: int) -> None:
        """Save or drop what the application has changed, and begin the response then."""
        session = self._session
        if status == 500 and session._refused:
            await self.unavailable()
            return
        if status >= 500:
            session._forget()
        else:
            try:
                await session.save()
            except BackendError as error:
                session._core.unsaved(error)
                await self.unavailable()
                return
        await self._begin(message)

    def _begin(self, message: Message) -> Awaitable[None]:
        session = self._session
        self.started = session._sealed = True
        if session.accessed:
            headers = list(message.get("headers", ()))  # a copy: applications send one list many times
            if cookies := session._set_cookies:
                headers += [(b"set-cookie", cookie) for cookie in cookies]
            if message["type"] != "websocket.accept":
                for_one_visitor(headers)
            message = {**message, "headers": headers}
        return self._send(message)

    async def unavailable(self) -> None:
        """Answer 503 in place of whatever the application sends."""
        self.replaced = True
        if self._can_answer():
            await self._answer(503, _BODY, [(b"retry-after", b"1")])
        else:
            self.started = self._session._sealed = True
            await self._send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})

    async def failed(self) -> None:
        """The application has raised an error. Who answers that further out does not know of a cookie that
        an explicit ``save()`` has made, and the one before has ended: then the answer comes from here.
        """
        if self._session._cookie is not None and not self.started and self._can_answer():
            await self._answer(500, b"Internal Server Error\n", [])

    def _can_answer(self) -> bool:
        """Whether there can be a response; of a closed handshake servers make a 403, which is final."""
        scope = self._scope
        return scope["type"] == "http" or _DENIAL in (scope.get("extensions") or ())

    async def _answer(self, status: int, body: bytes, headers: Headers) -> None:
        self.started = self._session._sealed = True
        headers += [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        if self._session._cookie is not None:  # the one before may have ended
            headers.extend((b"set-cookie", cookie) for cookie in self._session._set_cookies)
        kind = "http.response" if self._scope["type"] == "http" else _DENIAL
        await self._send({"type": f"{kind}.start", "status": status, "headers": headers})
        await self._send({"type": f"{kind}.body", "body": body})
