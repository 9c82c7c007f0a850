"""From the parts that a browser has sent to a file that the application knows.

Whoever is interrupted leaves something that shows how far it came, and the next one to ask goes on from
there: parts, then an object that bears the upload's mark. If nobody asks, a note is found by the sweep.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus

from scalekit.errors import ObjectMissing, UnsupportedMediaType
from scalekit.storage import _direct_parts
from scalekit.storage._direct_grant import Grant
from scalekit.storage._media_types import SNIFF_BYTES, accepted_type
from scalekit.storage._respond import Refused
from scalekit.storage._s3_compose import Composition, planned
from scalekit.storage._s3_multipart import Part
from scalekit.storage._s3_target import Target
from scalekit.storage._values import Stored
from scalekit.storage.s3 import S3Storage


class Incomplete(Refused):
    """Parts are missing, or are not those that the client has sent; ``numbers`` says which."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers
        super().__init__(HTTPStatus.CONFLICT, f"{len(numbers)} parts are missing; send them again")


class Over(Refused):
    """There is nothing to go on with."""

    def __init__(self, why: str) -> None:
        super().__init__(HTTPStatus.GONE, f"this upload {why}; begin anew")


async def finish(
    storage: S3Storage,
    target: Target,
    grant: Grant,
    etags: Mapping[int, str],
    *,
    accept: tuple[str, ...],
    begin: Callable[[], Awaitable[None]],
) -> Stored:
    """The object of ``grant``, made if it is not there yet, and checked.

    Args:
        begin: awaited before it is made.
        etags: by number, what S3 answered to the client for each part.

    Raises:
        Incomplete: parts are missing or others; nothing was made.
        UnsupportedMediaType: its content is not accepted, and was removed.
        Over: it was given up, removed, or finished and removed.
    """
    stored = await target.found()
    if stored is None:
        parts = await _direct_parts.arrived(target, grant)
        if parts is None:  # ended; perhaps by another server, a moment ago
            stored = await target.found()
        else:
            _check(grant, parts, etags)
            await begin()
            stored = await _direct_parts.complete(target, grant, parts)
    return await checked(storage, target, grant, stored, accept)


def _check(grant: Grant, parts: Mapping[int, Part], etags: Mapping[int, str]) -> None:
    # A client that lost an answer sends the part again; what counts is what it was answered last.
    missing = [
        number for number in grant.numbers if number not in parts or not _same(parts[number], etags, number)
    ]
    if missing:
        raise Incomplete(missing)


def _same(part: Part, etags: Mapping[int, str], number: int) -> bool:
    return part.etag.strip('"') == etags.get(number, "").strip('"')


async def checked(
    storage: S3Storage, target: Target, grant: Grant, stored: Stored | None, accept: tuple[str, ...]
) -> Stored:
    """``stored``, if it is what is accepted, under the type that its content has.

    Raises:
        UnsupportedMediaType: it is not, and was removed.
        Over: it is not there.
    """
    head = None if stored is None else await storage.open(grant.key, length=SNIFF_BYTES)
    if stored is None or head is None:
        raise Over("has ended")
    async with head:
        content = await head.read()
    try:
        kind = accepted_type(content, grant.content_type, accept)
    except UnsupportedMediaType:
        await storage.delete(grant.key)
        raise
    return stored if kind == stored.content_type else await _relabelled(target, stored, kind)


async def _relabelled(target: Target, stored: Stored, kind: str) -> Stored:
    """The object under the type that its content has: copied onto itself, inside S3."""
    copies = planned([stored], equal_parts=target.profile.equal_parts)
    if copies is None:  # S3 would not take such parts, and what was claimed is harmless
        return replace(stored, content_type=kind)
    composition = Composition(
        target=replace(target, content_type=kind, overwrite=True),
        copies=copies,
        name=lambda _: target.name,
        concurrency=4,
    )
    try:
        return await composition.run()
    except ObjectMissing:  # another server was faster, or it was removed
        there = await target.found()
        if there is None:
            raise Over("has ended") from None
        return replace(there, content_type=kind)
