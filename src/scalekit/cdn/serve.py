"""How a request for an asset is answered: status, headers and which bytes.

Rules:

* A hashed name is good for ever (``immutable``); a plain one for ``max_age`` seconds, then by its entity tag.
* Entity tags are content hashes, hence strong, and equal on every server. There is no ``Last-Modified``: the
  time of a file differs from server to server.
* A file's name with another hash is answered 404 with ``no-store``: in a rolling deploy the next server may
  know it, and no cache may remember that this one did not. With CORS, or a browser could not tell why.
* Every other name that no file has is the application's. One that looks hashed may do so by chance; or its
  file is new in the release that is being rolled out, so the application's 404 gets ``no-store`` as well.
* A file that was changed after it was hashed is sent as it is now, and kept by nobody. It is not found where
  a link has come in its way: what a start would refuse is not published later either.
* What is said of a file is said of the one that was opened, whatever stood under its name before or after.
* One byte range is served; several are answered with the whole file, as RFC 9110 allows.
"""

import os
import re
from dataclasses import KW_ONLY, dataclass
from stat import S_ISREG
from typing import BinaryIO

from scalekit._http import get, matches_etag
from scalekit.cdn._asset import AssetFile, stamp
from scalekit.cdn.assets import Assets
from scalekit.cdn.fingerprint import plain_name
from scalekit.types import Headers

# From another origin, a font or a module is refused without the first; an isolated page needs the second.
_EVERYWHERE: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"x-content-type-options", b"nosniff"),
]
_RANGE = re.compile(rb"bytes[ \t]*=[ \t]*(\d*)[ \t]*-[ \t]*(\d*)[ \t]*", re.IGNORECASE)
_MAX_DIGITS = 18  # more would only be an attempt to make int() work hard


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What to send.

    Args:
        status: the HTTP status.
        headers: in the ASGI shape.
        body: the bytes to send, when they are in memory.
        asset: else the file to send bytes ``start`` to ``stop`` of.
        start: offset of the first byte.
        stop: offset after the last byte.
    """

    status: int
    headers: Headers
    body: bytes = b""
    asset: AssetFile | None = None
    start: int = 0
    stop: int = 0


def find(assets: Assets, path: str) -> tuple[AssetFile | None, bool] | None:
    """The asset that a request path means, and whether by its hashed name.

    ``(None, True)`` is an asset's name with another hash; ``None`` a path that is no asset's, or that of one
    whose file is only with the CDN.
    """
    if assets.folder is None or not path.startswith(assets.prefix):
        return None
    name = path[len(assets.prefix) :]
    if asset := assets.get(name):
        assert isinstance(asset, AssetFile)  # there is a folder
        return asset, asset.immutable and asset.hashed_name == name
    if asset := assets.get_hashed(name):
        assert isinstance(asset, AssetFile)
        return asset, asset.immutable
    return (None, True) if plain_name(name) in assets else None


def not_found() -> Answer:
    """The answer for a name that no file has."""
    return _refusal(404, b"Not found", (b"cache-control", b"no-store"))


@dataclass(frozen=True, slots=True)
class Request:
    """A request for an asset.

    Args:
        asset: what is asked for; ``None`` when no file has that name.
        hashed: whether by its hashed name.
        max_age: seconds that a file asked for by its plain name may be kept.
        method: the request's method.
        headers: the request's headers.
    """

    asset: AssetFile | None
    hashed: bool
    _: KW_ONLY
    max_age: int
    method: str
    headers: Headers

    def answer(self, file: BinaryIO | None = None) -> Answer:
        """The answer for ``GET`` and ``HEAD``; 405 for other methods.

        Args:
            file: the asset's file; until it is open, a look at its path has to do.
        """
        if self.asset is None:
            return not_found()
        if self.method not in ("GET", "HEAD"):
            return _refusal(405, b"Method not allowed", (b"allow", b"GET, HEAD"))
        try:
            status = os.stat(self.asset.path if file is None else file.fileno())
        except OSError:
            return not_found()
        if stamp(status) == self.asset.stamp:
            return self._as_hashed(self.asset)
        return self._as_changed(self.asset, status)

    def open(self) -> tuple[Answer, BinaryIO | None]:
        """The answer about the file that is there now, and that file at the first byte to send, if one is."""
        assert self.asset is not None
        try:
            file = self.asset.path.open("rb")
        except OSError:
            return not_found(), None
        try:
            answer = self.answer(file)
            file.seek(answer.start)
        except BaseException:
            file.close()
            raise
        if answer.asset is None:
            file.close()
            return answer, None
        return answer, file

    def _as_changed(self, asset: AssetFile, status: os.stat_result) -> Answer:
        if not S_ISREG(status.st_mode) or os.path.realpath(asset.path) != str(asset.path):
            return not_found()
        headers: Headers = [
            (b"content-type", asset.content_type.encode()),
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % status.st_size),
        ]
        body_of = None if self.method == "HEAD" else asset
        return Answer(status=200, headers=headers + _EVERYWHERE, asset=body_of, stop=status.st_size)

    def _as_hashed(self, asset: AssetFile) -> Answer:
        body = asset.rendered if self.hashed and asset.rendered is not None else None
        size = asset.size if body is None else len(body)
        etag = b'"%b"' % (asset.rendered_digest if self.hashed else asset.digest)[:32].encode()
        lifetime = (
            b"public, max-age=31536000, immutable" if self.hashed else b"public, max-age=%d" % self.max_age
        )
        headers: Headers = [(b"cache-control", lifetime), (b"etag", etag), *_EVERYWHERE]
        if matches_etag(get(self.headers, b"if-none-match"), etag):
            return Answer(status=304, headers=headers)
        headers += (b"content-type", asset.content_type.encode()), (b"accept-ranges", b"bytes")

        status_code, start, stop = 200, 0, size
        wanted = get(self.headers, b"range")
        if wanted is not None and self.method == "GET" and get(self.headers, b"if-range") in (None, etag):
            span = _span(wanted, size)
            if span == (0, 0):
                return _refusal(416, b"No such range", (b"content-range", b"bytes */%d" % size))
            if span is not None:
                status_code, (start, stop) = 206, span
                headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)))
        headers.append((b"content-length", b"%d" % (stop - start)))
        if self.method == "HEAD":
            return Answer(status=status_code, headers=headers)
        if body is not None:
            return Answer(status=status_code, headers=headers, body=body[start:stop])
        return Answer(status=status_code, headers=headers, asset=asset, start=start, stop=stop)


def _refusal(status: int, body: bytes, header: tuple[bytes, bytes]) -> Answer:
    headers: Headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        header,
    ]
    return Answer(status=status, headers=headers + _EVERYWHERE, body=body)


def _span(value: bytes, size: int) -> tuple[int, int] | None:
    """First and after-last byte of a range; ``(0, 0)`` when there are none such; ``None`` to send all."""
    match = _RANGE.fullmatch(value.strip())
    if match is None or not (match[1] or match[2]) or max(len(match[1]), len(match[2])) > _MAX_DIGITS:
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return (size - length, size) if length else (0, 0)
    start = int(match[1])
    stop = int(match[2]) + 1 if match[2] else size
    if match[2] and stop <= start:
        return None
    return (start, min(stop, size)) if start < size else (0, 0)
