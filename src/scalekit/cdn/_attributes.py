"""Which attributes of which tags hold asset URLs, and what they become.

Rules:

* Only what the browser fetches for the page itself changes. ``<a>``, ``<form>``, ``<area>`` and ``<base>``
  are links, and so is ``<link>`` with a relation such as ``canonical`` or ``alternate``.
* Not ``<iframe>``, ``<object>``, ``<embed>`` and ``<link rel=manifest>``: a document and an app manifest
  change meaning with their origin. Not ``<use>`` and ``<track>``: browsers refuse them across origins, the
  latter unless the element around it asks for CORS.
* Not modules, neither ``<script type=module>`` nor ``<link rel=modulepreload>``: under a second URL a module
  runs a second time, and the URLs that ``import`` names stand in scripts, which are not rewritten.
* Of an attribute that occurs twice the first counts, as it does in a browser.
* With ``integrity`` a file stays where it is, unless it has the very same bytes under its hashed name and the
  tag asks for CORS, without which a browser would refuse it from another origin.
* With ``crossorigin=use-credentials`` it stays too: an answer for everybody, as ours is, is refused then.
* A URL that is no asset stays as it is, byte for byte.
"""

import re
from collections.abc import Iterator

from scalekit.cdn import _entities, srcset
from scalekit.cdn._asset import Asset
from scalekit.cdn._syntax import ATTRIBUTE
from scalekit.cdn._urls import Base
from scalekit.cdn.assets import Assets

_LISTS = frozenset({b"srcset", b"imagesrcset"})
_CONDITIONS = frozenset({b"crossorigin", b"integrity", b"rel", b"type"})
_MEDIA = frozenset({b"src", b"crossorigin"})
_PICTURE = frozenset({b"src", b"srcset", b"crossorigin"})
_SVG_IMAGE = frozenset({b"href", b"xlink:href", b"crossorigin"})

HTML_TAGS: dict[bytes, frozenset[bytes]] = {
    b"audio": _MEDIA,
    b"image": _PICTURE,  # the parser takes it for img
    b"img": _PICTURE,
    b"input": _MEDIA,
    b"link": _CONDITIONS | {b"href", b"imagesrcset"},
    b"script": _MEDIA | _CONDITIONS,
    b"source": _PICTURE,
    b"video": _MEDIA | {b"poster"},
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
        if not self._may_move(name, first):
            return
        needle, direct = self.needle, self._base.directory is not None
        for attribute, match in first.items():
            group = match.lastindex or 1
            if group == 1 or attribute in _CONDITIONS:
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

    def _may_move(self, name: bytes, attributes: dict[bytes, re.Match[bytes]]) -> bool:
        if name == b"link" and _FETCHED.isdisjoint(_keyword(attributes.get(b"rel")).split()):
            return False
        if name == b"script" and _keyword(attributes.get(b"type")).strip() == "module":
            return False
        if self._assets.cdn is None:
            return True
        asks = attributes.get(b"crossorigin")
        if asks is None:
            return b"integrity" not in attributes
        return _keyword(asks) != "use-credentials"

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
        if asset is None or (verbatim and not asset.verbatim):
            return None
        return self._assets.url(asset.name) + found[1]

    def _asset(self, name: str) -> Asset | None:
        return self._assets.get(name) or self._assets.get_hashed(name)


def _keyword(attribute: re.Match[bytes] | None) -> str:
    return "" if attribute is None else _entities.decode(_value(attribute).decode("latin-1")).lower()


def _value(attribute: re.Match[bytes]) -> bytes:
    group = attribute.lastindex or 1
    return b"" if group == 1 else attribute[group]
