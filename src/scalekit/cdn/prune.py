"""Remove the files of old releases from where they were pushed to. Needs the extra ``s3``.

Rules:

* Only what a push has brought is ever removed: a file that the manifest of an old release names, or that of a
  push which did not come to its end. Whatever else lies below the prefix is nobody's business here.
* Nothing that a kept release names is removed, nothing that a push under way names, and nothing that is
  younger than the age. :mod:`scalekit.cdn._releases` says which releases are kept.
* A push that began before it is left alone, by the manifest that it wrote first. One that begins meanwhile
  may count on a file that goes: so a prune says that it is at work, in an object of its own, and a push
  that sees it waits for it to end before it looks whether all its files are there. A prune works for a minute
  at most before it says so anew and looks again; one that was killed is believed for two minutes.
* Files go before the manifests that name them, so that a prune which was killed is finished by the next one.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, Literal

from scalekit._durations import Duration, seconds
from scalekit._options import check_count
from scalekit.cdn._crowd import each
from scalekit.cdn._releases import (
    LOCK_SECONDS,
    OURS,
    POINTER,
    PRUNING,
    PUSHING,
    RELEASES,
    kept,
    pointed_to,
    releases,
)
from scalekit.cdn._s3 import Bucket, opened
from scalekit.cdn._s3_url import parse
from scalekit.cdn.manifest import Manifest
from scalekit.errors import BackendTimeout, ConfigurationError, PushRefused, ScalekitError

_ROUND_SECONDS = 60.0
_DELETE_SECONDS = 30.0  # with a round's, less than a prune is believed to be at work
LEAST_AGE = 3600.0
"""Seconds; a push under way may count on what is younger."""
_WEEK = 7 * 86400.0

Kind = Literal["file", "record"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """What is removed: a file of an old release, or a record of it, its manifest. ``size`` in bytes."""

    name: str
    kind: Kind
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneReport:
    """What a prune has done, or would do.

    Args:
        removed: in the order that it went.
        kept: how many releases are left.
    """

    removed: tuple[Removal, ...] = ()
    kept: int = 0

    @property
    def size(self) -> int:
        """Bytes of the files that were removed."""
        return sum(removal.size for removal in self.removed if removal.kind == "file")


async def prune(
    destination: str,
    *,
    keep: int = 3,
    age: Duration = _WEEK,
    dry_run: bool = False,
    concurrency: int = 16,
    client: Any = None,
    on_removal: Callable[[Removal], object] | None = None,
) -> PruneReport:
    """Remove the files of old releases from ``destination``.

    Args:
        destination: such as ``"s3://shop-assets/static"``.
        keep: how many releases are kept whatever their age, the current one counted; default 3.
        age: seconds or ``timedelta`` for which a release is kept after another has followed it, whatever
            ``keep`` says; default 7 days, an hour at least.
        dry_run: change nothing, and report what would be.
        concurrency: files at a time, default 16.
        client: aiobotocore's or aioboto3's client of ``s3``, entered; by default one is made.
        on_removal: called for each file and manifest, when it is gone.

    Raises:
        ConfigurationError: ``destination`` is none, or a number is out of its range.
        PushRefused: S3 will not do it, or a manifest cannot be read: nothing is removed then.
        BackendUnavailable: S3 cannot be reached. What was removed is gone; the next prune goes on.
        BackendTimeout: S3 did not answer in time; the same. Or only to look took longer than a minute.
    """
    check_count(keep, option="keep=", least=1, cure="the current release is always kept")
    check_count(concurrency, option="concurrency=", least=1, cure="16 is a good number")
    limit = timedelta(seconds=seconds(age, name="age", minimum=LEAST_AGE))
    removed: list[Removal] = []

    def note(removal: Removal) -> None:
        removed.append(removal)
        if on_removal is not None:
            on_removal(removal)

    async with opened(parse(destination), client) as bucket:
        if dry_run:
            plan = await _planned(bucket, keep=keep, age=limit, concurrency=concurrency)
            return PruneReport(removed=(*plan.files, *plan.records), kept=plan.kept)
        while True:
            until, before = monotonic() + _ROUND_SECONDS, len(removed)
            async with _told(bucket):
                plan = await _planned(bucket, keep=keep, age=limit, concurrency=concurrency)
                done = await _remove(bucket, plan, until=until, concurrency=concurrency, note=note)
            if done:
                return PruneReport(removed=tuple(removed), kept=plan.kept)
            if len(removed) == before:  # nor will the next round come further
                raise BackendTimeout(
                    f"to list {bucket.place} and to read its manifests took longer than {_ROUND_SECONDS:g} "
                    "seconds, and nothing may be removed by so old a look; give assets a prefix of their own",
                    backend="s3",
                )


@asynccontextmanager
async def _told(bucket: Bucket) -> AsyncGenerator[None, None]:
    """Say that a prune is at work; before the first look, or a push could begin between."""
    name = f"{PRUNING}{secrets.token_hex(8)}"
    await bucket.put_record(name, b"{}")
    try:
        yield
    finally:
        with suppress(ScalekitError):  # it is believed for a while only
            await bucket.delete(name)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    files: list[Removal]
    records: list[Removal]
    kept: int


async def _planned(bucket: Bucket, *, keep: int, age: timedelta, concurrency: int) -> _Plan:
    pointer = await bucket.get(POINTER)  # first: the manifest that it names is in the listing then
    found, now = await bucket.listing()
    pushed = releases(found)
    current = None if pointer is None else pointed_to(pointer)
    if pointer is not None and (current is None or current not in found):
        raise PushRefused(f"{bucket.place}/{POINTER} points at no manifest; push again before you prune")
    stay = kept(pushed, current=current, keep=keep, age=age, now=now)
    stay |= {name for name in found if name.startswith(PUSHING) and now - found[name].modified <= age}
    records = [name for name in found if name.startswith((RELEASES, PUSHING))]
    named: dict[str, frozenset[str]] = {}

    async def read(name: str) -> None:
        content = await bucket.get(name)
        if content is not None:  # a push has come to its end meanwhile
            named[name] = _files_in(bucket, name, content)

    await each(records, read, at_once=concurrency)
    needed = frozenset[str]().union(*(named[name] for name in named if name in stay))
    old = sorted(name for name in named if name not in stay)
    gone = frozenset[str]().union(*(named[name] for name in old)) - needed
    files = [
        Removal(name=name, kind="file", size=found[name].size)
        for name in sorted(gone)
        if name in found and not name.startswith(OURS) and now - found[name].modified > age
    ]
    ended = [
        name
        for name in found
        if name.startswith(PRUNING) and now - found[name].modified > timedelta(seconds=LOCK_SECONDS)
    ]
    return _Plan(
        files=files,
        records=[Removal(name=name, kind="record", size=found[name].size) for name in [*old, *ended]],
        kept=sum(release.name in stay for release in pushed),
    )


def _files_in(bucket: Bucket, name: str, content: bytes) -> frozenset[str]:
    where = f"{bucket.place}/{name}"
    try:
        return Manifest.from_bytes(content, source=where).files
    except ConfigurationError as error:
        raise PushRefused(
            f"nothing is pruned, because {error}; if nobody needs it, remove {where}"
        ) from error


async def _remove(
    bucket: Bucket, plan: _Plan, *, until: float, concurrency: int, note: Callable[[Removal], None]
) -> bool:
    """Whether all of ``plan`` was done in time."""
    in_time = True

    async def remove(removal: Removal) -> None:
        nonlocal in_time
        in_time = monotonic() < until
        if in_time:
            async with asyncio.timeout(_DELETE_SECONDS):
                await bucket.delete(removal.name)
            note(removal)

    for group in (plan.files, plan.records):
        if in_time:
            await each(group, remove, at_once=concurrency)
    return in_time
