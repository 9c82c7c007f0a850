"""The record of a tag: which version it has, or that it is being changed.

An entry carries the versions its tags had *before* its query ran, and is valid while these are the present
ones. Rules:

* ``V``, a random version of eight bytes, its birth (milliseconds by the server's clock, eight bytes), and
  the position of the primary after the commit that gave it this version (the rest; empty: not known). The
  generation, which no commit changes, has there what tells which server's data it belongs to.
* ``D`` and sixteen bytes for each writer that is in COMMIT: the writer, and when its mark ends by itself.
  Such a tag is *dirty*: what is computed meanwhile may be the older or the newer truth, and is not stored.
* Of writers that overlap, or overlap a drop, nobody knows who has committed last, so the version that comes
  after them has no position. That there were others is what sixteen zeros behind the marks remember.
* A mark that has ended is as if it were not there; a tag without a record has no version. Both make misses,
  and the next lease makes a new version: random, so no entry that was ever written matches it.
* A *drop* gives a new version at once, and leaves the marks of writers in place.

Pure, and the twin of the scripts in :mod:`scalekit.cache.redis_scripts`; one test runs both.
"""

import secrets
from typing import NamedTuple

VERSION_BYTES = 8
WRITER_BYTES = 8
_MARK_BYTES = WRITER_BYTES + 8
_OTHERS = bytes(_MARK_BYTES)  # a mark that has ended long ago, of nobody
MAX_POSITION = 200
"""Bytes. A longer position is left out; then only what was read from the primary is stored."""


class Version(NamedTuple):
    """A tag that can be relied on."""

    version: bytes
    birth: int
    """Milliseconds since 1970, by the server's clock."""
    position: str | None


def new_version() -> bytes:
    return secrets.token_bytes(VERSION_BYTES)


def pack(version: bytes, birth: int, position: str | None = None) -> bytes:
    """The record of a tag that nobody is changing."""
    where = (position or "").encode()
    return b"V%b%b%b" % (version, birth.to_bytes(8), where if len(where) <= MAX_POSITION else b"")


def parse(record: bytes | None) -> Version | None:
    """The version in a record; ``None`` if there is none: missing, dirty, or of another shape."""
    if record is None or record[:1] != b"V" or len(record) < 17:
        return None
    return Version(record[1:9], int.from_bytes(record[9:17]), record[17:].decode(errors="replace") or None)


def version_of(record: bytes | None) -> bytes | None:
    """:func:`parse`, of which only the version is wanted."""
    return record[1:9] if record is not None and record[:1] == b"V" and len(record) >= 17 else None


def writers(record: bytes | None, now: int) -> dict[bytes, int]:
    """Who is changing the tag, and until when their marks last; those that have ended are left out."""
    if record is None or record[:1] != b"D":
        return {}
    found = {}
    for start in range(1, len(record) - _MARK_BYTES + 1, _MARK_BYTES):
        ends = int.from_bytes(record[start + WRITER_BYTES : start + _MARK_BYTES])
        if ends > now:
            found[record[start : start + WRITER_BYTES]] = ends
    return found


def _has_others(record: bytes | None, writer: bytes) -> bool:
    """Whether anybody but ``writer`` has marked the tag, since it last had a version."""
    if record is None or record[:1] != b"D":
        return False
    starts = range(1, len(record) - _MARK_BYTES + 1, _MARK_BYTES)
    return any(record[start : start + WRITER_BYTES] != writer for start in starts)


def _dirty(marks: dict[bytes, int], *, others: bool) -> bytes:
    each = b"".join(writer + ends.to_bytes(8) for writer, ends in marks.items())
    return b"D%b%b" % (each, _OTHERS if others else b"")


def marked(record: bytes | None, writer: bytes, *, now: int, ends: int) -> bytes:
    """The record once ``writer`` has begun to commit."""
    return _dirty({**writers(record, now), writer: ends}, others=_has_others(record, writer))


def bumped(record: bytes | None, writer: bytes, *, now: int, position: str | None) -> bytes:
    """The record once ``writer`` has committed: dirty while others have not."""
    marks = writers(record, now)
    alone = marks.pop(writer, None) is not None and not _has_others(record, writer)
    return _dirty(marks, others=True) if marks else pack(new_version(), now, position if alone else None)


def dropped(record: bytes | None, *, now: int) -> bytes:
    """The record once the tag was invalidated by hand."""
    marks = writers(record, now)
    # What it was dropped for may have been committed after those who have marked it.
    return _dirty(marks, others=True) if marks else pack(new_version(), now)
