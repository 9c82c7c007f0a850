"""One asset: what its manifest or its folder says of it."""

import os
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

Stamp = tuple[int, int, int]
_TICK = 2_000_000_000


def stamp(status: os.stat_result) -> Stamp:
    """What is another after any change to a file, or when another file has taken its place.

    Tools that unpack or copy set the content's time, but nobody sets the time of the inode's last change. Its
    number is no part of this, for some network and user-space file systems give another each time.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_settled(mark: Stamp, now: int) -> bool:
    """Whether a file that has this stamp at ``now``, in nanoseconds, has another after any further change.

    Two changes within one tick of a file system's clock, which may be 2 seconds, can leave the same.
    """
    return now - mark[2] > _TICK


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A hashed file in a content coding.

    Args:
        coding: such as ``"br"``.
        digest: SHA-256 of the file, in hex.
        path: the file.
        size: its length in bytes when it was hashed.
        stamp: what :func:`stamp` said then.
    """

    coding: str
    digest: str
    path: Path
    size: int
    stamp: Stamp


@dataclass(frozen=True, kw_only=True, slots=True)
class Asset:
    """One asset. Where the application has its file, it is an :class:`AssetFile`; else only the CDN has it.

    Args:
        name: what it is called in pages and templates, such as ``"css/site.css"``.
        hashed_name: the name with its content hash, such as ``"css/site.3f2a9c01b4d5.css"``.
        content_type: for the ``Content-Type`` header.
        rendered_digest: SHA-256 of what is served under the hashed name, in hex; ``None`` when nobody knows.
        immutable: whether the hashed name is one that changes with the content; default ``True``.
        verbatim: whether the bytes under the hashed name are the file's own, with nothing in them renamed;
            default ``True``.
        module: whether a page may fetch it under its hashed name as a module, see
            :mod:`scalekit.cdn.scripts`; default ``False``.
        encodings: content codings that the hashed file has precompressed variants in, such as ``"br"``;
            none by default.
        styles: names of the style sheets that a page with this script needs, as far as Vite's manifest says
            so; none by default.
    """

    name: str
    hashed_name: str
    content_type: str
    rendered_digest: str | None
    immutable: bool = True
    verbatim: bool = True
    module: bool = False
    encodings: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()

    @property
    def integrity(self) -> str | None:
        """What an ``integrity`` attribute says of the bytes under the hashed name (Subresource Integrity).

        ``None`` when nobody knows them: another tool's manifest, and no folder.
        """
        if self.rendered_digest is None:
            return None
        return "sha256-" + b64encode(bytes.fromhex(self.rendered_digest)).decode()


@dataclass(frozen=True, kw_only=True, slots=True)
class AssetFile(Asset):
    """One asset that is a file here, too.

    Args:
        digest: SHA-256 of the file, in hex.
        path: the file.
        size: its length in bytes when it was hashed.
        stamp: what :func:`stamp` said then, to notice on this machine that it has changed since.
        rendered: what is served under the hashed name when that is not the file: a style sheet or a module
            that refers to hashed names.
        rendered_digest: SHA-256 of what is served under the hashed name.
        variants: those of the precompressed variants that are files here.
    """

    rendered_digest: str
    digest: str
    path: Path
    size: int
    stamp: Stamp
    rendered: bytes | None = None
    variants: tuple[Variant, ...] = ()
