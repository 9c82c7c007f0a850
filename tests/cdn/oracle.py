"""What a rewritten page must be, worked out the slow way: parse, then look at every attribute of the tree.

Nothing of the rewriter is used here: html5lib parses, ``urljoin`` resolves, and ``srcset`` is read letter
by letter as the HTML standard describes it.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import html5lib

from scalekit.cdn import Assets

XHTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}"
URLS = {
    XHTML + "img": ("src",),
    XHTML + "script": ("src",),
    XHTML + "source": ("src",),
    XHTML + "video": ("src", "poster"),
    XHTML + "audio": ("src",),
    XHTML + "input": ("src",),
    XHTML + "link": ("href",),
    SVG + "image": ("href", XLINK + "href"),
    SVG + "feImage": ("href", XLINK + "href"),
}
LISTS = {XHTML + "img": "srcset", XHTML + "source": "srcset", XHTML + "link": "imagesrcset"}
RELATIONS = {"stylesheet", "icon", "preload", "prefetch", "apple-touch-icon", "mask-icon"}


def parse(page: bytes) -> list[tuple[str, dict[str, str], str]]:
    """The elements of a page in order: name, attributes, the text in and after it; comments too."""
    tree = html5lib.parse(page, transport_encoding="utf-8")

    def walk(node: Any) -> Iterator[tuple[str, dict[str, str], str]]:
        name = node.tag if isinstance(node.tag, str) else "#comment"
        yield name, dict(node.attrib), f"{node.text}|{node.tail}"
        for child in node:
            yield from walk(child)

    return list(walk(tree))


def expected(page: bytes, assets: Assets, path: str) -> list[tuple[str, dict[str, str], str]]:
    """The elements that the rewritten page must have."""
    base = f"http://testserver{path}"
    found_base = False
    result = []
    for name, attributes, text in parse(page):
        if name == XHTML + "base" and "href" in attributes and not found_base:
            base, found_base = urljoin(base, attributes["href"]), True
        result.append((name, _rewritten(name, attributes, assets, base), text))
    return result


def _rewritten(name: str, attributes: dict[str, str], assets: Assets, base: str) -> dict[str, str]:
    changed = dict(attributes)
    verbatim = "integrity" in attributes and name in (XHTML + "link", XHTML + "script")
    if verbatim and "crossorigin" not in attributes:
        return changed
    if attributes.get("crossorigin", "").lower() == "use-credentials":
        return changed
    if name == XHTML + "script" and attributes.get("type", "").strip().lower() == "module":
        return changed
    if name == XHTML + "link" and RELATIONS.isdisjoint(attributes.get("rel", "").lower().split()):
        return changed
    for attribute in URLS.get(name, ()):
        if attribute in attributes:
            changed[attribute] = url(attributes[attribute], assets, base, verbatim)
    listing = LISTS.get(name, "")
    if listing in attributes:
        value = attributes[listing]
        for start, stop in reversed(candidates(value)):
            value = value[:start] + url(value[start:stop], assets, base, verbatim) + value[stop:]
        changed[listing] = value
    return changed


def url(value: str, assets: Assets, base: str, verbatim: bool = False) -> str:
    clean = value.strip("".join(map(chr, range(33)))).translate({9: None, 10: None, 13: None})
    head = clean.split("?")[0].split("#")[0]
    parts = urlsplit(urljoin(base, head.replace("\\", "/") + clean[len(head) :]))
    if not head or parts.netloc != "testserver" or not parts.path.startswith(assets.prefix):
        return value
    asset = assets.get(unquote(parts.path)[len(assets.prefix) :])
    if asset is None or (verbatim and not asset.verbatim):
        return value
    return assets.url(asset.name) + clean[len(head) :]


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
