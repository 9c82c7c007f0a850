"""The assets of an application: their hashed names, their URLs, their contents.

Everything is computed once, when :class:`Assets` is built, and only from names and contents: every server
that has the same files has the same URLs, entity tags and bytes.
"""

import hashlib
import logging
import os
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from threading import Lock
from urllib.parse import quote, urlsplit

from scalekit._options import check_kind
from scalekit.cdn import _scan
from scalekit.cdn._media import content_type
from scalekit.cdn.fingerprint import hashed_name, style_sheets
from scalekit.errors import AssetNotFound, ConfigurationError

_PREFIX = re.compile(r"/(?:[A-Za-z0-9._~-]+/)*")
_CDN = re.compile(r"[A-Za-z0-9._~:/\[\]%-]+")
_VIEWS = 64
_log = logging.getLogger("scalekit.cdn")

Stamp = tuple[int, int, int]


def stamp(status: os.stat_result) -> Stamp:
    """What is another after any change to a file, or when another file has taken its place.

    Tools that unpack or copy set the content's time, but nobody sets the time of the inode's last change. Its
    number is no part of this, for some network and user-space file systems give another each time.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """One file.

    Args:
        name: its path below the folder, such as ``"css/site.css"``.
        hashed_name: the name with its content hash, such as ``"css/site.3f2a9c01b4d5.css"``.
        content_type: for the ``Content-Type`` header.
        digest: SHA-256 of the file, in hex.
        path: the file.
        size: its length in bytes when it was hashed.
        stamp: what :func:`stamp` said then, to notice on this machine that it has changed since.
        rendered: what is served under the hashed name when that is not the file: a style sheet that refers
            to hashed names.
        rendered_digest: SHA-256 of what is served under the hashed name.
    """

    name: str
    hashed_name: str
    content_type: str
    digest: str
    path: Path
    size: int
    stamp: Stamp
    rendered: bytes | None
    rendered_digest: str

    @property
    def integrity(self) -> str:
        """What an ``integrity`` attribute says of the bytes under the hashed name (Subresource Integrity)."""
        return "sha256-" + b64encode(bytes.fromhex(self.rendered_digest)).decode()


class Assets:
    """The files below a folder, each with a URL that changes when its content does.

    >>> assets = Assets("static", url="/static/", cdn="https://d111111abcdef8.cloudfront.net")
    >>> assets.url("logo.png")
    'https://d111111abcdef8.cloudfront.net/static/logo.3f2a9c01b4d5.png'

    Args:
        folder: where the files are. Read once, now; names that begin with a dot are left out.
        url: the path the application serves them under; begins and ends with ``/``.
        cdn: the CDN's address, such as ``"https://cdn.example.com"``; without one (the default) the
            application serves its assets itself.
        max_age: seconds that a browser may keep a file it asked for without its hash; default 60.

    Raises:
        ConfigurationError: the folder, a link in it, ``url`` or ``cdn`` is not usable; the message says why.
    """

    def __init__(
        self, folder: str | Path, *, url: str = "/static/", cdn: str | None = None, max_age: int = 60
    ) -> None:
        if not _PREFIX.fullmatch(url):
            raise ConfigurationError(
                f"url={url!r} is not a path such as '/static/': it begins and ends with '/', with letters, "
                "digits, '-', '.', '_' and '~' between; the address of a CDN goes into cdn="
            )
        self.folder = Path(folder)
        self.prefix = url
        self.max_age = max_age
        self.counts = Counts()
        self._assets = {asset.name: asset for asset in self._read()}
        self._hashed = {asset.hashed_name: asset for asset in self._assets.values()}
        self._views: dict[str | None, Assets] = {}
        self._point(None if cdn is None else _check_cdn(cdn))

    def _point(self, cdn: str | None) -> None:
        self.cdn = cdn
        start = f"{cdn or ''}{self.prefix}"
        self._urls = {name: start + quote(asset.hashed_name) for name, asset in self._assets.items()}
        #: For pages: the path of every asset, with and without its hash, as usually written, and its URL.
        self.links = {
            f"{self.prefix}{quote(name)}".encode(): self._urls[asset.name].encode()
            for asset in self._assets.values()
            for name in (asset.name, asset.hashed_name)
        }
        #: Eight hex digits that change with any URL: part of a rewritten page's entity tag.
        self.version = hashlib.sha256("\n".join(self._urls.values()).encode()).hexdigest()[:8]

    def at(self, cdn: str | None) -> "Assets":
        """The same files, and the same :attr:`counts`, with URLs at another CDN; ``None`` for none.

        Made once for each CDN, and kept for the 64 that were made last.

        Raises:
            ConfigurationError: ``cdn`` is no address.
        """
        if cdn == self.cdn:
            return self
        view = self._views.get(cdn)
        if view is None:
            view = copy(self)
            view._point(None if cdn is None else _check_cdn(cdn))
            while len(self._views) >= _VIEWS:
                # Another thread may have taken the first one away.
                self._views.pop(next(iter(self._views)), None)
            self._views[cdn] = view
        return view

    def url(self, name: str) -> str:
        """The URL of an asset: a look-up, for templates.

        Raises:
            AssetNotFound: there is no file of that name.
        """
        try:
            return self._urls[name]
        except KeyError:
            close = get_close_matches(str(name), self._urls, 1)
            raise AssetNotFound(name, where=str(self.folder), close=close[0] if close else None) from None

    def get(self, name: str) -> Asset | None:
        """The asset called ``name``, or ``None``."""
        return self._assets.get(name)

    def get_hashed(self, name: str) -> Asset | None:
        """The asset whose *hashed* name is ``name``, or ``None``."""
        return self._hashed.get(name)

    def __iter__(self) -> Iterator[Asset]:
        return iter(self._assets.values())

    def __len__(self) -> int:
        return len(self._assets)

    def __contains__(self, name: object) -> bool:
        return name in self._assets

    def __repr__(self) -> str:
        return f"<Assets {str(self.folder)!r}: {len(self)} files, url={self.prefix!r}, cdn={self.cdn!r}>"

    def _read(self) -> Iterator[Asset]:
        found = _scan.files(self.folder)
        stats = {name: path.stat() for name, path in found.items()}
        sheets = {name: path.read_bytes() for name, path in found.items() if name.lower().endswith(".css")}
        digests = {name: _digest(path, sheets.get(name)) for name, path in found.items()}
        names = {name: hashed_name(name, digests[name]) for name in found if name not in sheets}
        rendered = style_sheets(sheets, names, prefix=self.prefix)
        for name, path in found.items():
            hashed, body = rendered.get(name) or (names[name], None)
            changed = body is not None and body != sheets[name]
            yield Asset(
                name=name,
                hashed_name=hashed,
                content_type=content_type(name),
                digest=digests[name],
                path=path,
                size=stats[name].st_size,
                stamp=stamp(stats[name]),
                rendered=body if changed else None,
                rendered_digest=hashlib.sha256(body).hexdigest() if body is not None else digests[name],
            )


def check_assets(assets: Assets) -> Assets:
    """What a middleware was given, if it is that."""
    check_kind(assets, Assets, option="assets=", wanted="the files of a folder, such as Assets('static')")
    return assets


def _digest(path: Path, content: bytes | None) -> str:
    if content is not None:
        return hashlib.sha256(content).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_cdn(cdn: str) -> str:
    parts = urlsplit(cdn)
    if "@" in parts.netloc:
        raise ConfigurationError("cdn= has a user name or password in it; give the address alone")
    if parts.scheme not in ("http", "https", "") or not parts.netloc:
        raise ConfigurationError(f"cdn={cdn!r} is not an address such as 'https://cdn.example.com'")
    if "?" in cdn or "#" in cdn:
        raise ConfigurationError(f"cdn={cdn!r} has a query or fragment; asset paths are added at its end")
    if not _CDN.fullmatch(cdn):
        raise ConfigurationError(f"cdn={cdn!r} contains characters that do not belong in an address")
    return cdn.rstrip("/")


class Counts:
    """How often the middleware did what; safe to use from several threads.

    ``pages`` and ``urls`` were rewritten; ``encoded``, ``charset`` and ``no-transform`` count HTML pages that
    passed untouched for that reason; ``errors`` counts those that did after a fault in the rewriter.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counter: Counter[str] = Counter()

    def add(self, what: str, times: int = 1) -> None:
        with self._lock:
            self._counter[what] += times

    def __getitem__(self, what: str) -> int:
        return self._counter[what]

    def as_dict(self) -> dict[str, int]:
        """All counts so far."""
        with self._lock:
            return dict(self._counter)
