"""Sessions for WSGI: ``environ["scalekit.session"]``.

* The session is loaded when it is first looked at; a request that does not look costs nothing.
* It is saved before the first byte of the response leaves. A response that failed (5xx) saves nothing.
* If the store does not answer, requests that touch no session work; the others are answered with 503, also
  where an error handler inside of this middleware has made a 500 of what the session raised.
"""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from scalekit._http import for_one_visitor, from_wsgi, to_wsgi
from scalekit._options import check_application
from scalekit._steps import run
from scalekit.errors import BackendError, ConfigurationError
from scalekit.sessions._core import Core, Options, bind
from scalekit.sessions.atomic import Change, Number, extend, increment, removal, update
from scalekit.sessions.session import Session
from scalekit.sessions.store import Store
from scalekit.types import Environ, SecretKey, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse, WSGIApplication

T = TypeVar("T")

KEY = "scalekit.session"
"""Where the session stands in the environ."""

_MERGED = re.compile("vary|.*-control|x-accel-expires", re.IGNORECASE)

_BODY = b"Service Unavailable\n"
_ERROR = b"Internal Server Error\n"
_FAILED = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(_ERROR))),
    ("Cache-Control", "no-store"),
]
_UNAVAILABLE = [
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(_BODY))),
    ("Cache-Control", "no-store"),
    ("Retry-After", "1"),
]


class SyncSession(Session):
    """The session of a WSGI request; it is loaded when it is first looked at."""

    def __init__(self, core: Core, token: str | None, *, https: bool, agent: str | None = None) -> None:
        super().__init__(token, https=https, codec=core.codec)
        self._core = core
        self._user_agent = agent

    def _load_now(self) -> None:
        run(self._core.load(self))

    def save(self) -> bool:
        """Save now. Needed only for changes after the response has started.

        Returns:
            ``False`` if the session was ended meanwhile; nothing was stored then.

        Raises:
            SessionValueError, SessionTooLarge: a value that cannot be stored.
            BackendError: the store failed.
        """
        return run(self._core.commit(self))

    @overload
    def incr(self, key: str) -> int: ...
    @overload
    def incr(self, key: str, by: Number) -> Number: ...
    def incr(self, key: str, by: Any = 1) -> Any:
        """Add ``by`` to a number, 0 if there is none, and return the sum. Of concurrent calls, on any server,
        all count. Stored at once, whatever becomes of the response, if there is a session.

        Raises:
            SessionValueError: the value is no number.
            BackendError: the store failed; after a time-out it may have been added.
        """
        return self._update(key, increment(key, by))

    def append(self, key: str, *items: Any) -> int:
        """Add ``items`` to the end of a list, an empty one if there is none, and return its length. Otherwise
        like :meth:`incr`.
        """
        return self._update(key, extend(key, items))

    def take(self, key: str, default: Any = None) -> Any:
        """Remove a value and return it. Of concurrent calls, on any server, exactly one gets it: for what
        is shown once, such as a flash message. Otherwise like :meth:`incr`.
        """
        return self._update(key, removal(default))

    def _agent(self) -> str | None:
        return self._user_agent

    def _update(self, key: str, change: Change[T]) -> T:
        return run(update(self._core, self, key, change))


def get_session(environ: Environ) -> SyncSession:
    """The session of a request.

    Raises:
        ConfigurationError: no :class:`SessionMiddleware` around the application.
    """
    session: SyncSession | None = environ.get(KEY)
    if session is None:
        raise ConfigurationError(
            "no session in this environ; app = SessionMiddleware(app, ...) of scalekit.sessions.wsgi"
        )
    return session


def cookie_token(core: Core, environ: Environ, *, https: bool) -> str | None:
    """The token that a WSGI request came with, if we made it."""
    cookie = environ.get("HTTP_COOKIE")
    if not cookie:
        return None
    # WSGI strings are latin-1; a server that passes others gave us no cookie of ours.
    return core.token([(b"cookie", cookie.encode("latin-1", "replace"))], https=https)


class SessionMiddleware:
    """Gives every request a session as ``environ["scalekit.session"]``; see :func:`get_session`.

    Args:
        app: the application.
        store: where sessions live, e.g. ``RedisStore.from_url(url)``.
        secret_key: signs the cookies; one secret or a key ring, oldest first.
        options: see :class:`scalekit.sessions.Options`.

    Raises:
        ConfigurationError: an option is wrong, the store's client is asynchronous, or ``app`` is ASGI.
    """

    def __init__(
        self, app: "WSGIApplication", *, store: Store, secret_key: SecretKey, **options: Unpack[Options]
    ) -> None:
        cure = "use SessionMiddleware of scalekit.sessions.asgi"
        check_application(app, "WSGI", taker="the WSGI SessionMiddleware", cure=cure)
        self.app = app
        rules = bind(store, "sync", taker="the WSGI SessionMiddleware", options=options)
        self._core = rules(secret_key=secret_key, **options)

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        https = environ["wsgi.url_scheme"] == "https"
        token, agent = cookie_token(self._core, environ, https=https), environ.get("HTTP_USER_AGENT")
        session = SyncSession(self._core, token, https=https, agent=agent)
        environ[KEY] = session
        response = _Response(session, start_response)
        try:
            body = self.app(environ, response.start)
        except Exception as error:
            if response.can_answer(error):
                return response.unavailable()
            if response.must_answer:
                return response.failed(error)
            raise
        written = response.sent  # by write(), before the last line of the application had run
        if response.waiting:
            try:
                sent = response.send()
            except BaseException:
                _close(body)  # the server will not see it
                raise
            if not sent:
                _close(body)
                return [_BODY]
        wrapper = environ.get("wsgi.file_wrapper")
        whole = isinstance(body, list | tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper))
        if whole and not written:
            return body  # no code of the application runs any more; servers send these faster
        return _Body(body, response, session)


