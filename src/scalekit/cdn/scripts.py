"""Scripts: what they ask for, renamed, and which of them may be fetched from a CDN as modules.

Rules:

* Specifiers that mean an asset are renamed: of ``import`` and ``export from``, of ``import("...")`` and of
  ``new URL("...", import.meta.url)``; bare ones stay, for they are the import map's. So is the comment that
  names the source map. A script that cannot be read with certainty is served as it is, and logged.
* A module that two URLs name runs twice. A page may therefore fetch one under its hashed name only if the
  whole graph below it is renamed too: every path that it or what it imports asks for is an asset, and nothing
  is asked for that is computed when it runs.
* Nor may it if it starts a worker, which has to come from the page's own host, or asks for a path outside of
  the assets, which it would look for at the CDN.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from scalekit.cdn import _javascript
from scalekit.cdn._references import Reference, resolve, source_map

_SOURCE_MAP = re.compile(rb"//[#@][ \t]+sourceMappingURL=([^\s'\"`]+)\s*\Z")
_PATH = ("/", "./", "../")


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in a script.

    Args:
        references: what it refers to, in order.
        movable: whether nothing in it forbids to fetch it from elsewhere; what it imports may.
        doubt: why it was not read, and is served as it is.
    """

    references: list[Reference]
    movable: bool
    doubt: str | None = None


def is_script(name: str) -> bool:
    """Whether a file is one by its name."""
    return name.lower().endswith((".js", ".mjs"))


def references(source: bytes, *, name: str, prefix: str) -> Found:
    """What the script ``name`` refers to.

    Args:
        source: the script.
        name: its own name below ``prefix``, such as ``"js/app.js"``.
        prefix: the URL path that assets live under, such as ``"/static/"``.
    """
    try:
        script = _javascript.read(source)
    except _javascript.Doubt as doubt:
        return Found([], movable=False, doubt=str(doubt))
    found = []
    movable = not script.bound
    for specifier in script.specifiers:
        try:
            value = source[specifier.start : specifier.stop].decode()
        except UnicodeDecodeError:
            value = "\\"
        if specifier.kind != "url" and not value.startswith((*_PATH, "\\")):
            continue
        meant = None if "\\" in value or value.startswith("//") else resolve(value, name=name, prefix=prefix)
        if meant is not None:
            found.append(Reference(specifier.start, specifier.stop, *meant, specifier.kind))
        elif specifier.kind != "url":
            movable = False
    if map_ := source_map(source, _SOURCE_MAP, name=name, prefix=prefix):
        found.append(map_)
    return Found(found, movable=movable)


def modules(found: Mapping[str, Found], names: frozenset[str]) -> frozenset[str]:
    """The scripts that a page may fetch under their hashed names as modules.

    Args:
        found: what was found in each script.
        names: of all assets.
    """
    importers: dict[str, list[str]] = {name: [] for name in found}
    bad = []
    for name, script in found.items():
        movable = script.movable
        for reference in script.references:
            if reference.kind in ("import", "dynamic"):
                movable = movable and reference.target in names
                importers.setdefault(reference.target, []).append(name)
        if not movable:
            bad.append(name)
    unmovable = set(bad)
    while bad:
        for importer in importers[bad.pop()]:
            if importer not in unmovable:
                unmovable.add(importer)
                bad.append(importer)
    return frozenset(found.keys() - unmovable)
