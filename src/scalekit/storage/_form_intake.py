"""A form while it comes in: part by part, within its limits, the files straight to a storage.

Rules:

* A file is looked at before the storage sees a byte of it; one that is refused has not reached it.
* Every key under which something may have been stored is known, so that all of it can be removed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

from scalekit.errors import BackendError, MalformedUpload, StorageError
from scalekit.storage._contract import Storage
from scalekit.storage._extensions import extension_for
from scalekit.storage._form_parser import PartHead, PartReader, boundary_of
from scalekit.storage._form_values import Form
from scalekit.storage._media_types import SNIFF_BYTES, accepted_type
from scalekit.storage._request import Request, body_of, header
from scalekit.storage._shield import CLEAN_UP_SECONDS
from scalekit.storage._source import chained, first_chunks, limited
from scalekit.storage._values import Chunk, Stored, UploadedFile
from scalekit.storage.content import put_by_content
from scalekit.storage.keys import clean_filename, random_key

_PART_OVERHEAD = 16 * 1024  # boundary and headers of one part, generously
_EMPTY_INPUTS = 100

_log = logging.getLogger("scalekit.storage")


@dataclass(kw_only=True, slots=True)
class Intake:
    """Its limits, and what there is of it so far."""

    storage: Storage
    accept: tuple[str, ...]
    max_file_size: int
    max_files: int
    max_fields: int
    max_field_size: int
    max_total_size: int
    idle_timeout: float
    prefix: str
    by_content: bool
    form: Form = field(default_factory=Form)
    fields: int = 0
    files: int = 0
    total_size: int = 0
    keys: list[str] = field(default_factory=list)
    """Every key under which something may have been stored."""

    async def read(self, request: Request) -> None:
        boundary = boundary_of(header(request, b"content-type") or "")
        # More than this cannot belong to a form within the limits.
        limit = min(self.max_files * self.max_file_size, self.max_total_size)
        limit += self.max_files * _PART_OVERHEAD
        limit += self.max_fields * (self.max_field_size + _PART_OVERHEAD)
        limit += _EMPTY_INPUTS * _PART_OVERHEAD
        async with aclosing(body_of(request, limit=limit, idle_timeout=self.idle_timeout)) as body:
            most = self.max_files + self.max_fields + _EMPTY_INPUTS
            parts = PartReader(body, boundary, max_parts=most)
            while (part := await parts.next_part()) is not None:
                async with aclosing(parts.data()) as data:
                    await (self._field(part, data) if part.filename is None else self._file(part, data))

    async def _field(self, part: PartHead, data: AsyncIterator[Chunk]) -> None:
        self.fields += 1
        if self.fields > self.max_fields:
            raise MalformedUpload(f"the form has more than {self.max_fields} fields")
        value = bytearray()
        async with aclosing(limited(data, self.max_field_size, f"field {part.name!r:.100}")) as content:
            async for chunk in content:
                value += chunk
        try:
            self.form.fields.add(part.name, value.decode())
        except UnicodeDecodeError:
            raise MalformedUpload(f"field {part.name!r:.100} is not UTF-8") from None

    async def _file(self, part: PartHead, data: AsyncIterator[Chunk]) -> None:
        async with (
            aclosing(limited(data, self.max_file_size, "file")) as one,
            aclosing(
                limited(one, self.max_total_size, "the size of all files together", received=self.total_size)
            ) as content,
        ):
            first = await first_chunks(content, SNIFF_BYTES)
            if not part.filename and not first:
                return  # how browsers send an input that was left empty
            self.files += 1
            if self.files > self.max_files:
                raise MalformedUpload(f"the form has more than {self.max_files} files")
            head = b"".join(first)[:SNIFF_BYTES]
            kind = accepted_type(head, part.content_type, self.accept)
            name = clean_filename(part.filename or "")
            async with aclosing(chained(first, content)) as whole:
                stored = await self._store(whole, kind, name)
        self.total_size += stored.size
        self.form.files.add(
            part.name,
            UploadedFile(
                key=stored.key,
                url=await self.storage.url(stored.key),
                size=stored.size,
                content_type=stored.content_type,
                filename=name,
            ),
        )

    async def _store(self, content: AsyncIterator[Chunk], kind: str, name: str) -> Stored:
        extension = extension_for(kind)
        if self.by_content:
            return await put_by_content(
                self.storage, content, prefix=self.prefix, extension=extension, content_type=kind
            )
        key = random_key(extension, prefix=self.prefix)
        self.keys.append(key)
        # Nobody else can know the key, so there is nothing that it could overwrite.
        return await self.storage.put(key, content, content_type=kind, filename=name, overwrite=True)

    async def remove(self) -> None:
        """Remove what was stored. What cannot be removed is logged, so as not to hide the reason for it."""
        for key in self.keys:
            try:
                async with asyncio.timeout(CLEAN_UP_SECONDS):
                    await self.storage.delete(key)
            except (StorageError, BackendError, TimeoutError) as error:
                _log.warning("%r of a refused form could not be removed: %s", key, error or "no answer")