class _Response:
    """``start_response``, put off until the session is committed."""

    def __init__(self, session: SyncSession, start_response: "StartResponse") -> None:
        self.sent = self.replaced = False
        self._session = session
        self._start_response = start_response
        self._call: tuple[Any, ...] | None = None
        self._write: Callable[[bytes], object] | None = None

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        """What the application calls; again with ``exc_info`` if it changes its mind."""
        if self.sent and not self.replaced:
            return self._start_response(status, headers, exc_info)  # raises, as the headers have left
        self._call = (status, headers, exc_info) if exc_info else (status, headers)
        return self.write

    @property
    def waiting(self) -> bool:
        return self._call is not None and not self.sent

    def write(self, data: bytes) -> None:
        """The old way to send a body."""
        if self.waiting and not self.send() and self._write is not None:
            self._write(_BODY)
        elif not self.replaced and self._write is not None:
            self._write(data)

    def send(self) -> bool:
        """Commit the session and pass the headers on; ``False`` if the response was replaced."""
        assert self._call is not None
        status, headers, *rest = self._call
        session = self._session
        if status.startswith("500") and session._refused:
            self.unavailable()
            return False
        if status.startswith("5"):
            session._forget()
        elif session.accessed:
            try:
                session.save()
            except BackendError as error:
                session._core.unsaved(error)
                self.unavailable()
                return False
        self.sent = session._sealed = True
        if session.accessed:
            headers = merge(headers, session._set_cookies)
        self._write = self._start_response(status, headers, *rest)
        return True

    def can_answer(self, error: Exception) -> bool:
        # Only what the session raised: another piece's outage is not ours to answer.
        return self._session._raised(error) and not self.sent

    @property
    def must_answer(self) -> bool:
        """Whether an explicit ``save()`` has made a cookie: no other answer would have it."""
        return not self.sent and self._session._cookie is not None

    def failed(self, error: Exception) -> Iterator[bytes]:
        """Answer 500 with the cookie, and then raise ``error`` for whoever reports it."""
        self.sent = self._session._sealed = True
        cookies = to_wsgi((b"set-cookie", cookie) for cookie in self._session._set_cookies)
        self._start_response("500 Internal Server Error", [*_FAILED, *cookies])
        return _raising(error)

    def unavailable(self) -> list[bytes]:
        """Answer 503 in place of whatever the application sends."""
        self.sent = self.replaced = self._session._sealed = True
        headers = list(_UNAVAILABLE)
        if self._session._cookie is not None:
            # The one before may have ended.
            headers += to_wsgi((b"set-cookie", cookie) for cookie in self._session._set_cookies)
        self._write = self._start_response("503 Service Unavailable", headers)
        return [_BODY]


def _raising(error: Exception) -> Iterator[bytes]:
    yield _ERROR
    raise error


class _Body:
    """A body that is made while it is sent."""

    def __init__(self, body: WSGIBody, response: _Response, session: SyncSession) -> None:
        self._body = body
        self._chunks = iter(body)
        self._response = response
        self._session = session

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        response = self._response
        if response.replaced:
            raise StopIteration
        try:
            chunk = next(self._chunks)
        except StopIteration:
            if response.waiting and not response.send():
                return _BODY
            raise
        except Exception as error:
            if response.can_answer(error):
                return response.unavailable()[0]
            if not response.must_answer:
                raise
            self._chunks = response.failed(error)
            return next(self._chunks)
        if response.waiting and not response.send():
            return _BODY
        return chunk

    def close(self) -> None:
        _close(self._body)
        self._session._close()


def merge(headers: list[tuple[str, str]], cookies: list[bytes]) -> list[tuple[str, str]]:
    """``headers`` of a response that depends on the session, and with its cookies if there are any."""
    # Only what is merged goes through bytes: the others keep the spelling that the application gave them.
    merged = from_wsgi(pair for pair in headers if _MERGED.fullmatch(pair[0]))
    for_one_visitor(merged)
    merged.extend((b"set-cookie", cookie) for cookie in cookies)
    return [pair for pair in headers if not _MERGED.fullmatch(pair[0])] + to_wsgi(merged)


def _close(body: WSGIBody) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
