"""The token of a request and that of its response; shared by the ASGI and the WSGI shell."""

import logging
import re
import time
from collections.abc import Mapping
from typing import TypedDict

from scalekit._durations import Duration
from scalekit._http import Cookie, make_private, read_cookie, read_cookies
from scalekit._options import check_kind
from scalekit.database.scope import Scope
from scalekit.database.scopes import Scopes
from scalekit.database.starts import SAFE_METHODS, Start, Starts
from scalekit.database.tokens import Token, TokenSigner, latest
from scalekit.database.visitors import Identify, by_client, visitor_number
from scalekit.errors import ConfigurationError
from scalekit.types import Headers, SecretKey

_log = logging.getLogger("scalekit.database")

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.1
_MOST_CARRIED = 8  # tokens in one line of the header; each is verified
_MOST_AROUND = 100  # middlewares around one another
_LATE = 60.0  # seconds; a browser that drops a cookie on time is not as late as that


class VisitOptions(TypedDict, total=False):
    """What both middlewares take besides the cluster and the secret.

    * ``cookie``: its name and scope; called ``rw`` by default, ``__Host-rw`` under HTTPS. Each cluster behind
      an application needs a name of its own. ``None``: no cookie, with ``header``.
    * ``header``: the name of a header that carries the token for clients without cookies, none by default.
      They send back what the last response had in it.
    * ``visitor``: who a request is from, by its headers and address: a function, such as
      :func:`.by_cookie`. By default :func:`.by_client`.
    * ``max_age``: how long a visitor's writes are remembered, in seconds or as a ``timedelta``; 10 minutes by
      default. Make it longer than the cluster's ``max_lag`` and what the servers' clocks differ by.
    * ``safe_methods``: HTTP methods whose requests may read from replicas from the start; by default GET,
      HEAD, OPTIONS and TRACE.
    * ``routes``: exceptions from that, by path: ``{"POST /search": "reads", "/login/*": "writes"}``;
      ``{id}`` in a path stands for one segment of it.
    """

    cookie: Cookie | None
    header: str | None
    visitor: Identify
    max_age: Duration
    safe_methods: frozenset[str]
    routes: Mapping[str, Start]


class Visit(Scope):
    """The scope of one request.

    Args:
        carried: the token that came in the header, as it came; ``None`` without one that counts.
    """

    carried: str | None = None


