"""Which attributes of which tags hold asset URLs, and what they become.

Rules:

* Only what the browser fetches for the page itself changes. ``<a>``, ``<form>``, ``<area>`` and ``<base>``
  are links, and so is ``<link>`` with a relation such as ``canonical`` or ``alternate``.
* Not ``<iframe>`` and ``<link rel=manifest>``: a document and an app manifest change meaning with their
  origin. Not ``<use>``: browsers refuse it across origins.
* Of an attribute that occurs twice the first counts, as it does in a browser.
* With ``integrity`` a file stays where it is, unless it has the very same bytes under its hashed name and the
  tag asks for CORS, without which a browser would refuse it from another origin.
* A URL that is no asset stays as it is, byte for byte.
"""

import re
from collections.abc import Iterator

from scalekit.cdn import _entities, srcset
from scalekit.cdn._syntax import ATTRIBUTE
from scalekit.cdn._urls import Base
from scalekit.cdn.assets import Asset, Assets

_LISTS = frozenset({b"srcset", b"imagesrcset"})
_CONDITIONS = frozenset({b"rel", b"integrity", b"crossorigin"})
_MEDIA = frozenset({b"src"})
_PICTURE = frozenset({b"src", b"srcset"})
_SVG_IMAGE = frozenset({b"href", b"xlink:href"})

HTML_TAGS: dict[bytes, frozenset[bytes]] = {
    b"audio": _MEDIA,
    b"embed": _MEDIA,
    b"image": _PICTURE,  # the parser takes it for img
    b"img": _PICTURE,
    b"input": _MEDIA,
    b"link": frozenset({b"href", b"imagesrcset"}) | _CONDITIONS,
    b"object": frozenset({b"data"}),
    b"script": _MEDIA | _CONDITIONS,
    b"source": _PICTURE,
    b"track": _MEDIA,
    b"video": frozenset({b"src", b"poster"}),
}
"""The attributes of interest by tag."""

SVG_TAGS: dict[bytes, frozenset[bytes]] = {b"image": _SVG_IMAGE, b"feimage": _SVG_IMAGE}
"""The same inside ``<svg>``."""

_FETCHED = frozenset(
    {
        "apple-touch-icon",
        "apple-touch-icon-precomposed",
        "apple-touch-startup-image",
        "icon",
        "mask-icon",
        "modulepreload",
        "prefetch",
        "preload",
        "stylesheet",
    }
)

Edit = tuple[int, int, bytes]
"""From where to where in the page, and what to write there."""


class AttributeRewriter:
    """Finds the asset URLs of single tags of one page.

    Args:
        assets: what counts as an asset.
        base: what relative URLs resolve against.
        charset: how text beyond ASCII is encoded in the page.
    """

    def __init__(self, assets: Assets, base: Base, charset: str) -> None:
        self._assets, self._base, self._charset = assets, base, charset
        self._segment = assets.prefix.rstrip("/").rpartition("/")[2].encode()

    @property
    def needle(self) -> bytes | None:
        """What every asset URL of the page contains; ``None`` when it may contain anything.

        A URL reaches the assets' folder from outside only by spelling the last segment of its path. The
        segment's letters have to stand there plainly: nobody writes ``st&#97;tic``, and to look for it would
        cost every page.
        """
        inside = (self._base.directory or "").startswith(self._assets.prefix)
        return None if inside or not self._segment else self._segment

    def edits(
        self, name: bytes, wanted: frozenset[bytes], page: bytes, start: int, stop: int
    ) -> Iterator[Edit]:
        """The changes to one tag.

        Args:
            name: the tag's name, lower-case.
            wanted: its attributes of interest.
            page: where it stands.
            start: the end of its name.
            stop: the end of the tag.
        """
        first: dict[bytes, re.Match[bytes]] = {}
        for match in ATTRIBUTE.finditer(page, start, stop):
            attribute = match[1]
            if attribute in wanted or (attribute := attribute.lower()) in wanted:
                first.setdefault(attribute, match)
        if name == b"link" and not self._is_fetched(first.get(b"rel")):
            return
        needle, direct = self.needle, self._base.directory is not None
        movable = b"integrity" not in first or (self._assets.cdn is None or b"crossorigin" in first)
        for attribute, match in first.items():
            group = match.lastindex or 1
            if group == 1 or attribute in _CONDITIONS or not movable:
                continue
            source = match[group]
            if needle is not None and needle not in source:
                continue
            new = self._assets.links.get(source) if direct and b"integrity" not in first else None
            if new is None:
                new = self._replace(source, attribute, quoted=group != 4, verbatim=b"integrity" in first)
            if new is not None and new != source:
                yield *match.span(group), new

    def base_href(self, page: bytes, start: int, stop: int) -> str | None:
        """The ``href`` of a ``<base>``, or ``None``."""
        for match in ATTRIBUTE.finditer(page, start, stop):
            if match[1].lower() == b"href":
                return _entities.decode(_value(match).decode(self._charset, "replace"))
        return None

    def _is_fetched(self, rel: re.Match[bytes] | None) -> bool:
        value = "" if rel is None else _entities.decode(_value(rel).decode("latin-1"))
        return not _FETCHED.isdisjoint(value.lower().split())

    def _replace(self, source: bytes, attribute: bytes, *, quoted: bool, verbatim: bool) -> bytes | None:
        try:
            text = source.decode(self._charset)
        except UnicodeDecodeError:
            return None
        if "\0" in text:  # which a browser takes for U+FFFD
            return None
        value = _entities.decode(text)
        spans = srcset.urls(value) if attribute in _LISTS else [(0, len(value))]
        pieces: list[str] = []
        done = 0
        for begin, end in spans:
            url = self._url(value[begin:end], verbatim=verbatim)
            if url is not None:
                pieces += value[done:begin], url
                done = end
        if not pieces:
            return None
        new = "".join(pieces) + value[done:]
        return (_entities.encode(new, quoted=quoted) if value != text else new).encode(
            self._charset, "xmlcharrefreplace"
        )

    def _url(self, url: str, *, verbatim: bool) -> str | None:
        found = self._base.resolve(url)
        if found is None or not found[0].startswith(self._assets.prefix):
            return None
        asset = self._asset(found[0][len(self._assets.prefix) :])
        if asset is None or (verbatim and asset.rendered is not None):
            return None
        return asset.url + found[1]

    def _asset(self, name: str) -> Asset | None:
        return self._assets.get(name) or self._assets.get_hashed(name)


def _value(attribute: re.Match[bytes]) -> bytes:
    group = attribute.lastindex or 1
    return b"" if group == 1 else attribute[group]
