"""The HTTP rules that several pieces share: cookies, ``Vary``, ``Cache-Control``, ``ETag``.

Everything here is pure. ASGI header lists (``[(b"vary", b"Cookie")]``) are the one representation;
:func:`from_wsgi` and :func:`to_wsgi` convert at the border of a WSGI shell.

Rules:

* A header that is merged keeps what the application put there; nothing is ever made weaker.
* The first cookie of a name wins, as browsers send the most specific path first (RFC 6265, 5.4).
* A cookie is deleted with the attributes it was set with, or the browser keeps it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache
from typing import Any, Literal

from scalekit.errors import ConfigurationError
from scalekit.types import Headers

# RFC 6265, 4.1.1: cookie-name is a token, cookie-value excludes controls, space, quote, comma, ; and \.
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")

# What speaks to some caches only, and overrides Cache-Control for them (RFC 9213 and its forerunners).
_TARGETED = re.compile(rb".+-cache-control|surrogate-control|edge-control|x-accel-expires", re.IGNORECASE)
_CACHING = re.compile(rb"control|x-accel-expires", re.IGNORECASE)  # in all of them
_SHARED = re.compile(rb"vary|control|x-accel-expires", re.IGNORECASE)  # what may speak to caches at all

# What makes a response storable by a shared cache; `private` and `no-store` already forbid it.
_PUBLIC = re.compile(rb"\s*(public|s-maxage\s*=[^,]*)\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Cookie:
    """How a cookie is named and scoped. Checked when built.

    Args:
        name: without ``__Host-``; the prefix is added where the browser's conditions for it hold
            (HTTPS, ``path="/"``, no ``domain``), unless ``host_prefix=False``.
        path: the cookie's ``Path``.
        domain: the cookie's ``Domain``; ``None`` (default) keeps it on the exact host.
        secure: ``True`` or ``False``, or ``None`` (default) to follow the scheme of the request.
        http_only: hidden from scripts, the default.
        same_site: ``"lax"`` (default), ``"strict"`` or ``"none"``; ``"none"`` needs ``secure=True``.
        partitioned: CHIPS, one jar per top-level site; needs ``secure=True``.
        host_prefix: see ``name``.

    Raises:
        ConfigurationError: a combination that browsers refuse.
    """

    name: str = "session"
    path: str = "/"
    domain: str | None = None
    secure: bool | None = None
    http_only: bool = True
    same_site: Literal["lax", "strict", "none"] = "lax"
    partitioned: bool = False
    host_prefix: bool = True

    def __post_init__(self) -> None:
        if not _TOKEN.fullmatch(self.name):
            raise ConfigurationError(f"cookie name {self.name!r} is no HTTP token (letters, digits, - _ .)")
        if self.same_site not in ("lax", "strict", "none"):
            raise ConfigurationError(f"same_site={self.same_site!r}; use 'lax', 'strict' or 'none'")
        for attribute in (self.path, self.domain or ""):
            if re.search(r"[;\x00-\x1f\x7f]|[^\x00-\x7f]", attribute):
                raise ConfigurationError(
                    f"cookie attribute {attribute!r} has ';', a control or non-ASCII in it"
                )
        if not self.path.startswith("/"):
            raise ConfigurationError(f"cookie path {self.path!r} must start with '/'")
        if self.domain == "":
            raise ConfigurationError("domain='' is no domain; use None to keep the cookie on the exact host")
        prefix = self.name.lower()  # browsers compare it without regard to case
        if prefix.startswith("__host-") and (self.domain or self.path != "/" or self.secure is not True):
            raise ConfigurationError(
                f"browsers refuse {self.name!r} unless secure=True, path='/' and domain=None; "
                "leave the prefix out and it is added under HTTPS"
            )
        if prefix.startswith("__secure-") and self.secure is not True:
            raise ConfigurationError(f"browsers refuse {self.name!r} unless secure=True")
        if self.same_site == "none" and self.secure is not True:
            raise ConfigurationError("browsers refuse same_site='none' unless secure=True")
        if self.partitioned and self.secure is not True:
            raise ConfigurationError("browsers refuse partitioned=True unless secure=True")

    def name_for(self, *, https: bool) -> str:
        """The name on the wire: ``__Host-`` is added where it may be."""
        secure = https if self.secure is None else self.secure
        fits = secure and self.host_prefix and self.path == "/" and self.domain is None
        return f"__Host-{self.name}" if fits and not self.name.startswith("__") else self.name

    def set(self, value: str, *, https: bool, max_age: int | None = None) -> bytes:
        """A ``Set-Cookie`` value. ``max_age`` is in seconds; ``None`` ends with the browser session."""
        if not _VALUE.fullmatch(value):
            raise ValueError(f"cookie {self.name!r}: the value contains characters that RFC 6265 excludes")
        parts = [f"{self.name_for(https=https)}={value}", f"Path={self.path}"]
        if self.domain is not None:
            parts.append(f"Domain={self.domain}")
        if max_age is not None:
            parts.append(f"Max-Age={max_age}")
            if max_age <= 0:
                parts.append(f"Expires={formatdate(0, usegmt=True)}")
        if https if self.secure is None else self.secure:
            parts.append("Secure")
        if self.http_only:
            parts.append("HttpOnly")
        parts.append(f"SameSite={self.same_site.capitalize()}")
        if self.partitioned:
            parts.append("Partitioned")
        return "; ".join(parts).encode("latin-1")

    def delete(self, *, https: bool) -> bytes:
        """A ``Set-Cookie`` value that removes the cookie."""
        return self.set("", https=https, max_age=0)


def read_cookie(headers: Iterable[tuple[bytes, bytes]], name: str) -> str | None:
    """The value of the first cookie called ``name``, or ``None``. Bytes that are not latin-1 cannot occur."""
    for header, value in headers:
        if header == b"cookie" and (found := _cookie(name).search(value)):
            return found[1].strip().strip(b'"').decode("latin-1")
    return None


@cache
def _cookie(name: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?:^|;)\s*" + re.escape(name.encode("latin-1")) + rb"\s*=([^;]*)")


def read_cookies(headers: Iterable[tuple[bytes, bytes]], name: str) -> list[str]:
    """The values of the cookies called ``name``, eight at most. There is more than one where another host of
    the domain, or another path, has set one too.
    """
    found = []
    for header, value in headers:
        for pair in value.split(b";") if header == b"cookie" else ():
            cookie = read_cookie([(header, pair)], name)
            if cookie is not None:
                found.append(cookie)
    return found[:8]


def is_field_name(name: object) -> bool:
    """Whether it is text that may be the name of a header (RFC 9110, 5.1)."""
    return isinstance(name, str) and _TOKEN.fullmatch(name) is not None


def get(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """All values of a list header joined by commas (RFC 9110, 5.3), or ``None``."""
    values = [value for header, value in headers if header.lower() == name]
    return b", ".join(values) if values else None


def replace(headers: Headers, name: bytes, value: bytes) -> None:
    """Set a header to one value in place, dropping what was there."""
    headers[:] = [pair for pair in headers if pair[0].lower() != name]
    headers.append((name, value))


def matches_etag(if_none_match: bytes | None, etag: bytes) -> bool:
    """Whether ``If-None-Match`` names ``etag``, so that the answer is 304.

    Compared weakly, as RFC 9110 (13.1.2) has it: ``W/"a"`` names ``"a"`` too.

    Args:
        if_none_match: the header's value, ``None`` if there is none.
        etag: what would be sent, with its quotes.
    """
    if if_none_match is None:
        return False
    tags = {tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")}
    return etag.removeprefix(b"W/") in tags or b"*" in tags


def for_one_visitor(headers: Headers) -> None:
    """Say that the response depends on the visitor's cookie, and keep shared caches from storing it."""
    if _SHARED.search(b"\n".join([name for name, _ in headers])):
        vary_on(headers, b"cookie")
        make_private(headers)
    else:  # as for most responses
        headers += [(b"vary", b"cookie"), (b"cache-control", b"private")]


