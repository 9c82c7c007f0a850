"""Sessions for Flask: ``app.session_interface = ServerSessionInterface(store, secret_key=SECRET)``.

``flask.session`` is then the session of this package; nothing else changes for the application. It is loaded
when it is first looked at. If the store does not answer, what Flask gets is an HTTP 503.

``from scalekit.sessions.flask import session`` is ``flask.session`` with its type, for type checkers.
"""

import functools
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal, TypedDict, Unpack, cast

import flask
from flask import Flask, Request, Response
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.exceptions import ServiceUnavailable

from scalekit._durations import Duration
from scalekit._http import Cookie
from scalekit._steps import run
from scalekit.errors import BackendError, BackendUnavailable, ConfigurationError
from scalekit.sessions._core import IDLE, Core, bind
from scalekit.sessions._state import Status
from scalekit.sessions.codec import Types
from scalekit.sessions.events import Events
from scalekit.sessions.migration import LegacyCookie
from scalekit.sessions.store import Loaded, Store
from scalekit.sessions.wsgi import SyncSession, cookie_token, merge
from scalekit.types import SecretKey

_DEFAULT_IDLE = timedelta(seconds=IDLE)


_FLASHES = "_flashes"  # where flash() of Flask keeps its messages


class SessionUnavailable(BackendUnavailable, ServiceUnavailable):
    """The store did not answer: ours to catch, and an HTTP 503 to Flask."""

    def __init__(self, error: BackendError) -> None:
        BackendUnavailable.__init__(self, str(error), backend=error.backend)
        ServiceUnavailable.__init__(self, retry_after=1)
        self.__cause__ = error

    def __str__(self) -> str:
        return str(self.__cause__)  # for logs; what a visitor gets is Flask's description of a 503


class FlaskSession(SyncSession, SessionMixin):
    """``flask.session``. As in Flask, the cookie ends with the browser unless ``permanent`` is set."""

    accessed = False
    _was_permanent = False

    @property
    def modified(self) -> bool:
        """Whether there is something to save. Setting it does nothing: changes are noticed."""
        return super().modified

    @modified.setter
    def modified(self, value: bool) -> None:
        """There for code that was written for Flask's own session."""

    @property
    def new(self) -> bool:  # type: ignore[override]
        """What scalekit calls ``is_new``."""
        return self.is_new

    @property
    def persistent(self) -> bool:  # type: ignore[override]
        """What Flask calls ``permanent``."""
        return self.permanent

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a value and return it. Flask's messages go to one request only: see :meth:`take`."""
        if key == _FLASHES and self._core.stored and key in self:
            return self.take(key, *default or ([],))
        return super().pop(key, *default)

    def save(self) -> bool:
        try:
            return super().save()
        except BackendError:
            if self._fault is not None:
                raise self._fault from None
            raise

    def _arrived(self, loaded: Loaded | None) -> None:
        super()._arrived(loaded)
        self._was_permanent = self.permanent

    def _inherit(self, fields: dict[bytes, bytes], user: bytes | None) -> None:
        super()._inherit(fields, user)
        self._was_permanent = self.permanent

    def _missed(self, error: BackendError, *, readable: bool) -> None:
        super()._missed(SessionUnavailable(error), readable=readable)

    def _failed(self, error: BackendError) -> None:
        super()._failed(SessionUnavailable(error))


session = cast(FlaskSession, flask.session)
"""``flask.session`` itself, with its type: a type checker sees ``login()`` and the rest."""


class _Options(TypedDict, total=False):
    idle_timeout: Duration
    lifetime: Duration
    max_size: int
    types: Types
    on_error: Literal["unavailable", "anonymous"]
    events: Events
    migrate: Sequence[LegacyCookie]