class Visits:
    """Reads the token of a request and writes that of its response."""

    def __init__(
        self,
        scopes: Scopes,
        *,
        secret_key: SecretKey,
        cookie: Cookie | None = Cookie(name="rw"),
        header: str | None = None,
        visitor: Identify = by_client,
        max_age: Duration = 600,
        safe_methods: frozenset[str] = SAFE_METHODS,
        routes: Mapping[str, Start] | None = None,
    ) -> None:
        if cookie is not None:
            check_kind(cookie, Cookie, option="cookie=", wanted="a Cookie, such as Cookie(name='rw')")
        elif header is None:
            raise ConfigurationError("cookie=None and no header=: nothing would carry what a visitor wrote")
        if header is not None and not (isinstance(header, str) and _NAME.fullmatch(header)):
            raise ConfigurationError("header= is no name of an HTTP header; use letters, digits and hyphens")
        if not callable(visitor):
            raise ConfigurationError(
                "visitor= must be a function of headers and an address, or by_cookie(...)"
            )
        self._scopes = scopes
        names = (None if cookie is None else ("cookie", cookie.name), header and ("header", header.lower()))
        self._names = {name for name in names if name}
        self._signer = TokenSigner(secret_key, max_age=max_age)
        self._cookie = cookie
        self._header = None if header is None else header.lower().encode("ascii")
        self._identify = visitor
        self._starts = Starts(safe_methods, {} if routes is None else routes)
        self._warned = False

    def check_names(self, app: object) -> None:
        """Refuse that another cluster's middleware inside of ``app`` uses the same names.

        One would overwrite what the other has told the visitor.

        Raises:
            ConfigurationError: there is one inside of ``app``, directly or behind other middlewares.
        """
        for _ in range(_MOST_AROUND):
            inner = getattr(app, "_visits", None)
            if isinstance(inner, Visits) and inner._scopes is not self._scopes:
                for kind, name in self._names & inner._names:
                    raise ConfigurationError(
                        f"two clusters have a ReadYourWritesMiddleware around this application, and both use "
                        f"the {kind} {name!r}; give one of them another, such as "
                        + (
                            "cookie=Cookie(name='rw-accounts')"
                            if kind == "cookie"
                            else "header='X-RW-Accounts'"
                        )
                    )
            app = getattr(app, "app", None)
            if app is None:
                return

    def begin(self, headers: Headers, *, method: str, path: str, address: str | None, https: bool) -> Visit:
        """The scope of a request."""
        token: Token | None = None
        if self._cookie is not None:
            for text in _cookies(headers, self._cookie.name_for(https=https)):
                token = latest(token, self._read(text))
        carried, promised = self._carried(headers)
        token = latest(token, promised)
        visit = Visit(
            token,
            writes=self._starts.on_primary(method, path),
            visitor=visitor_number(self._identify(headers, address)),
        )
        visit.carried = carried
        return visit

    def answer(self, visit: Visit, headers: Headers, *, https: bool) -> None:
        """Tell the visitor what they have written, if they have; from here on it is too late."""
        token = visit.token
        if token is not None and visit.advanced:
            # Another response to this visitor may have left with a later token, and arrived before.
            value = self._signer.dumps(self._scopes.newest_since(token))
            if self._cookie is not None:
                cookie = self._cookie.set(value, https=https, max_age=int(self._signer.max_age))
                headers.append((b"set-cookie", cookie))
            if self._header is not None:
                headers.append((self._header, value.encode("ascii")))
            # A shared cache would hand it to everybody.
            make_private(headers)
        elif token is not None and visit.carried is not None and self._header is not None:
            headers.append((self._header, self._seen(visit, token, visit.carried).encode("ascii")))
            make_private(headers)
        visit.seal()

    def _seen(self, visit: Visit, token: Token, carried: str) -> str:
        """The token for a client that wrote nothing, and perhaps has read from a replica."""
        if visit.seen is not None:
            then, now = visit.seen.report, visit.seen.member.health.report
            report = now if now is not None and now.server == then.server else then
            token = token.merge(report.reached.token(report.epoch))
        # What nobody can compare keeps its expiry, or its client would stay on the primary for ever.
        return self._signer.dumps(token) if token.is_known else carried

    def _carried(self, headers: Headers) -> tuple[str | None, Token | None]:
        """The token that came in the header, and its text; somebody on the way may have sent one, too."""
        carried: str | None = None
        promised: Token | None = None
        for name, value in headers if self._header is not None else ():
            if name != self._header:
                continue
            # WSGI joins the lines.
            for part in value.decode("latin-1").split(",", _MOST_CARRIED)[:_MOST_CARRIED]:
                text = part.strip()
                token = self._signer.loads(text)
                if token is not None and (promised is None or promised.is_known):
                    carried = text
                promised = latest(promised, token)
        return carried, promised

    def _read(self, text: str) -> Token | None:
        signed = self._signer.read(text)
        if signed is None:
            return None
        token, expires = signed
        late = time.time() - expires
        if late > _LATE and not self._warned:
            self._warned = True
            _log.warning(
                "a cookie with a visitor's writes came back %d s after it expired, which no browser does: if "
                "the clocks of the servers differ, visitors may miss their own writes; synchronise them",
                late,
            )
        return token if late < 0 else None


def _cookies(headers: Headers, name: str) -> list[str]:
    """The values of the cookies called ``name``.

    Another host of the domain may have set one too, which must not hide what the visitor wrote. To look for
    more than one takes longer, so only where there may be.
    """
    start = f"{name}=".encode("ascii")
    most = sum(value.count(start) for header, value in headers if header == b"cookie")
    if most > 1:
        return read_cookies(headers, name)
    only = read_cookie(headers, name) if most else None
    return [] if only is None else [only]