def vary_on(headers: Headers, field: bytes) -> None:
    """Add ``field`` to ``Vary`` unless it is there, or ``*`` is."""
    present = get(headers, b"vary")
    if present is None:
        headers.append((b"vary", field))
        return
    fields = {part.strip().lower() for part in present.split(b",")}
    if field.lower() not in fields and b"*" not in fields:
        replace(headers, b"vary", present + b", " + field)


def make_private(headers: Headers) -> None:
    """Keep shared caches from storing the response; ``no-store`` and stricter directives stay.

    A header that overrides ``Cache-Control`` for some of them goes.
    """
    if not _CACHING.search(b"\n".join([name for name, _ in headers])):  # as for most responses
        headers.append((b"cache-control", b"private"))
        return
    headers[:] = [pair for pair in headers if not _TARGETED.fullmatch(pair[0])]
    present = get(headers, b"cache-control")
    if present is None:
        headers.append((b"cache-control", b"private"))
        return
    directives = [part.strip() for part in present.split(b",") if part.strip()]
    names = {part.partition(b"=")[0].strip().lower() for part in directives}
    kept = [part for part in directives if not _PUBLIC.fullmatch(part)]
    # `private="field"` covers only that field, so it does not count as private.
    if b"no-store" not in names and not any(part.lower() == b"private" for part in directives):
        kept.append(b"private")
    if kept != directives:
        replace(headers, b"cache-control", b", ".join(kept))


def forbid_storing(headers: Headers) -> None:
    """Keep all caches from storing the response: ``no-store``, and no header that overrides it for some."""
    headers[:] = [pair for pair in headers if not _TARGETED.fullmatch(pair[0])]
    replace(headers, b"cache-control", b"no-store")


def from_wsgi(headers: Iterable[tuple[str, str]]) -> Headers:
    """A WSGI header list in the ASGI shape."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def to_wsgi(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """An ASGI header list in the WSGI shape."""
    return [(name.decode("latin-1").title(), value.decode("latin-1")) for name, value in headers]


def request_headers(environ: dict[str, Any]) -> Headers:
    """The request headers in a WSGI environ, in the ASGI shape."""
    headers = [
        (key[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1"))
        for key, value in environ.items()
        if key.startswith("HTTP_")
    ]
    headers.extend(
        (key.replace("_", "-").lower().encode("latin-1"), environ[key].encode("latin-1"))
        for key in ("CONTENT_TYPE", "CONTENT_LENGTH")
        if environ.get(key)
    )
    return headers
