"""Names that change when, and only when, the content does.

Rules:

* A name carries the first 12 hex digits of the SHA-256 of the bytes served under it. Nothing else goes in:
  no time, no inode, no host, so that any two servers with the same tree agree.
* A style sheet is hashed with its references already renamed: when an image changes, so does the name of
  every style sheet that shows it.
* Style sheets that import each other in a circle cannot each contain the other's hash. The circle is hashed
  as one, and each member's name comes from that hash and its own name.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

from scalekit.cdn import css

DIGITS = 12
_HASHED = re.compile(rf"(.*)\.[0-9a-f]{{{DIGITS}}}((?:\.[^./]*)?)", re.DOTALL)


def hashed_name(name: str, digest: str) -> str:
    """``logo.png`` as ``logo.3f2a9c01b4d5.png``; ``name`` without an extension gets the hash at its end."""
    folder, slash, file = name.rpartition("/")
    stem, dot, extension = file.rpartition(".")
    renamed = f"{stem}.{digest[:DIGITS]}.{extension}" if dot and stem else f"{file}.{digest[:DIGITS]}"
    return folder + slash + renamed


def plain_name(name: str) -> str | None:
    """The name without its hash, if it has one where :func:`hashed_name` puts it."""
    match = _HASHED.fullmatch(name)
    return match[1] + match[2] if match else None


def style_sheets(
    sources: Mapping[str, bytes], names: Mapping[str, str], *, prefix: str
) -> dict[str, tuple[str, bytes]]:
    """Each style sheet's hashed name and the bytes to serve under it.

    Args:
        sources: the style sheets by name.
        names: the hashed names of all other assets by name.
        prefix: the URL path that assets live under.
    """
    edges = {
        name: css.references(source, name=name, prefix=prefix) & sources.keys()
        for name, source in sources.items()
    }
    known = dict(names)
    result: dict[str, tuple[str, bytes]] = {}
    for circle in _circles(edges):
        if len(circle) > 1 or circle[0] in edges[circle[0]]:
            whole = hashlib.sha256()
            for name in circle:
                body = css.rewrite(sources[name], name=name, prefix=prefix, rename=known.get)
                whole.update(f"{name}\0{len(body)}\0".encode() + body)
            for name in circle:
                known[name] = hashed_name(name, hashlib.sha256(whole.digest() + name.encode()).hexdigest())
        for name in circle:
            body = css.rewrite(sources[name], name=name, prefix=prefix, rename=known.get)
            known.setdefault(name, hashed_name(name, hashlib.sha256(body).hexdigest()))
            result[name] = known[name], body
    return result


def _circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of names that reach each other, those that others need first; mostly of one name each."""
    reach = {name: _reachable(name, edges) for name in edges}
    groups: dict[str, list[str]] = {}
    for name in sorted(edges):
        circle = sorted(other for other in reach[name] if name in reach[other])
        groups.setdefault(circle[0] if circle else name, circle or [name])
    # Whoever imports a circle reaches more than the circle does.
    return sorted(groups.values(), key=lambda group: (len(reach[group[0]] | set(group)), group))


def _reachable(start: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(edges[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(edges[name])
    return seen
