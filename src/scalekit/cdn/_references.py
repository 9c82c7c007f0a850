"""References from one asset to another: what they mean, and how they are renamed.

Rules:

* A reference is resolved as a browser would, against the asset it stands in. What is no asset (``data:``,
  another host, a missing file) is left alone.
* A renamed one is relative, so that any host can serve both; its query and fragment stay.
* Outside of the references no byte changes.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from scalekit.cdn._urls import normalise, split

_NOT_OURS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//|[?#]|\Z")
# What may stand behind the path without a second thought about quoting.
_PLAIN_SUFFIX = re.compile(r"[?#][\w\-.~!$&*+,;=:@/?#%]*|\Z")

_TAIL = 4096  # bytes; a longer comment holds its map itself

Rename = Callable[[str], str | None]
"""From a reference's asset name to the name to write, or ``None`` to leave it."""

Kind = Literal["import", "dynamic", "url", "map"]
"""What asks: an import of a script, one when it runs, a URL in a script or a style sheet, a source map."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference.

    Args:
        start: offset of its first byte, behind the quote.
        stop: offset after its last byte.
        target: the name of the asset it means, existing or not.
        suffix: its query and fragment.
        kind: what asks.
    """

    start: int
    stop: int
    target: str
    suffix: str
    kind: Kind


def resolve(value: str, *, name: str, prefix: str) -> tuple[str, str] | None:
    """The asset that ``value`` in the asset ``name`` means, and its query and fragment; ``None`` for none."""
    path, suffix = split(value)
    if _NOT_OURS.match(path) or not _PLAIN_SUFFIX.fullmatch(suffix):
        return None
    folder = quote(name[: name.rfind("/") + 1])
    plain = normalise(path if path.startswith("/") else prefix + folder + path)
    if plain is None or not plain.startswith(prefix):
        return None
    return plain[len(prefix) :], suffix


def source_map(source: bytes, pattern: re.Pattern[bytes], *, name: str, prefix: str) -> Reference | None:
    """The source map that ``pattern`` finds at the end of ``source``, if it is a file beside it."""
    found = pattern.search(source, max(0, len(source) - _TAIL))
    if found is None:
        return None
    meant = resolve(found[1].decode("utf-8", "replace"), name=name, prefix=prefix)
    return None if meant is None else Reference(*found.span(1), *meant, "map")


def rewrite(source: bytes, references: Iterable[Reference], *, name: str, rename: Rename) -> bytes:
    """``source`` with its references renamed.

    Args:
        source: the text.
        references: those in it, in order.
        name: its own name.
        rename: what to call each asset it refers to.
    """
    pieces: list[bytes] = []
    done = 0
    folder = name.split("/")[:-1]
    for reference in references:
        renamed = rename(reference.target)
        if renamed is not None:
            relative = quote(_relative(renamed, folder))
            if reference.kind in ("import", "dynamic") and not relative.startswith("../"):
                relative = "./" + relative  # without it, it would be a bare specifier
            pieces += source[done : reference.start], (relative + reference.suffix).encode()
            done = reference.stop
    return b"".join(pieces) + source[done:]


def _relative(name: str, folder: list[str]) -> str:
    """The way from a folder to an asset, both below one root; relpath would ask the system first."""
    parts = name.split("/")
    shared = 0
    while shared < min(len(folder), len(parts) - 1) and folder[shared] == parts[shared]:
        shared += 1
    return "/".join([".."] * (len(folder) - shared) + parts[shared:])
