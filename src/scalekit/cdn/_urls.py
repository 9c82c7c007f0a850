"""From a URL as a page writes it to the asset it means.

Rules (URL standard, 4.4, for ``http`` and ``https``):

* Space and controls around a URL are dropped, tabs and newlines inside it too; ``\\`` is ``/``.
* ``.`` and ``..``, percent-encoded or not, are resolved before anything is looked up.
* Query and fragment are kept as they are; they are no part of the look-up.
* ``//host/...`` and ``https://host/...`` mean an asset only where the host is the request's own.
"""

import re
from urllib.parse import quote, unquote

_AROUND = "".join(map(chr, range(0x21)))
_INSIDE = dict.fromkeys(map(ord, "\t\n\r"))
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_DEFAULT_PORT = re.compile(r":(?:80|443)?$")


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


class Base:
    """What relative URLs of a document resolve against: the request's path and host, or its ``<base>``."""

    __slots__ = ("_directory", "_host")

    def __init__(self, path: str, host: str | None) -> None:
        self._host = None if host is None else _DEFAULT_PORT.sub("", host.lower())
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
            path = self._absolute(url)
            plain = None if path is None else normalise(path)
            self._directory = None if plain is None else quote(plain[: plain.rfind("/") + 1])

    def resolve(self, url: str) -> tuple[str, str] | None:
        """The path on this host that ``url`` means, and its query and fragment; ``None`` when elsewhere."""
        url, suffix = split(url.strip(_AROUND).translate(_INSIDE))
        path = self._absolute(url) if url else None
        plain = None if path is None else normalise(path)
        return None if plain is None else (plain, suffix)

    def _absolute(self, url: str) -> str | None:
        url = url.replace("\\", "/")
        if scheme := _SCHEME.match(url):
            url = url[scheme.end() :]
            if scheme[1].lower() not in ("http", "https") or not url.startswith("//"):
                return None
        if url.startswith("//"):
            authority, _, path = url[2:].partition("/")
            same = self._host is not None and _DEFAULT_PORT.sub("", authority.lower()) == self._host
            return "/" + path if same else None
        if self._directory is None:
            return None
        return url if url.startswith("/") else self._directory + url
