"""From a manifest to assets, and back.

Rules:

* With a folder, every file that the manifest names is there, inside of the folder, and as long as the
  manifest says: a server does not start with half of a release.
* A digest that our own manifest says is believed: what checks every byte is the build. Another tool's may
  have been computed before the last change to a file, so it is computed again.
* Variants in a content coding have a digest of their own, for two compressors may differ: each is read once.
* Without a folder nothing is looked for: the files are with the CDN.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISLNK, S_ISREG

from scalekit.cdn._asset import Asset, AssetFile, Variant, stamp
from scalekit.cdn._scan import resolved
from scalekit.cdn.manifest import SUFFIXES, Entry, Manifest
from scalekit.errors import ConfigurationError


def read(manifest: Manifest, folder: Path | None) -> Iterator[Asset]:
    """An asset for each entry: an :class:`AssetFile` where there is a ``folder``.

    Raises:
        ConfigurationError: there is no such folder, or a file is not there or not what the manifest says.
    """
    if folder is None:
        for entry in manifest.values():
            yield _asset(entry)
        return
    top = resolved(folder)
    parents: dict[Path, Path] = {}
    for entry in manifest.values():
        path = top / entry.hashed_name
        parent = parents.get(path.parent)
        if parent is None:
            parent = parents[path.parent] = Path(os.path.realpath(path.parent))
        yield _file(entry, parent / path.name, top, manifest.source)


def file_of(entry: Entry, folder: Path) -> AssetFile:
    """The asset of one entry, as :func:`read` makes it.

    Raises:
        ConfigurationError: the file is not there, or not what the entry says.
    """
    top = resolved(folder)
    path = top / entry.hashed_name
    return _file(entry, Path(os.path.realpath(path.parent)) / path.name, top, "of another release")


def entry_of(asset: Asset) -> Entry:
    """What a manifest says of ``asset``; its file is the one to serve under the hashed name."""
    size = None
    if isinstance(asset, AssetFile):
        size = asset.size if asset.rendered is None else len(asset.rendered)
    return Entry(
        name=asset.name,
        hashed_name=asset.hashed_name,
        content_type=asset.content_type,
        digest=asset.rendered_digest,
        size=size,
        immutable=asset.immutable,
        verbatim=asset.verbatim,
        module=asset.module,
        encodings=asset.encodings,
        styles=asset.styles,
    )


def _asset(entry: Entry) -> Asset:
    return Asset(
        name=entry.name,
        hashed_name=entry.hashed_name,
        content_type=entry.content_type,
        rendered_digest=entry.digest,
        immutable=entry.immutable,
        verbatim=entry.verbatim,
        module=entry.module,
        encodings=entry.encodings,
        styles=entry.styles,
    )


def _file(entry: Entry, path: Path, top: Path, source: str) -> AssetFile:
    real, status = _find(entry, path, top, source)
    if entry.size is not None and entry.size != status.st_size:
        raise _fault(entry, path, source, f"has {status.st_size} bytes in {str(top)!r}, not {entry.size}")
    digest = entry.digest
    if digest is None or entry.size is None:
        digest = _digest(real)
    return AssetFile(
        name=entry.name,
        hashed_name=entry.hashed_name,
        content_type=entry.content_type,
        rendered_digest=digest,
        immutable=entry.immutable,
        verbatim=entry.verbatim,
        module=entry.module,
        encodings=entry.encodings,
        styles=entry.styles,
        digest=digest,
        path=real,
        size=status.st_size,
        stamp=stamp(status),
        variants=tuple(_variant(entry, coding, path, top, source) for coding in entry.encodings),
    )


def _variant(entry: Entry, coding: str, path: Path, top: Path, source: str) -> Variant:
    real, status = _find(entry, path.with_name(path.name + SUFFIXES[coding]), top, source)
    return Variant(coding=coding, digest=_digest(real), path=real, size=status.st_size, stamp=stamp(status))


def _find(entry: Entry, path: Path, top: Path, source: str) -> tuple[Path, os.stat_result]:
    """The file itself, where ``path`` is a link."""
    real = path
    try:
        status = os.lstat(path)
        if S_ISLNK(status.st_mode):
            # Not path.resolve(), which is no OSError before Python 3.13 where links lead round in a circle.
            real = Path(os.path.realpath(path, strict=True))
            status = os.lstat(real)
    except OSError as error:
        raise _fault(entry, path, source, f"cannot be read in {str(top)!r}: {error.strerror}") from error
    if not real.is_relative_to(top) or not S_ISREG(status.st_mode):
        raise _fault(entry, path, source, f"is no file inside of {str(top)!r}")
    return real, status


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fault(entry: Entry, path: Path, source: str, what: str) -> ConfigurationError:
    file = entry.hashed_name.rpartition("/")[0]
    file += "/" * bool(file) + path.name
    return ConfigurationError(
        f"asset manifest {source}: the file {file!r:.200} of entry {entry.name!r:.200} {what}; "
        "build the assets again, or give the folder that was built with this manifest"
    )
