"""Objects that are named by their content: the same content is stored once, whoever sends it.

An object that is there under a content's name has that content, so writing it again is not needed, and
replacing it not possible. It may belong to several records of the application: delete it when none refers to
it any more.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable

from scalekit.errors import ObjectExists
from scalekit.storage._contract import Chunk, Source, Storage, Stored
from scalekit.storage._shield import settle
from scalekit.storage.keys import check_prefix, random_key


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
    running = hashlib.sha256()
    draft = random_key(extension, prefix=check_prefix(prefix))
    stored = await storage.put(draft, _hashed(source, running), content_type=content_type, size=size)
    try:
        name = running.hexdigest()
        key = f"{prefix}{name[:2]}/{name}{extension}"
        try:
            return await storage.copy(draft, key, etag=stored.etag)
        except ObjectExists:
            return await storage.stat(key) or await storage.copy(draft, key, etag=stored.etag)
    finally:
        (await settle(storage.delete(draft))).raise_if_cancelled()


async def _hashed(source: Source, running: "hashlib._Hash") -> AsyncGenerator[Chunk, None]:
    if not isinstance(source, AsyncIterable):
        running.update(source)
        yield source
        return
    async for chunk in source:
        running.update(chunk)
        yield chunk
