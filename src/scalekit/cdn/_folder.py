"""The assets of a folder that nobody has built: hashed and rewritten when an application starts."""

import hashlib
from pathlib import Path

from scalekit.cdn import _scan
from scalekit.cdn._asset import AssetFile, stamp
from scalekit.cdn._media import content_type
from scalekit.cdn.fingerprint import hashed_name, style_sheets


def read(folder: Path, *, prefix: str) -> list[AssetFile]:
    """The files below ``folder``, sorted by name.

    Args:
        folder: where they are.
        prefix: the URL path that they live under.

    Raises:
        ConfigurationError: the folder, a link in it or a file's name is not usable.
    """
    found = _scan.files(folder)
    stats = {name: path.stat() for name, path in found.items()}
    sheets = {name: path.read_bytes() for name, path in found.items() if name.lower().endswith(".css")}
    digests = {name: _digest(path, sheets.get(name)) for name, path in found.items()}
    names = {name: hashed_name(name, digests[name]) for name in found if name not in sheets}
    rendered = style_sheets(sheets, names, prefix=prefix)
    assets = []
    for name, path in found.items():
        hashed, body = rendered.get(name) or (names[name], None)
        changed = body is not None and body != sheets[name]
        assets.append(
            AssetFile(
                name=name,
                hashed_name=hashed,
                content_type=content_type(name),
                digest=digests[name],
                path=path,
                size=stats[name].st_size,
                stamp=stamp(stats[name]),
                rendered=body if changed else None,
                rendered_digest=hashlib.sha256(body).hexdigest() if body is not None else digests[name],
                verbatim=not changed,
            )
        )
    return assets


def _digest(path: Path, content: bytes | None) -> str:
    if content is not None:
        return hashlib.sha256(content).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
