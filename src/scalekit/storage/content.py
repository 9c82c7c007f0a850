"""Objects that are named by their content: the same content is stored once, whoever sends it.

An object that is there under a content's name has that content, so writing it again is not needed, and
replacing it not possible. It may belong to several records of the application: delete it when none refers to
it any more.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterable

from scalekit.errors import BackendError, ObjectExists, StorageError
from scalekit.storage._contract import Chunk, Source, Storage, Stored
from scalekit.storage._shield import in_thread, settle
from scalekit.storage.checksums import Hasher, hasher
from scalekit.storage.keys import check_prefix, random_key

# Below this the way to a thread and back takes longer than hashing.
_WORTH_A_THREAD = 64 * 1024

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

    It is written under a random key below ``prefix`` first, and copied inside the storage once its name is
    known.

    Args:
        prefix: goes before the key, such as ``"photos/"``.
        extension: goes after it, such as ``".png"``; the same content with another one is another object.
        content_type, size: as for :meth:`Storage.put`.

    Raises:
        InvalidKey, ConfigurationError, MalformedUpload, UploadFailed: as for :meth:`Storage.put`.
    """
    running = hasher("sha256")
    draft = random_key(extension, prefix=check_prefix(prefix))
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