class ServerSessionInterface(SessionInterface):
    """Flask's sessions, kept on the server.

    Args:
        store: where sessions live, e.g. ``RedisStore.from_url(url)``.
        secret_key: signs the cookies; one secret or a key ring, oldest first.
        cookie: its name and attributes; ``None`` (default) follows Flask's ``SESSION_COOKIE_*`` settings,
            except that a cookie is ``Secure`` under HTTPS and ``SameSite=Lax`` where they say nothing.
        options: see :class:`scalekit.sessions.Options`. Without ``idle_timeout``,
            ``PERMANENT_SESSION_LIFETIME`` holds where it is shorter, as it ends every session of Flask.

    Raises:
        ConfigurationError: an option is wrong, or the store's client is asynchronous.
    """

    def __init__(
        self,
        store: Store,
        *,
        secret_key: SecretKey,
        cookie: Cookie | None = None,
        **options: Unpack[_Options],
    ) -> None:
        rules = bind(store, "sync", taker="the ServerSessionInterface", options=options, known=_Options)
        self._given = options

        @functools.lru_cache(maxsize=8)
        def make(cookie: Cookie, idle: timedelta | None) -> Core:
            given: _Options = options if idle is None else {**options, "idle_timeout": idle}
            return rules(secret_key=secret_key, cookie=cookie, **given)

        self._make = make
        self._cookie = cookie
        make(cookie or Cookie(), None)  # so that a wrong option is an error here

    def open_session(self, app: Flask, request: "Request | None" = None) -> FlaskSession:
        if request is None:  # a function of the class that gets the application as self
            raise ConfigurationError(
                "app.session_interface is the class ServerSessionInterface; give it an instance, "
                "ServerSessionInterface(store, secret_key=...)"
            )
        core = self._core(app)
        https = request.is_secure
        token = cookie_token(core, request.environ, https=https)
        agent = request.environ.get("HTTP_USER_AGENT")
        return FlaskSession(core, token, https=https, agent=agent)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        session = cast(FlaskSession, session)
        core = self._core(app)
        if response.status_code >= 500:
            session._forget()
        elif session.accessed:
            try:
                run(core.commit(session))
                self._move_deadline(core, session)
            except BackendError as error:
                core.unsaved(error)
                _replace(response, SessionUnavailable(error))
                if session._cookie is not None:  # the one before may have ended
                    for line in session._set_cookies:
                        response.headers.add("Set-Cookie", line.decode())
                session._sealed = True
                return
        session._sealed = True
        if session.accessed:
            headers = merge(response.headers.to_wsgi_list(), session._set_cookies)
            response.headers.clear()
            response.headers.extend(headers)
            # For what is changed while it is streamed, or while the request is torn down.
            response.call_on_close(session._close)

    def _core(self, app: Flask) -> Core:
        limit = app.permanent_session_lifetime
        idle = limit if limit < _DEFAULT_IDLE and "idle_timeout" not in self._given else None
        if self._cookie is not None:
            return self._make(self._cookie, idle)
        config = app.config
        return self._make(
            _flask_cookie(
                self.get_cookie_name(app),
                self.get_cookie_path(app),
                self.get_cookie_domain(app),
                config["SESSION_COOKIE_SECURE"] or None,
                config["SESSION_COOKIE_HTTPONLY"],
                config["SESSION_COOKIE_SAMESITE"],
                config["SESSION_COOKIE_PARTITIONED"],
            ),
            idle,
        )

    def _move_deadline(self, core: Core, session: FlaskSession) -> None:
        """Send the cookie again if the application has made it (or no longer made it) permanent."""
        if session._status is not Status.LIVE or session._cookie is not None or session._came_with is None:
            return
        if session._followed:
            return  # the visitor has a newer cookie than this request came with
        if session.permanent != session._was_permanent:
            session._was_permanent = session.permanent
            left = session._stored.deadline // 1000 - int(time.time())
            session._cookie = core.cookie.set(
                core.tokens.sign(session._came_with),
                https=session._https,
                max_age=max(left, 1) if session.permanent else None,
            )


@functools.lru_cache(maxsize=8)
def _flask_cookie(
    name: str,
    path: str,
    domain: str | None,
    secure: bool | None,
    http_only: bool,
    same_site: str | None,
    partitioned: bool,
) -> Cookie:
    return Cookie(
        name=name,
        path=path,
        domain=domain,
        secure=secure,
        http_only=http_only,
        same_site=cast(Literal["lax", "strict", "none"], (same_site or "lax").lower()),
        partitioned=partitioned,
    )


def _replace(response: Response, error: SessionUnavailable) -> None:
    """Turn ``response`` into the answer to ``error``, so that it does not look like a success."""
    answer = error.get_response()
    response.status = answer.status
    response.headers = answer.headers
    response.headers["Cache-Control"] = "no-store"
    response.set_data(answer.get_data())
