"""Whether two objects have the same content. Rules:

* Another size is another content, and so is another checksum.
* The same size says nothing, and neither does a time: clocks differ, copies keep times or do not.
* Where a storage keeps a checksum, it is believed. What keeps none is read.
* An ETag that is the MD5 of the other content is no accident: S3 makes them so, unless it encrypts by a key
  or got the object in parts. Nor are two of S3's that are the same. An ETag that is neither says nothing.
"""

import re
from typing import Literal, TypeAlias

from scalekit.storage._contract import Storage
from scalekit.storage._digest import OnBytes, digest
from scalekit.storage._moving_pairs import Pair
from scalekit.storage._values import Stored
from scalekit.storage.checksums import Checksum

Compare: TypeAlias = Literal["checksum", "content", "size", "presence"]
"""How :func:`scalekit.storage.moving.sync` tells that an object need not be written:

* ``"checksum"``: same size and checksum. What a storage keeps is believed, an ETag that is an MD5 too; else
  the object is read.
* ``"content"``: same size and SHA-256 of what is read now, on both sides. Also finds what went bad on a disk.
* ``"size"``: same size. Right where a key is never written twice, as random ones are.
* ``"presence"``: there is an object, whichever. Nothing is ever replaced.
"""

CERTAIN = "sha256"


async def same(source: Storage, destination: Storage, pair: Pair, how: Compare, on_bytes: OnBytes) -> bool:
    """Whether the two objects of ``pair`` need no writing. ``on_bytes`` counts what is read of the source."""
    ours, theirs = pair.source, pair.destination
    assert ours is not None
    assert theirs is not None
    if how == "presence":
        return True
    if ours.size != theirs.size:
        return False
    if how == "size" or ours.size == 0:
        return True
    if how == "checksum" and await _etag_tells(source, destination, ours, theirs, on_bytes):
        return True
    algorithm = CERTAIN
    one = other = None
    if how == "checksum":
        one, other = await _kept(source, ours), await _kept(destination, theirs)
        if one is not None and (other is None or other.algorithm != one.algorithm):
            algorithm, other = one.algorithm, None
        elif other is not None:
            algorithm = other.algorithm
    if one is None:
        one = await digest(source, pair.key, algorithm, on_bytes)
    if other is None and one is not None:
        other = await digest(destination, pair.key, algorithm)
    return one is not None and one == other


async def _etag_tells(
    source: Storage, destination: Storage, ours: Stored, theirs: Stored, on_bytes: OnBytes
) -> bool:
    # A listing has them, so that most objects are settled without a request for each.
    one, other = _may_be_md5(ours.etag), _may_be_md5(theirs.etag)
    if one and other:
        # If these are no MD5s, but another kind of storage's own, the same need not mean the same.
        return type(source) is type(destination) and ours.etag == theirs.etag
    if other:
        return is_md5(theirs.etag, await digest(source, ours.key, "md5", on_bytes))
    return one and is_md5(ours.etag, await digest(destination, theirs.key, "md5"))


def is_md5(etag: str, checksum: Checksum | None) -> bool:
    """Whether an ETag shows the content that has this MD5."""
    return checksum is not None and checksum.algorithm == "md5" and etag == checksum.digest.hex()


def _may_be_md5(etag: str) -> bool:
    return re.fullmatch("[0-9a-f]{32}", etag) is not None


async def _kept(storage: Storage, listed: Stored) -> Checksum | None:
    if listed.checksum is not None:
        return listed.checksum
    found = await storage.stat(listed.key)
    return None if found is None else found.checksum
