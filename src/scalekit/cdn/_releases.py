"""What a push leaves beside the files, all below ``.scalekit/``, and which releases are kept.

==========================================  ==========================================================
``.scalekit/current.json``                  the pointer: which manifest is the current one
``.scalekit/releases/TIME-DIGEST.json``     the manifest of a release, written when all its files are there
``.scalekit/pushing/TIME-DIGEST.json``      that of a push under way, written before its first file
``.scalekit/pruning/NAME``                  a prune under way
==========================================  ==========================================================

No asset begins with a dot, so none has such a name. A manifest is written once and never again: each push
that changes something makes another. ``TIME`` in its name is for people; what counts is when the server wrote
it.

A release is kept if it is the current one, is among the last N with different contents, or has been followed
by another for less than the age: until then servers may have pages that name its files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from scalekit.cdn._s3 import Found

OURS = ".scalekit/"
POINTER = f"{OURS}current.json"
RELEASES = f"{OURS}releases/"
PUSHING = f"{OURS}pushing/"
PRUNING = f"{OURS}pruning/"

LOCK_SECONDS = 120.0
"""For how long a prune is believed to be at work, since it said so."""

_DIGITS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """A manifest that was pushed: its name, and when the server wrote it."""

    name: str
    written: datetime

    @property
    def digest(self) -> str:
        """Equal for equal manifests."""
        return digest_in(self.name)


def file_name(manifest: bytes, now: datetime) -> str:
    """What a manifest that is pushed now is called."""
    return f"{now:%Y%m%dT%H%M%S.%fZ}-{digest_of(manifest)}.json"


def digest_of(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()[:_DIGITS]


def digest_in(name: str) -> str:
    """The digest in the name of a manifest; empty if that is no name of ours."""
    return name.removesuffix(".json").rpartition("-")[2] if name.endswith(".json") else ""


def pointer_to(name: str) -> bytes:
    """The pointer's content; equal for equal names."""
    return json.dumps({"format": "scalekit.release", "version": 1, "manifest": name}).encode() + b"\n"


def pointed_to(pointer: bytes) -> str | None:
    """The name of the manifest that a pointer means, or ``None`` if it is no pointer of ours."""
    try:
        name = json.loads(pointer)["manifest"]
    except (ValueError, TypeError, KeyError):
        return None
    return name if isinstance(name, str) and name.startswith(RELEASES) else None


def releases(found: Mapping[str, Found]) -> list[Release]:
    """Those in a listing, the one that was written last at the end."""
    named = [
        Release(name=name, written=facts.modified)
        for name, facts in found.items()
        if name.startswith(RELEASES) and digest_in(name)
    ]
    return sorted(named, key=lambda release: (release.written, release.name))


def kept(pushed: list[Release], *, current: str | None, keep: int, age: timedelta, now: datetime) -> set[str]:
    """The names of the manifests to keep.

    Args:
        pushed: what :func:`releases` found.
        current: what the pointer names; ``None`` where there is none yet.
        keep: how many with different contents, the current one counted.
        age: for how long a release is kept after another has followed it.
        now: by the server's clock.
    """
    names = set() if current is None else {current}
    contents: set[str] = set()
    followed = now
    for release in reversed(pushed):
        seen = release.digest in contents
        if not seen and len(contents) < keep:
            names.add(release.name)
        if now - followed <= age:
            names.add(release.name)
        contents.add(release.digest)
        followed = release.written
    return names
