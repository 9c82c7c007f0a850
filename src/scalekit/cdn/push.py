"""Bring the files of a release to S3, for a CDN whose origin that is. Needs the extra ``s3``.

Rules:

* The site is whole at every moment. A file goes up after those that it names, the manifest of the release
  after all files, and the pointer that says which manifest is the current one at the very end. Whoever is
  killed before that has changed nothing that anybody looks at.
* What is there is not sent again: same length, same MD5 (the entity tag), or, where the bucket's encryption
  has other tags, same SHA-256 beside the object. A push of what is the current release asks for one listing.
* What was sent is looked at again, in a listing after the manifest was written, before the pointer is.
* Pushes at the same time disturb nobody: no file and no manifest is ever changed, and the pointer names
  whichever release came last. A prune at the same time neither, see :mod:`scalekit.cdn.prune`: the last
  listing waits for it to end, and what it took away goes up again.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import Any

from scalekit._options import check_count
from scalekit.cdn._crowd import each
from scalekit.cdn._push_report import Action, Change, PushProgress, PushReport, Tally
from scalekit.cdn._releases import (
    LOCK_SECONDS,
    POINTER,
    PRUNING,
    PUSHING,
    RELEASES,
    digest_in,
    digest_of,
    file_name,
    pointed_to,
    pointer_to,
)
from scalekit.cdn._s3 import Bucket, Found, opened
from scalekit.cdn._s3_url import parse
from scalekit.cdn._uploads import Upload, uploads
from scalekit.cdn.assets import Assets, check_assets
from scalekit.cdn.manifest import Manifest
from scalekit.errors import PushRefused

__all__ = ["Change", "PushProgress", "PushReport", "current", "push"]

_LARGE = 8 * 1024 * 1024
_ROUNDS = 3
_POLL_SECONDS = 1.0


async def push(
    assets: Assets,
    destination: str,
    *,
    check_headers: bool = False,
    dry_run: bool = False,
    concurrency: int = 16,
    client: Any = None,
    on_change: Callable[[Change], object] | None = None,
    on_progress: Callable[[PushProgress], object] | None = None,
) -> PushReport:
    """Bring ``assets`` to ``destination``, and make them the current release there.

    Args:
        assets: what was built, ``Assets.from_manifest("dist/manifest.json", folder="dist")``, or a plain
            folder, ``Assets("static")``.
        destination: such as ``"s3://shop-assets/static"``, where the CDN finds ``/static/``. ``endpoint_url``
            and ``region_name`` may stand after a ``?``; credentials come from the environment.
        check_headers: ask for the headers of each file that is there, and send it again where they differ.
        dry_run: change nothing, and report what would be.
        concurrency: files at a time, default 16; of those over 8 MiB one at a time.
        client: aiobotocore's or aioboto3's client of ``s3``, entered; by default one is made.
        on_change: called for each file.
        on_progress: called after each file.

    Raises:
        ConfigurationError: ``destination`` is none, a file has changed since it was hashed, or there are no
            credentials.
        PushRefused: S3 will not take it, or does not keep it; the message names the cure.
        BackendUnavailable: S3 cannot be reached. The site is the old one, or the new one if that was the
            very last request; the next push goes on.
        BackendTimeout: S3 did not answer in time; the same.
    """
    assets = check_assets(assets).now()
    check_count(concurrency, option="concurrency=", least=1, cure="16 is a good number")
    async with opened(parse(destination), client) as bucket:
        groups = await asyncio.to_thread(uploads, assets)
        tally = Tally(on_change, on_progress)
        work = _Push(bucket, groups, assets.manifest().to_bytes(), tally, concurrency)
        return await work.run(check_headers=check_headers, dry_run=dry_run)


async def current(destination: str, *, client: Any = None) -> Manifest | None:
    """The manifest of the current release at ``destination``; ``None`` when nothing was pushed there.

    >>> assets = Assets.from_manifest(await current("s3://shop-assets/static"), cdn="https://cdn.example.com")

    Raises:
        PushRefused: S3 will not tell, or what it has is no manifest.
        BackendUnavailable: S3 cannot be reached.
        BackendTimeout: S3 did not answer in time.
    """
    async with opened(parse(destination), client) as bucket:
        pointer = await bucket.get(POINTER)
        if pointer is None:
            return None
        name = pointed_to(pointer)
        content = None if name is None else await bucket.get(name)
        if content is None:
            raise PushRefused(f"{bucket.place}/{POINTER} points at no manifest; push again")
        return Manifest.from_bytes(content, source=f"{bucket.place}/{name}")


class _Push:
    def __init__(
        self,
        bucket: Bucket,
        groups: list[list[Upload]],
        manifest: bytes,
        tally: Tally,
        concurrency: int,
    ) -> None:
        self._bucket, self._groups, self._manifest = bucket, groups, manifest
        self._tally, self._concurrency = tally, concurrency
        self._large = asyncio.Lock()

    async def run(self, *, check_headers: bool, dry_run: bool) -> PushReport:
        found, now = await self._bucket.listing()
        todo = await self._todo(found, check_headers)
        self._tally.total = sum(upload.size for upload in self._all if upload.name in todo)
        was_current = await self._is_current(found)
        if not todo and was_current:
            return self._tally.report
        if dry_run:
            for upload in self._all:
                if upload.name in todo:
                    self._tally.add(upload.name, upload.size, todo[upload.name])
            return replace(self._tally.report, is_new=not was_current)
        name = file_name(self._manifest, now)
        await self._bucket.put_record(PUSHING + name, self._manifest)
        for group in self._groups:
            await each(
                [upload for upload in group if upload.name in todo],
                lambda upload: self._send(upload, todo[upload.name]),
                at_once=self._concurrency,
            )
        await self._bucket.put_record(RELEASES + name, self._manifest)
        await self._verify()
        await self._bucket.put_record(POINTER, pointer_to(RELEASES + name))
        await self._bucket.delete(PUSHING + name)
        return replace(self._tally.report, is_new=not was_current)

    @property
    def _all(self) -> Iterable[Upload]:
        return (upload for group in self._groups for upload in group)

    async def _is_current(self, found: dict[str, Found]) -> bool:
        """Whether the pointer names a manifest with the content of ours."""
        digest = digest_of(self._manifest)
        same = {pointer_to(name) for name in found if name.startswith(RELEASES) and digest_in(name) == digest}
        if POINTER not in found or not same:
            return False
        tags = {hashlib.md5(pointer, usedforsecurity=False).hexdigest() for pointer in same}
        # The tag is usually enough, and in the listing already.
        return found[POINTER].etag in tags or await self._bucket.get(POINTER) in same

    async def _todo(self, found: dict[str, Found], check_headers: bool) -> dict[str, Action]:
        todo: dict[str, Action] = {}

        async def compare(upload: Upload) -> None:
            there = found.get(upload.name)
            if there is None:
                todo[upload.name] = "created"
            elif await self._same(upload, there, check_headers):
                self._tally.add(upload.name, upload.size, "unchanged")
            else:
                todo[upload.name] = "replaced"

        await each(self._all, compare, at_once=self._concurrency)
        return todo

    async def _same(self, upload: Upload, there: Found, check_headers: bool) -> bool:
        if there.size != upload.size:
            return False
        md5, sha256 = await self._digests(upload)
        same = there.etag == md5
        if same and not check_headers:
            return True
        beside = await self._bucket.look(upload.name)
        if beside is None:
            return False
        if check_headers and replace(beside, sha256=None) != replace(upload.headers, sha256=None):
            return False
        # Encrypted by a key of the customer's, an object has a tag that is no MD5.
        return same or beside.sha256 == sha256

    async def _digests(self, upload: Upload) -> tuple[str, str]:
        """MD5 and SHA-256, in hex."""
        async with self._room_for(upload):
            content = await asyncio.to_thread(upload.read)
            return content.md5.hex(), content.sha256

    async def _send(self, upload: Upload, action: Action) -> None:
        await self._send_now(upload)
        self._tally.add(upload.name, upload.size, action)

    async def _send_now(self, upload: Upload) -> None:
        async with self._room_for(upload):
            content = await asyncio.to_thread(upload.read)
            headers = replace(upload.headers, sha256=content.sha256)
            await self._bucket.put(upload.name, content.body, content.md5, headers)

    def _room_for(self, upload: Upload) -> AbstractAsyncContextManager[Any]:
        """To hold while its bytes are in memory."""
        return self._large if upload.size > _LARGE else nullcontext()

    async def _verify(self) -> None:
        for _ in range(_ROUNDS):
            found, now = await self._bucket.listing()
            while _is_being_pruned(found, now):
                await asyncio.sleep(_POLL_SECONDS)
                found, now = await self._bucket.listing()
            gone = {upload.name for upload in self._all if not _is_there(upload, found)}
            if not gone:
                return
            for group in self._groups:
                again = [upload for upload in group if upload.name in gone]
                await each(again, self._send_now, at_once=self._concurrency)
        raise PushRefused(
            f"{self._bucket.place} does not keep what is sent to it: {len(gone)} files, of which "
            f"{min(gone)!r} is one, are missing, or not as long; does something else write below the prefix?"
        )


def _is_there(upload: Upload, found: dict[str, Found]) -> bool:
    # S3 has compared what arrived with its MD5. Two builds may compress alike in other lengths.
    exact = upload.immutable and upload.headers.sha256 is not None
    there = found.get(upload.name)
    return there is not None and (there.size == upload.size or not exact)


def _is_being_pruned(found: dict[str, Found], now: datetime) -> bool:
    return any(
        (now - facts.modified).total_seconds() <= LOCK_SECONDS
        for name, facts in found.items()
        if name.startswith(PRUNING)
    )
