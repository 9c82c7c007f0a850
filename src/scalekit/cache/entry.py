"""What is kept under a key, as bytes.

========  ===============================================================================================
``L``     A lease: its token (16), and the versions under which it was taken. The back end ends it.
``E``     An entry: the number of versions (1) and these (8 each), when its query began (8), how long that
          took (4), when it grows stale (8), and the payload. Milliseconds, by the clock of who stored it.
``R``     An entry that somebody is about to replace: a token (16), when that right ends (8), and the entry.
          With the token ``COOLING`` it is nobody's: who tried has failed, and until then nobody tries again.
``P``     A pass mark: versions as an entry has. Callers compute for themselves; nobody waits for another.
========  ===============================================================================================

Versions come in the order of the lookup's tags, the generation first. Pure.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from scalekit.cache.versions import VERSION_BYTES, version_of

TOKEN_BYTES = 16
COOLING = bytes(TOKEN_BYTES)
LONGEST_LEASE = 120.0
"""Seconds. Nobody has a lease, or the right to replace, for so long: they are given for a few seconds, and by
machines whose clocks may differ by a minute. One that would last longer, or has no end, was left by somebody
else or by a mistake; it is nobody's, and whoever asks for it takes it."""
_END_BYTES = 8
_TIMES = 20
_read_times = struct.Struct(">QIQ").unpack_from
_REFRESH = 1 + TOKEN_BYTES + _END_BYTES


class Found(NamedTuple):
    """What a back end has for a lookup, unjudged."""

    value: bytes | None
    """What is under the key: one of the four, or nothing."""
    tags: tuple[bytes | None, ...]
    """The records of the tags, the generation's first (see :mod:`scalekit.cache.versions`)."""


class Shared(Found):
    """What several callers have asked for together."""

    decoded: tuple[object, Any] | None = None
    """The result that one of them has made of it, and by which codec."""


class Hit(NamedTuple):
    """A result whose tags have not been dropped."""

    payload: memoryview
    made: int
    """When its query began: milliseconds since 1970."""
    delta: int
    """How long the query took, in milliseconds."""
    soft_end: int
    """When it grows stale: milliseconds since 1970."""
    refreshing: bool
    """Somebody has the right to replace it, or nobody is to try."""
    cooling: bool = False
    """Nobody is to try: the function has just failed."""


class Miss(NamedTuple):
    """Nothing that could be served."""

    token: bytes | None = None
    """The token of the lease in place, under the present versions."""
    passes: bool = False
    """There is a pass mark."""


def versions(tags: Sequence[bytes | None]) -> bytes | None:
    """The versions in these records, as an entry carries them; ``None`` if one is missing or dirty."""
    found = [version for record in tags if (version := version_of(record)) is not None]
    return b"".join(found) if len(found) == len(tags) else None


def pack(versions: bytes, *, made: int, delta: int, soft_end: int, payload: bytes) -> bytes:
    """An entry. ``delta`` is cut off at the seven weeks that four bytes hold."""
    return b"E%c%b%b%b%b%b" % (
        len(versions) // VERSION_BYTES,
        versions,
        made.to_bytes(8),
        min(max(delta, 0), 0xFFFFFFFF).to_bytes(4),
        soft_end.to_bytes(8),
        payload,
    )


def pack_pass(versions: bytes) -> bytes:
    """A pass mark."""
    return b"P%c%b" % (len(versions) // VERSION_BYTES, versions)


def pack_lease(token: bytes, versions: bytes) -> bytes:
    """A lease."""
    return b"L%b%b" % (token, versions)


def pack_refresh(token: bytes, ends: int, entry: bytes) -> bytes:
    """``entry`` with the right to replace it until ``ends`` (milliseconds since 1970)."""
    return b"R%b%b%b" % (token, ends.to_bytes(_END_BYTES), entry)


def without_refresh(value: bytes) -> bytes:
    """The entry in a value of the kind ``R``."""
    return value[_REFRESH:]


def refresh_ends(value: bytes) -> int:
    """When the right to replace ends, of a value of the kind ``R``."""
    return int.from_bytes(value[1 + TOKEN_BYTES : _REFRESH])


def taken_for(value: bytes, now: int, left: float | None) -> float | None:
    """Seconds for which somebody may store what is to be in the place of ``value``; ``None``: nobody may.

    Args:
        now: milliseconds since 1970.
        left: seconds until the value ends, as it does by itself if it is a lease; ``None``: never.
    """
    if value[:1] == b"R":
        left = (refresh_ends(value) - now) / 1000
        return left if left > 0 and (left <= LONGEST_LEASE or token_of(value) == COOLING) else None
    return left if value[:1] == b"L" and left is not None and left <= LONGEST_LEASE else None


def token_of(value: bytes | None) -> bytes | None:
    """The token of the lease in a value of the kinds ``L`` and ``R``."""
    if value is not None and value[:1] in (b"L", b"R"):
        return value[1 : 1 + TOKEN_BYTES]
    return None


def is_under(value: bytes, versions: bytes) -> bool:
    """Whether an entry, a pass mark, a lease or an ``R`` was made under these versions."""
    kind = value[:1]
    if kind == b"L":
        return value[1 + TOKEN_BYTES :] == versions
    start = _REFRESH if kind == b"R" else 0
    head = b"%c%b" % (len(versions) // VERSION_BYTES, versions)
    return value.startswith(head, start + 1)


def judge(found: Found, now: int) -> Hit | Miss:
    """What ``found`` is worth at ``now`` (milliseconds since 1970)."""
    value, head = found.value, _head(found.tags)
    if value is None or head is None:
        return _NOTHING
    kind = value[:1]
    if kind == b"L":
        return Miss(token=token_of(value)) if value[1 + TOKEN_BYTES :] == head[1:] else _NOTHING
    start = (_REFRESH if kind == b"R" else 0) + 1
    if not value.startswith(head, start):
        return _NOTHING
    if kind == b"P":
        return Miss(passes=True)
    start += len(head)
    if kind not in (b"E", b"R") or len(value) < start + _TIMES:
        return _NOTHING
    made, delta, soft_end = _read_times(value, start)
    refreshing = kind == b"R" and taken_for(value, now, None) is not None
    cooling = refreshing and token_of(value) == COOLING
    return Hit(memoryview(value)[start + _TIMES :], made, delta, soft_end, refreshing, cooling)


_NOTHING = Miss()


# The same few records are read all the time.
@lru_cache(maxsize=1024)
def _head(tags: tuple[bytes | None, ...]) -> bytes | None:
    """What follows the kind, of a value that was made under the versions in these records."""
    present = versions(tags)
    return None if present is None else b"%c%b" % (len(tags), present)
