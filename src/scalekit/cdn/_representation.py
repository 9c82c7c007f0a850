"""One representation of an asset: its bytes in one content coding, under one of its names."""

from dataclasses import dataclass
from threading import Lock

from scalekit.cdn._asset import AssetFile, Stamp, Variant
from scalekit.types import Headers

SMALL = 64 * 1024
"""Bytes of the largest file that is kept in memory once it was read."""

ROOM = 32 * 1024 * 1024
"""Bytes of all files that are kept in memory."""

# From another origin, a font or a module is refused without the first; an isolated page needs the second.
EVERYWHERE: Headers = [
    (b"access-control-allow-origin", b"*"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"x-content-type-options", b"nosniff"),
]


@dataclass(kw_only=True, slots=True)
class Representation:
    """What is sent, and what is said of it.

    Args:
        path: the file.
        stamp: what :func:`scalekit.cdn._asset.stamp` says of it while it is what it was.
        size: bytes to send.
        etag: their entity tag.
        lasting: the headers of every answer about it.
        headers: those of the answer that has all of it.
        body: the bytes, when they are in memory.
        rendered: whether they are other bytes than the file's.
    """

    path: str
    stamp: Stamp
    size: int
    etag: bytes
    lasting: Headers
    headers: Headers
    body: bytes | None = None
    rendered: bool = False


def representations(
    asset: AssetFile, *, hashed: bool, lifetime: bytes
) -> tuple[Representation, dict[str, Representation]]:
    """The file as it is, and its variants by their codings, the smallest first.

    Args:
        asset: the asset.
        hashed: whether under its hashed name.
        lifetime: its ``Cache-Control``.
    """
    always: Headers = [(b"cache-control", lifetime), *EVERYWHERE]
    if asset.variants:
        always.append((b"vary", b"accept-encoding"))
    rendered = asset.rendered if hashed else None

    def one(of: AssetFile | Variant, size: int, digest: str, coding: Headers) -> Representation:
        etag = b'"%b"' % digest[:32].encode()
        lasting: Headers = [*always, (b"etag", etag)]
        whole: Headers = [
            *lasting,
            *coding,
            (b"content-type", asset.content_type.encode()),
            (b"accept-ranges", b"bytes"),
            (b"content-length", b"%d" % size),
        ]
        return Representation(
            path=str(of.path), stamp=of.stamp, size=size, etag=etag, lasting=lasting, headers=whole
        )

    digest = asset.rendered_digest if hashed else asset.digest
    plain = one(asset, asset.size if rendered is None else len(rendered), digest, [])
    plain.body, plain.rendered = rendered, rendered is not None
    coded = {
        variant.coding: one(
            variant, variant.size, variant.digest, [(b"content-encoding", variant.coding.encode())]
        )
        for variant in sorted(asset.variants, key=lambda variant: variant.size)
    }
    return plain, coded


class Room:
    """How many more bytes may be kept in memory."""

    def __init__(self, size: int = ROOM) -> None:
        self._left = size
        self._lock = Lock()

    def is_for(self, representation: Representation) -> bool:
        """Whether its bytes are not kept, and could be."""
        return representation.body is None and representation.size <= min(SMALL, self._left)

    def keep(self, representation: Representation, body: bytes) -> None:
        """Keep its bytes; not of a file that was cut short after it was looked at."""
        with self._lock:
            if self.is_for(representation) and len(body) == representation.size:
                self._left -= len(body)
                representation.body = body
