"""How a request for an asset is answered: status, headers and which bytes, without any I/O but ``stat``.

Rules:

* A hashed name is good for ever (``immutable``); a plain one for ``max_age`` seconds, then by its entity tag.
* Entity tags are content hashes, hence strong, and equal on every server. There is no ``Last-Modified``: the
  time of a file differs from server to server.
* A file's name with another hash is answered 404 with ``no-store``: in a rolling deploy the next server may
  know it, and no cache may remember that this one did not. With CORS, or a browser could not tell why.
* Every other name that no file has is the application's. One that looks hashed may do so by chance; or its
  file is new in the release that is being rolled out, so the application's 404 gets ``no-store`` as well.
* A file that was changed after it was hashed is sent as it is now, and kept by nobody.
* One byte range is served; several are answered with the whole file, as RFC 9110 allows.
"""

import os
import re
from dataclasses import dataclass

from scalekit._http import get
from scalekit.cdn.assets import Asset, Assets
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
    asset: Asset | None = None
    start: int = 0
    stop: int = 0


def find(assets: Assets, path: str) -> tuple[Asset | None, bool] | None:
    """The asset that a request path means, and whether by its hashed name.

    ``(None, True)`` is an asset's name with another hash; ``None`` a path that is no asset's.
    """
    if not path.startswith(assets.prefix):
        return None
    name = path[len(assets.prefix) :]
    if asset := assets.get(name):
        return asset, False
    if asset := assets.get_hashed(name):
        return asset, True
    return (None, True) if plain_name(name) in assets else None


def not_found() -> Answer:
    """The answer for a name that no file has."""
    return _refusal(404, b"Not found", (b"cache-control", b"no-store"))


def answer(assets: Assets, asset: Asset, *, hashed: bool, method: str, request: Headers) -> Answer:
    """The answer to a request for ``asset``, for ``GET`` and ``HEAD``; 405 for other methods.

    Args:
        assets: where it comes from.
        asset: what was asked for.
        hashed: whether by its hashed name.
        method: the request's method.
        request: the request's headers.
    """
    if method not in ("GET", "HEAD"):
        return _refusal(405, b"Method not allowed", (b"allow", b"GET, HEAD"))
    kind = (b"content-type", asset.content_type.encode())
    try:
        status = os.stat(asset.path)
    except OSError:
        return not_found()
    if (status.st_size, status.st_mtime_ns) != (asset.size, asset.mtime_ns):
        headers: Headers = [
            kind,
            (b"cache-control", b"no-store"),
            (b"content-length", b"%d" % status.st_size),
        ]
        body_of = None if method == "HEAD" else asset
        return Answer(status=200, headers=headers + _EVERYWHERE, asset=body_of, stop=status.st_size)

    body = asset.rendered if hashed and asset.rendered is not None else None
    size = asset.size if body is None else len(body)
    etag = b'"%b"' % (asset.rendered_digest if hashed else asset.digest)[:32].encode()
    lifetime = b"public, max-age=31536000, immutable" if hashed else b"public, max-age=%d" % assets.max_age
    headers = [(b"cache-control", lifetime), (b"etag", etag), *_EVERYWHERE]
    if _names(get(request, b"if-none-match"), etag):
        return Answer(status=304, headers=headers)
    headers += kind, (b"accept-ranges", b"bytes")

    status_code, start, stop = 200, 0, size
    wanted = get(request, b"range")
    if wanted is not None and method == "GET" and get(request, b"if-range") in (None, etag):
        span = _span(wanted, size)
        if span == (0, 0):
            return _refusal(416, b"No such range", (b"content-range", b"bytes */%d" % size))
        if span is not None:
            status_code, (start, stop) = 206, span
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)))
    headers.append((b"content-length", b"%d" % (stop - start)))
    if method == "HEAD":
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


def _names(if_none_match: bytes | None, etag: bytes) -> bool:
    if if_none_match is None:
        return False
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag in tags or b"*" in tags


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
