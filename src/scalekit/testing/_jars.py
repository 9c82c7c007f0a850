"""The cookie jars of test clients, in their own terms: what a client would send, and what it keeps."""

import urllib.request
from collections.abc import Sequence
from email.message import Message
from http.cookiejar import CookieJar
from typing import Any, Protocol
from urllib.parse import urlsplit

from scalekit._http import Cookie
from scalekit.errors import ConfigurationError


class Jar(Protocol):
    """Where a client keeps its cookies.

    Attributes:
        app: the application that it sends requests to, ``None`` if that cannot be seen.
    """

    app: Any

    def url(self, cookie: Cookie) -> str:
        """An address of the application that the cookie is for."""
        ...

    def header(self, cookie: Cookie, others: Sequence[Cookie] = ()) -> bytes | None:
        """The ``Cookie`` header of a request there; at least of it and the ``others``."""
        ...

    def keep(self, cookie: Cookie, line: str) -> None:
        """Take the ``Set-Cookie`` header ``line`` of a response from there."""
        ...


def jar_of(client: Any, base_url: str | None) -> Jar:
    """The jar of ``client``, for requests to ``base_url``.

    Raises:
        TypeError: no client that is known, or one without cookies or a base URL.
    """
    jar = getattr(getattr(client, "cookies", None), "jar", None)
    if isinstance(jar, CookieJar):
        return _HTTPX(client, jar, base_url)
    if hasattr(client, "set_cookie") and hasattr(client, "application"):
        return _Werkzeug(client, base_url)
    cure = (
        "use client.session and client.force_login(user)"
        if hasattr(client, "force_login")
        else ("use TestClient of Starlette, httpx's clients, werkzeug's Client or Flask's test_client()")
    )
    raise TypeError(
        f"{type(client).__module__}.{type(client).__qualname__} is no client that is known; {cure}"
    )


class _HTTPX:
    """Starlette's ``TestClient``, and the clients of httpx. Their jars are of :mod:`http.cookiejar`."""

    def __init__(self, client: Any, jar: CookieJar, base_url: str | None) -> None:
        self.app = getattr(client, "app", None) or getattr(getattr(client, "_transport", None), "app", None)
        self._jar = jar
        self._base_url = base_url or str(client.base_url)
        if not self._base_url:
            raise TypeError(f"the {type(client).__name__} has no base_url; give it one, or session_of one")

    def url(self, cookie: Cookie) -> str:
        scheme, host, *_ = urlsplit(self._base_url)
        return f"{scheme}://{host}{cookie.path}"

    def header(self, cookie: Cookie, others: Sequence[Cookie] = ()) -> bytes | None:
        request = urllib.request.Request(self.url(cookie))  # noqa: S310  it is not sent
        self._jar.add_cookie_header(request)
        header: str | None = request.get_header("Cookie")
        return None if header is None else header.encode("latin-1")

    def keep(self, cookie: Cookie, line: str) -> None:
        response: Any = _Response(line)
        self._jar.extract_cookies(response, urllib.request.Request(self.url(cookie)))  # noqa: S310
        name, _, value = line.partition(";")[0].partition("=")
        if value and f"{name}={value}".encode() not in (self.header(cookie) or b"").split(b"; "):
            raise ConfigurationError(
                f"the client would not send the cookie {name} to {self.url(cookie)}; a Secure one needs "
                "base_url='https://...', one with a Domain an address in it"
            )


class _Response:
    """As much of a response as a CookieJar looks at."""

    def __init__(self, line: str) -> None:
        self._headers = Message()
        self._headers["Set-Cookie"] = line

    def info(self) -> Message:
        return self._headers


class _Werkzeug:
    """``werkzeug.test.Client`` and Flask's, which knows the address in Flask's settings."""

    def __init__(self, client: Any, base_url: str | None) -> None:
        self.app = client.application
        self._client = client
        config = getattr(self.app, "config", None) or {}
        scheme, server = config.get("PREFERRED_URL_SCHEME", "http"), config.get("SERVER_NAME") or "localhost"
        self._base_url = base_url or f"{scheme}://{server}"

    def url(self, cookie: Cookie) -> str:
        scheme, host, *_ = urlsplit(self._base_url)
        return f"{scheme}://{host}{cookie.path}"

    def _place(self, domain: str | None, path: str) -> dict[str, str]:
        # It knows a cookie by its domain and path.
        host = urlsplit(self._base_url).hostname or "localhost"
        return {"domain": (domain or host).lstrip("."), "path": path}

    def header(self, cookie: Cookie, others: Sequence[Cookie] = ()) -> bytes | None:
        https = self._base_url.startswith("https:")
        pairs: list[str] = []
        for wanted in (cookie, *others):
            name = wanted.name_for(https=https)
            kept = self._client.get_cookie(name, **self._place(wanted.domain, wanted.path))
            if kept is not None:
                pairs.append(f"{name}={kept.value}")
        return "; ".join(pairs).encode("latin-1") or None

    def keep(self, cookie: Cookie, line: str) -> None:
        (name, value), *rest = ([*part.split("=", 1), ""][:2] for part in line.split("; "))
        attributes = dict(rest)
        place = self._place(attributes.get("Domain"), attributes.get("Path", "/"))
        if value:
            self._client.set_cookie(name, value, origin_only="Domain" not in attributes, **place)
        else:
            self._client.delete_cookie(name, **place)
