"""The attributes that a rewritten tag gets in addition, when that was asked for.

Rules:

* Only scripts and style sheets, and what loads them ahead: elsewhere ``integrity`` means nothing.
* Only tags whose URL is, or becomes, that of the hashed file; and only attributes that they lack.
* ``integrity`` is that of the bytes under the hashed name. From a CDN a browser checks it only when the tag
  asks for CORS, so ``crossorigin`` comes with it; a module asks for CORS anyway.
* Without a CDN there is nothing to ask for: no ``crossorigin``.
"""

from dataclasses import dataclass

from scalekit.cdn._asset import Asset
from scalekit.cdn._tags import Keyword, is_module


@dataclass(frozen=True, slots=True)
class Additions:
    """What to add.

    Args:
        integrity: ``integrity`` attributes.
        crossorigin: ``crossorigin="anonymous"``, with ``integrity`` or without.
    """

    integrity: bool
    crossorigin: bool

    def to(self, name: bytes, keyword: Keyword, asset: Asset, cdn: str | None) -> bytes:
        """What to write behind the URL's attribute in such a tag, perhaps nothing."""
        if not _takes(name, keyword):
            return b""
        added = b""
        if self.integrity and asset.integrity is not None and keyword(b"integrity") is None:
            added = b' integrity="%b"' % asset.integrity.encode()
        asks = keyword(b"crossorigin") is not None or is_module(name, keyword)
        if cdn is not None and not asks and (self.crossorigin or added):
            added += b' crossorigin="anonymous"'
        return added


def _takes(name: bytes, keyword: Keyword) -> bool:
    if name != b"link":
        return name == b"script"
    relations = (keyword(b"rel") or "").split()
    if "preload" in relations and keyword(b"as") in ("script", "style"):
        return True
    return "stylesheet" in relations or "modulepreload" in relations
