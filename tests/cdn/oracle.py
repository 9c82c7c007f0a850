"""What a rewritten page must be, worked out the slow way: parse, then look at every attribute of the tree.

Nothing of the rewriter is used here: a real parser parses, ``urljoin`` resolves, and lists and styles are
read letter by letter as their standards describe them.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urljoin, urlsplit

from scalekit.cdn import Assets
from tests.cdn.trees import Node

URLS = {
    "img": ("src",),
    "script": ("src",),
    "source": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "input": ("src",),
    "link": ("href",),
    "track": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "meta": ("content",),
    "svg image": ("href", "xlink:href"),
    "svg feimage": ("href", "xlink:href"),
    "svg use": ("href", "xlink:href"),
}
LISTS = {"img": "srcset", "source": "srcset", "link": "imagesrcset"}
RELATIONS = {"stylesheet", "icon", "preload", "prefetch", "apple-touch-icon", "mask-icon"}
PRELOADED = {"audio", "font", "image", "script", "style", "video", ""}
PREVIEWS = {"og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src"}
SPACE = " \t\n\f\r"


def expected(nodes: Iterable[Node], assets: Assets, path: str) -> list[Node]:
    """The nodes that the rewritten page must have; ``assets`` have a CDN."""
    base = f"http://testserver{path}"
    found_base = False
    result = []
    for name, attributes, text in nodes:
        if name == "base" and "href" in attributes and not found_base:
            base, found_base = urljoin(base, attributes["href"]), True
        if name == "style#text" and attributes["type"].lower() in ("", "text/css"):
            text = _style(text, assets, base)
        elif not name.endswith("#text"):
            attributes = _rewritten(name, attributes, assets, base)
        result.append((name, attributes, text))
    return result


def _rewritten(name: str, attributes: dict[str, str], assets: Assets, base: str) -> dict[str, str]:
    changed = dict(attributes)
    if "style" in attributes:
        changed["style"] = _style(attributes["style"], assets, base)
    module = attributes.get("type", "").strip().lower() == "module" and name == "script"
    module = module or (name == "link" and "modulepreload" in attributes.get("rel", "").lower().split())
    verbatim = "integrity" in attributes and name in ("link", "script")
    if verbatim and "crossorigin" not in attributes and not module:
        return changed
    if attributes.get("crossorigin", "").lower() == "use-credentials" and name not in ("track", "object"):
        return changed
    relations = RELATIONS.intersection(attributes.get("rel", "").lower().split())
    if name == "link" and not module and not relations:
        return changed
    if relations == {"preload"} and attributes.get("as", "image").lower() not in PRELOADED:
        return changed
    keys = (attributes.get("property", ""), attributes.get("name", ""))
    if name == "meta" and PREVIEWS.isdisjoint(key.strip().lower() for key in keys):
        return changed
    if name in ("track", "svg use"):
        return changed
    embeds = name in ("object", "embed")
    for attribute in URLS.get(name, ()):
        if attribute in attributes:
            changed[attribute] = url(
                attributes[attribute], assets, base, verbatim=verbatim, embeds=embeds, module=module
            )
    listing = LISTS.get(name, "")
    if listing in attributes:
        changed[listing] = _replaced(
            attributes[listing], candidates(attributes[listing]), assets, base, verbatim=verbatim
        )
    return changed


def url(
    value: str,
    assets: Assets,
    base: str,
    *,
    verbatim: bool = False,
    embeds: bool = False,
    style: bool = False,
    module: bool = False,
) -> str:
    clean = value.strip("".join(map(chr, range(33)))).translate({9: None, 10: None, 13: None})
    head = clean.split("?")[0].split("#")[0]
    parts = urlsplit(urljoin(base, head.replace("\\", "/") + clean[len(head) :]))
    if not head or parts.netloc != "testserver" or not parts.path.startswith(assets.prefix):
        return value
    asset = assets.get(unquote(parts.path)[len(assets.prefix) :])
    if asset is None or (verbatim and not asset.verbatim):
        return value
    if module:  # unless that was asked for
        return value
    svg = asset.name.endswith(".svg")
    if (embeds and (svg or not asset.name.endswith(("png", "webp", "jpg", "gif", "mp4")))) or (
        style and svg and "#" in value
    ):
        return value
    return assets.url(asset.name) + value[len(value.split("?")[0].split("#")[0]) :]


def _replaced(
    value: str,
    spans: list[tuple[int, int]],
    assets: Assets,
    base: str,
    *,
    verbatim: bool = False,
    style: bool = False,
) -> str:
    for start, stop in reversed(spans):
        new = url(value[start:stop], assets, base, verbatim=verbatim, style=style)
        value = value[:start] + new + value[stop:]
    return value


def _style(value: str, assets: Assets, base: str) -> str:
    return _replaced(value, list(style_urls(value)), assets, base, style=True)


def style_urls(value: str) -> Iterator[tuple[int, int]]:
    """Where the URLs of a style are, read letter by letter. No escape outside a string is understood."""
    lower, position = value.lower(), 0
    while position < len(value):
        if value.startswith("/*", position):
            end = value.find("*/", position + 2)
            position = len(value) if end < 0 else end + 2
            continue
        span, end = None, 0
        before = value[position - 1 : position]
        named = before.isascii() and (before.isalnum() or before in ("-", "_", "\\")) and before != ""
        if lower.startswith("url(", position) and not named:
            span, end = _in_brackets(value, position + 4)
        elif lower.startswith("@import", position):
            start = _gap(value, position + 7)
            end = _string(value, start)
            span = (start + 1, end - 1)
        if end > 0 and span:
            yield span
            position = end
        else:
            position = max(_string(value, position), position + 1 + (value[position] == "\\"))


def _in_brackets(value: str, position: int) -> tuple[tuple[int, int], int]:
    while value[position : position + 1] in tuple(SPACE):
        position += 1
    end = _string(value, position)
    if end > 0:
        span = (position + 1, end - 1)
    else:
        end = position
        while end < len(value) and value[end] not in "\"'()\\" and value[end] > " " and value[end] != "\x7f":
            end += 1
        if end == position:
            return (0, 0), -1
        span = (position, end)
    while value[end : end + 1] in tuple(SPACE):
        end += 1
    return (span, end + 1) if value[end : end + 1] == ")" else ((0, 0), -1)


def _gap(value: str, position: int) -> int:
    while True:
        if value[position : position + 1] in tuple(SPACE):
            position += 1
        elif value.startswith("/*", position) and (end := value.find("*/", position + 2)) >= 0:
            position = end + 2
        else:
            return position


def _string(value: str, position: int) -> int:
    """The end of the string that begins at ``position``; -1 when none does, or it does not end."""
    quote = value[position : position + 1]
    if quote not in ("'", '"'):
        return -1
    position += 1
    while position < len(value):
        letter = value[position]
        if letter == quote:
            return position + 1
        if letter in "\n\r\f":
            return -1
        if letter == "\\":
            position += 1 + value.startswith("\r\n", position + 1)
        position += 1
    return -1


def candidates(value: str) -> list[tuple[int, int]]:
    """The standard's "parse a srcset attribute", step by step; where the URLs are."""
    spans, position = [], 0
    while True:
        while position < len(value) and value[position] in " \t\n\f\r,":
            position += 1
        if position == len(value):
            return spans
        start = position
        while position < len(value) and value[position] not in " \t\n\f\r":
            position += 1
        stop = position
        if value[stop - 1] == ",":
            while value[stop - 1] == ",":
                stop -= 1
        else:
            in_parens = False
            while position < len(value):
                letter = value[position]
                position += 1
                if in_parens:
                    in_parens = letter != ")"
                elif letter == "(":
                    in_parens = True
                elif letter == ",":
                    break
        spans.append((start, stop))
