"""Names that change when, and only when, the content does.

Rules:

* A name carries the first 12 hex digits of the SHA-256 of the bytes served under it. Nothing else goes in:
  no time, no inode, no host, so that any two servers with the same tree agree.
* A style sheet or a script is hashed with its references already renamed: when an image changes, so does the
  name of every style sheet that shows it.
* Files that refer to each other in a circle cannot each contain the other's hash. The circle is hashed as
  one, and each member's name comes from that hash and its own name.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

from scalekit.cdn._references import Reference, rewrite

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


def render(
    sources: Mapping[str, bytes], references: Mapping[str, Sequence[Reference]], names: Mapping[str, str]
) -> dict[str, tuple[str, bytes]]:
    """The hashed name of each text that refers to others, and the bytes to serve under it.

    Args:
        sources: the texts by name.
        references: what each of them refers to.
        names: the hashed names of all other assets by name.
    """
    edges = {
        name: sorted({reference.target for reference in references[name]} & sources.keys())
        for name in sources
    }
    known = dict(names)
    result: dict[str, tuple[str, bytes]] = {}
    for circle in circles(edges):
        if len(circle) > 1 or circle[0] in edges[circle[0]]:
            whole = hashlib.sha256()
            for name in circle:
                body = rewrite(sources[name], references[name], name=name, rename=known.get)
                whole.update(f"{name}\0{len(body)}\0".encode() + body)
            for name in circle:
                known[name] = hashed_name(name, hashlib.sha256(whole.digest() + name.encode()).hexdigest())
        for name in circle:
            body = rewrite(sources[name], references[name], name=name, rename=known.get)
            known.setdefault(name, hashed_name(name, hashlib.sha256(body).hexdigest()))
            result[name] = known[name], body
    return result


def circles(edges: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Groups of names that reach each other, those that others need first; mostly of one name each.

    Tarjan's algorithm ("Depth-first search and linear graph algorithms", 1972), without recursion: a chain of
    imports may be long.
    """
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    open_names: list[str] = []
    done: set[str] = set()
    groups: list[list[str]] = []
    for root in sorted(edges):
        if root in order:
            continue
        path: list[tuple[str, Iterator[str]]] = []
        following: str | None = root
        while following is not None or path:
            if following is not None:
                order[following] = low[following] = len(order)
                open_names.append(following)
                path.append((following, iter(edges[following])))
                following = None
            name, targets = path[-1]
            for target in targets:
                if target not in order:
                    following = target
                    break
                if target not in done:
                    low[name] = min(low[name], order[target])
            if following is not None:
                continue
            path.pop()
            if path:
                above = path[-1][0]
                low[above] = min(low[above], low[name])
            if low[name] == order[name]:
                group = [open_names.pop()]
                while group[-1] != name:
                    group.append(open_names.pop())
                groups.append(sorted(group))
                done.update(group)
    return groups
