"""Which attributes of which tags hold asset URLs, and when they stay as they are.

Rules:

* Only what the browser fetches for the page itself changes. ``<a>``, ``<form>``, ``<area>`` and ``<base>``
  are links, and so is ``<link>`` with a relation such as ``canonical`` or ``alternate``.
* A preload changes for what changes itself: not for what a script fetches by its own URL, nor for a worker, a
  track or a document.
* ``<iframe>`` and ``<link rel=manifest>`` never change: a document and an app manifest change meaning with
  their origin. The same goes for documents in ``<object>`` and ``<embed>``, SVG and PDF among them: with a
  CDN only images, audio and video change there.
* ``<use>`` and ``<track>`` change without a CDN only: browsers refuse them across origins, the latter unless
  the element around it asks for CORS. So does a style's ``url()`` of an SVG with a fragment, which may be a
  filter or a mask.
* Modules, in ``<script type=module>`` and ``<link rel=modulepreload>``, change if that was asked for and all
  that they import is renamed with them, see :mod:`scalekit.cdn.scripts`: under a second URL a module runs a
  second time, and a page's own scripts, whose text is nobody's to change, may name the first. They ask for
  CORS by themselves.
* ``<meta>`` changes for a preview's image, which has to have an absolute URL: with a CDN whose address has
  its scheme, that is.
* With ``integrity`` a file stays where it is, unless it has the very same bytes under its hashed name, or has
  that name already, and the tag asks for CORS, without which a browser would refuse it from another origin.
* With ``crossorigin=use-credentials`` it stays too: an answer for everybody, as ours is, is refused then.
* Of an attribute that occurs twice the first counts, as it does in a browser.
"""

from collections.abc import Callable

from scalekit.cdn._asset import Asset

LISTS = frozenset({b"srcset", b"imagesrcset"})
"""Attributes with several URLs."""

CONDITIONS = frozenset({b"as", b"crossorigin", b"integrity", b"name", b"property", b"rel", b"type"})
"""Attributes that are only looked at."""

STYLE_ONLY = frozenset({b"style"})
"""The attributes of interest of any other tag."""

_MEDIA = STYLE_ONLY | {b"src", b"crossorigin"}
_PICTURE = _MEDIA | {b"srcset"}
_SVG_LINK = STYLE_ONLY | {b"href", b"xlink:href", b"crossorigin"}

HTML_TAGS: dict[bytes, frozenset[bytes]] = {
    b"audio": _MEDIA,
    b"embed": STYLE_ONLY | {b"src"},
    b"image": _PICTURE,  # the parser takes it for img
    b"img": _PICTURE,
    b"input": _MEDIA,
    b"link": _MEDIA - {b"src"} | {b"as", b"href", b"imagesrcset", b"integrity", b"rel"},
    b"meta": STYLE_ONLY | {b"content", b"name", b"property"},
    b"object": STYLE_ONLY | {b"data"},
    b"script": _MEDIA | {b"integrity", b"type"},
    b"source": _PICTURE,
    b"track": STYLE_ONLY | {b"src"},
    b"video": _MEDIA | {b"poster"},
}
"""The attributes of interest by tag."""

SVG_TAGS: dict[bytes, frozenset[bytes]] = {b"feimage": _SVG_LINK, b"image": _SVG_LINK, b"use": _SVG_LINK}
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
_PRELOADED = frozenset({"audio", "font", "image", "script", "style", "video"})
_PREVIEWS = frozenset(
    {"og:image", "og:image:secure_url", "og:image:url", "twitter:image", "twitter:image:src"}
)

Keyword = Callable[[bytes], str | None]
"""The value of an attribute in lower case; ``None`` without one."""


def may_move(name: bytes, keyword: Keyword, cdn: str | None) -> bool:
    """Whether the URLs of a tag may change, for all that its name and its attributes say."""
    module = is_module(name, keyword)
    if name == b"link" and not module and not _is_fetched(keyword):
        return False
    if name == b"meta":
        previews = {(keyword(key) or "").strip() for key in (b"property", b"name")}
        return cdn is not None and not cdn.startswith("//") and not previews.isdisjoint(_PREVIEWS)
    if cdn is None:
        return True
    if name in (b"use", b"track"):
        return False
    asks = keyword(b"crossorigin")
    if asks is None:
        return module or keyword(b"integrity") is None
    return asks != "use-credentials"


def _is_fetched(keyword: Keyword) -> bool:
    relations = _FETCHED.intersection((keyword(b"rel") or "").split())
    return bool(relations) and (relations != {"preload"} or (keyword(b"as") or "image") in _PRELOADED)


def is_module(name: bytes, keyword: Keyword) -> bool:
    """Whether a tag loads a module."""
    if name == b"script":
        return (keyword(b"type") or "").strip() == "module"
    return name == b"link" and "modulepreload" in (keyword(b"rel") or "").split()


def is_movable(name: bytes, asset: Asset, cdn: str | None) -> bool:
    """Whether this asset may have another URL in such a tag."""
    if cdn is None or name not in (b"embed", b"object"):
        return True
    return asset.content_type.startswith(("audio/", "image/", "video/")) and not _is_svg(asset)


def in_style(asset: Asset, fragment: bool, cdn: str | None) -> bool:
    """Whether this asset may have another URL in a style; ``fragment`` tells if its URL has one."""
    return cdn is None or not (fragment and _is_svg(asset))


def _is_svg(asset: Asset) -> bool:
    return asset.content_type.startswith("image/svg")
