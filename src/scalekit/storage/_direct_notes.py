"""Notes of the files that were made and of which the application was perhaps not told yet.

Rules:

* A note is written before S3 is asked to make the file, and removed after the application was told.
* Where there is none, the application was told, or there is no file, nor will there be one.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import astuple
from datetime import datetime

from scalekit.storage._contract import Storage
from scalekit.storage._direct_grant import Grant

PLACE = "direct/"
"""What the keys of all of them begin with."""


class Notes:
    """The notes of one application.

    Args:
        prefix: where its files go. Others may keep theirs in the same storage.
    """

    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage, self._prefix = storage, prefix

    async def write(self, grant: Grant, user: str | None) -> None:
        note = json.dumps([self._prefix, user, *astuple(grant)]).encode()
        await self._storage.put(_key(grant), note, content_type="application/json", overwrite=True)

    async def there(self, grant: Grant) -> bool:
        return await self._storage.stat(_key(grant)) is not None

    async def remove(self, grant: Grant) -> None:
        await self._storage.delete(_key(grant))

    async def before(self, moment: datetime) -> AsyncGenerator[tuple[Grant, str | None], None]:
        """Those that are older than ``moment``, and of which user."""
        async with aclosing(self._storage.list(PLACE)) as found:
            async for stored in found:
                content = await self._storage.read(stored.key) if stored.modified < moment else None
                if content is not None:
                    prefix, user, *facts = json.loads(content)
                    if prefix == self._prefix:
                        yield Grant(**dict(zip(Grant.__slots__, facts, strict=True))), user


def _key(grant: Grant) -> str:
    return f"{PLACE}{grant.id}"
