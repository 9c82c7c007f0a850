"""The cookie that carries a visitor's token; shared by the ASGI and the WSGI shell."""

from typing import TypedDict

from scalekit._durations import Duration
from scalekit._http import Cookie, make_private, read_cookie
from scalekit._options import check_items, check_kind
from scalekit.database.scope import Scope
from scalekit.database.scopes import Scopes
from scalekit.database.tokens import TokenSigner
from scalekit.types import Headers, SecretKey

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, 9.2.1), and so may read from a replica."""


class VisitOptions(TypedDict, total=False):
    """What both middlewares take besides the cluster and the secret.

    * ``cookie``: its name and scope; called ``rw`` by default, ``__Host-rw`` under HTTPS. Each cluster behind
      an application needs a name of its own.
    * ``max_age``: how long a visitor's writes are remembered, in seconds or as a ``timedelta``; 10 minutes by
      default. Make it longer than the cluster's ``max_lag``.
    * ``safe_methods``: HTTP methods whose requests may read from replicas from the start; by default GET,
      HEAD, OPTIONS and TRACE.
    """

    cookie: Cookie
    max_age: Duration
    safe_methods: frozenset[str]


class Visits:
    """Reads the token of a request and writes that of its response."""

    def __init__(
        self,
        scopes: Scopes,
        *,
        secret_key: SecretKey,
        cookie: Cookie = Cookie(name="rw"),
        max_age: Duration = 600,
        safe_methods: frozenset[str] = SAFE_METHODS,
    ) -> None:
        check_kind(cookie, Cookie, option="cookie=", wanted="a Cookie, such as Cookie(name='rw')")
        self._scopes = scopes
        self._signer = TokenSigner(secret_key, max_age=max_age)
        self._cookie = cookie
        self._safe_methods = frozenset(check_items(safe_methods, option="safe_methods="))

    def begin(self, headers: Headers, *, method: str, https: bool) -> Scope:
        """The scope of a request."""
        text = read_cookie(headers, self._cookie.name_for(https=https))
        token = self._signer.loads(text) if text is not None else None
        return Scope(token, writes=method not in self._safe_methods)

    def answer(self, visit: Scope, headers: Headers, *, https: bool) -> None:
        """Tell the visitor what they have written, if they have; from here on it is too late."""
        if visit.advanced and visit.token is not None:
            # Another response to this visitor may have left with a later token, and arrived before.
            value = self._signer.dumps(self._scopes.newest_since(visit.token))
            cookie = self._cookie.set(value, https=https, max_age=int(self._signer.max_age))
            headers.append((b"set-cookie", cookie))
            # A shared cache would hand the cookie to everybody.
            make_private(headers)
        visit.seal()
