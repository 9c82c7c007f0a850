"""From a URL as a page writes it to the asset it means.

Rules (URL standard, 4.4, for ``http`` and ``https``):

* Space and controls around a URL are dropped, tabs and newlines inside it too; ``\\`` is ``/``.
* ``.`` and ``..``, percent-encoded or not, are resolved before anything is looked up.
* Query and fragment are kept as they are; they are no part of the look-up.
* ``//host/...`` and ``https://host/...`` mean an asset only where the host is the request's own, or they are
  at a CDN of the assets, see :mod:`scalekit.cdn._cdns`. Such a URL means what its path does without the CDN.
* A ``<base>`` at a CDN is elsewhere, like one at any other host.
"""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from scalekit.cdn._cdns import Cdns, host_of

_AROUND = "".join(map(chr, range(0x21)))
_INSIDE = dict.fromkeys(map(ord, "\t\n\r"))
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_NO_CDN = Cdns(None)


def split(url: str) -> tuple[str, str]:
    """A URL's beginning, and its query and fragment with their ``?`` or ``#``."""
    cut = next((at for at, letter in enumerate(url) if letter in "?#"), len(url))
    return url[:cut], url[cut:]


def normalise(path: str) -> str | None:
    """An absolute path without dot segments and percent-encoding; ``None`` when it is not UTF-8."""
    segments: list[str] = []
    parts = path[1:].split("/")
    for index, part in enumerate(parts):
        plain = part.lower().replace("%2e", ".") if "%" in part else part
        if plain in (".", ".."):
            if plain == ".." and segments:
                segments.pop()
            if index == len(parts) - 1:
                segments.append("")
        else:
            segments.append(part)
    try:
        return unquote("/" + "/".join(segments), errors="strict")
    except UnicodeDecodeError:
        return None


class Meaning(NamedTuple):
    """What a URL means: a path on the application's host, and whether it is written as one at a CDN."""

    path: str
    at_cdn: bool


class _Parts(NamedTuple):
    scheme: str  # empty without one
    host: str | None
    path: str


class Base:
    """What relative URLs of a document resolve against: the request's path and host, or its ``<base>``.

    Args:
        path: the request's.
        host: the request's ``Host``, if it is known.
        cdns: at which URLs are the application's, too.
    """

    __slots__ = ("_cdns", "_directory", "_host")

    def __init__(self, path: str, host: str | None, cdns: Cdns = _NO_CDN) -> None:
        self._host = None if host is None else host_of(host, "")
        self._cdns = cdns
        # None after <base href="https://elsewhere/">, or one in doubt: then nothing relative is ours.
        self._directory: str | None = quote(path[: path.rfind("/") + 1]) or "/"

    @property
    def directory(self) -> str | None:
        """The path up to its last slash, percent-encoded; ``None`` on another host, or nobody knows where."""
        return self._directory

    def move(self, href: str | None) -> None:
        """Take the document's ``<base href>``; ``None`` when it may be that or not."""
        if href is None:
            self._directory = None
            return
        url, _ = split(href.strip(_AROUND).translate(_INSIDE))
        if url:
            parts = _parse(url)
            plain = None if parts is None else self._here(parts)
            self._directory = None if plain is None else quote(plain[: plain.rfind("/") + 1])

    def resolve(self, url: str) -> Meaning | None:
        """What ``url`` means; ``None`` when it is elsewhere."""
        url, _ = split(url.strip(_AROUND).translate(_INSIDE))
        parts = _parse(url) if url else None
        if parts is None:
            return None
        if parts.host is not None and (plain := normalise(parts.path)) is not None:
            there = self._cdns.path(parts.scheme, parts.host, plain)
            if there is not None:
                return Meaning(there, at_cdn=True)
        here = self._here(parts)
        return None if here is None else Meaning(here, at_cdn=False)

    def _here(self, parts: _Parts) -> str | None:
        """The path on this host."""
        path = parts.path
        if parts.host is not None:
            return normalise(path) if parts.host == self._host else None
        if self._directory is None:
            return None
        return normalise(path if path.startswith("/") else self._directory + path)


def _parse(url: str) -> _Parts | None:
    """The parts of a URL that a browser fetches over HTTP."""
    url = url.replace("\\", "/")
    scheme = ""
    if found := _SCHEME.match(url):
        scheme, url = found[1].lower(), url[found.end() :]
        if scheme not in ("http", "https") or not url.startswith("//"):
            return None
    if not url.startswith("//"):
        return _Parts(scheme, None, url)
    authority, _, path = url[2:].partition("/")
    return _Parts(scheme, host_of(authority, scheme), "/" + path)
