"""Objects that are named by their content: the same content is stored once, whoever sends it.

An object that is there under a content's name has that content, so writing it again is not needed, and
replacing it not possible. It may belong to several records of the application: delete it when none refers to
it any more.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from datetime import datetime
from functools import partial

from scalekit.errors import BackendError, ObjectExists, StorageError
from scalekit.storage._contract import Storage
from scalekit.storage._shield import in_thread, settle
from scalekit.storage._values import Chunk, Leftover, Source, Stored
from scalekit.storage.checksums import Hasher, hasher
from scalekit.storage.keys import check_prefix, random_key

# Below this the way to a thread and back takes longer than hashing.
_WORTH_A_THREAD = 64 * 1024

DRAFTS = "scalekit-drafts/"
"""Where contents are whose name is not known yet."""

_log = logging.getLogger("scalekit.storage")


async def put_by_content(
    storage: Storage,
    source: Source,
    *,
    prefix: str = "",
    extension: str = "",
    content_type: str | None = None,
    size: int | None = None,
) -> Stored:
    """Store ``source`` under its SHA-256, such as ``ab/abcd…ef.png``, unless it is there already.

    It is written under a random key below :data:`DRAFTS` first, and copied inside the storage once its name
    is known. What a server that was killed in between leaves there, ``Storage.sweep`` removes.

    Args:
        prefix: goes before the key, such as ``"photos/"``.
        extension: goes after it, such as ``".png"``; the same content with another one is another object.
        content_type, size: as for :meth:`Storage.put`.

    Raises:
        InvalidKey, ConfigurationError, MalformedUpload, UploadFailed: as for :meth:`Storage.put`.
    """
    running = hasher("sha256")
    check_prefix(prefix)
    draft = random_key(extension, prefix=DRAFTS)
    try:
        stored = await storage.put(draft, _hashed(source, running), content_type=content_type, size=size)
        name = running.digest().hex()
        key = f"{prefix}{name[:2]}/{name}{extension}"
        try:
            return await storage.copy(draft, key, etag=stored.etag)
        except ObjectExists:
            return await storage.stat(key) or await storage.copy(draft, key, etag=stored.etag)
    finally:
        # Also when it was not written: cancelled as it got its name, it is there.
        (await settle(_remove(storage, draft))).raise_if_cancelled()


async def drafts(storage: Storage, before: datetime, prefix: str) -> AsyncGenerator[Leftover, None]:
    """What killed servers have left there before then; it could have become a key with any ``prefix``."""
    async with aclosing(storage.list(DRAFTS)) as entries:
        async for stored in entries:
            if stored.modified < before:
                yield Leftover(
                    kind="draft of a content",
                    name=stored.key,
                    modified=stored.modified,
                    size=stored.size,
                    remove=partial(storage.delete, stored.key),
                )


async def _remove(storage: Storage, draft: str) -> None:
    try:
        await storage.delete(draft)
    except (StorageError, BackendError) as error:
        _log.warning("%r, whose content has another name, was not removed: %s", draft, type(error).__name__)


async def _hashed(source: Source, running: Hasher) -> AsyncGenerator[Chunk, None]:
    if not isinstance(source, AsyncIterable):
        await _update(running, source)
        yield source
        return
    async for chunk in source:
        await _update(running, chunk)
        yield chunk


async def _update(running: Hasher, chunk: Chunk) -> None:
    if len(chunk) < _WORTH_A_THREAD:
        running.update(chunk)
    else:
        (await in_thread(running.update, chunk)).unwrap()
