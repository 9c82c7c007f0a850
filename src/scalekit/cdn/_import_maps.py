"""The asset URLs of an import map (HTML standard, 8.1.5.4).

Rules:

* In ``imports``, and in each of ``scopes``, values change: they are what gets loaded. Keys do not, for they
  stand in scripts. A value that ends in ``/`` is a beginning of URLs, and stays.
* A key of ``scopes`` names scripts by the URL they came from, so it follows them: one script by its own new
  URL; with a CDN a folder to that one's, if all the scripts in it go there. Of a folder where some stay it is
  not known which are meant, and the key stays.
* A key of ``integrity`` follows its script, too. A script whose bytes change under its hashed name stays in
  all of the map: what is said of it would not be true any more.
* What names a CDN has its path in place of it on a page that does without, whether it may change else or not.
* Text that is no JSON, or no map, means nothing to a browser, and stays.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from scalekit.cdn._asset import Asset
from scalekit.cdn._targets import Change, Targets

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|[{}\[\],:]', re.DOTALL)
_URL_LIKE = re.compile(r"\.{0,2}/|[a-zA-Z][a-zA-Z0-9+.-]*:")


def changes(text: str, targets: Targets) -> Iterator[Change]:
    """The changes to an import map."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(found, dict):
        return
    fixed = _fixed(found, targets)
    for path, source, begin, is_key in _strings(text):
        url: str = json.loads(f'"{source}"')
        if is_key and path == ("scopes",) and (folder := _folder(url, targets)) is not None:
            yield begin, begin + len(source), folder
        elif (path in (("scopes",), ("integrity",))) if is_key else _is_import(path):
            new = _moved(url, targets, fixed)
            if new is not None:
                yield from targets.change_escaped(new, url, source, begin)


def _is_import(path: tuple[str | None, ...]) -> bool:
    return None not in path and (path[:1], len(path)) in ((("imports",), 2), (("scopes",), 3))


def _moved(url: str, targets: Targets, fixed: set[str]) -> str | None:
    """What a URL becomes, if it is a script's that changes."""
    asset = targets.find(url) if _URL_LIKE.match(url) else None
    if asset is None:
        return None
    if asset.name in targets.modules and asset.name not in fixed:
        return targets.url(asset)
    return targets.path(url)


def _script(url: str, targets: Targets) -> Asset | None:
    asset = targets.find(url) if _URL_LIKE.match(url) else None
    return asset if asset is not None and asset.name in targets.modules else None


def _fixed(found: dict[str, Any], targets: Targets) -> set[str]:
    """The names of the scripts that have to keep their bytes, and would not."""
    integrity = found.get("integrity")
    fixed = set()
    for url in integrity if isinstance(integrity, dict) else ():
        asset = _script(url, targets)
        if asset is not None and not asset.verbatim and not targets.is_hashed(asset, url):
            fixed.add(asset.name)
    return fixed


def _folder(url: str, targets: Targets) -> str | None:
    """The URL of a folder whose scripts all go to the CDN, or all come back from it."""
    name = targets.name(url) if url.endswith("/") and _URL_LIKE.match(url) else None
    assets = targets.assets
    if name is None:
        return None
    inside = [
        asset.name
        for asset in assets
        if asset.name.startswith(name) and asset.content_type.startswith("text/javascript")
    ]
    if not inside:
        return None
    if assets.cdn is None or not all(script in targets.modules for script in inside):
        return targets.path(url)
    return assets.cdn + assets.prefix + quote(name)


def _strings(text: str) -> Iterator[tuple[tuple[str | None, ...], str, int, bool]]:
    """The strings of a JSON text: the keys around it, its source, where that begins, whether it is a key."""
    keys: list[str | None] = []  # of each open object the last one; None of an array
    objects: list[bool] = []  # of each open bracket whether it is an object's
    is_key = False
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in ("{", "["):
            keys.append("" if mark == "{" else None)
            objects.append(mark == "{")
            is_key = objects[-1]
        elif mark in ("}", "]"):
            keys.pop()
            objects.pop()
        elif mark in (",", ":"):
            is_key = mark == "," and objects[-1]
        elif is_key:
            yield tuple(keys[:-1]), token[1], token.start(1), True
            keys[-1] = json.loads(mark)
        elif keys:
            yield tuple(keys), token[1], token.start(1), False
