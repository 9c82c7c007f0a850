"""``stream_form``: a form whose files go straight to a storage, and are there before its block begins.

Rules:

* Nothing touches a disk on the way and no more than a few parts are in memory, whatever the client sends.
* What a file is, its first bytes say (:mod:`scalekit.storage._media_types`); a refused one has not reached
  the storage with a single byte.
* Keys are random; a client's file name is for people to read and never part of a key.
* All or nothing: when the form is refused, the client goes away or the block raises, its files are removed.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar

from scalekit.errors import (
    BackendError,
    FileTooLarge,
    MalformedUpload,
    StorageError,
    UploadRejected,
)
from scalekit.storage._contract import Chunk, Storage
from scalekit.storage._form_parser import PartHead, PartReader, boundary_of
from scalekit.storage._media_types import SNIFF_BYTES, accepted_type, check_accept, extension_for
from scalekit.storage._request import Request, body_of, header, http_error
from scalekit.storage._shield import CLEAN_UP_SECONDS, settle
from scalekit.storage.keys import check_prefix, clean_filename, random_key

V = TypeVar("V")

_MIB = 1024 * 1024
_PART_OVERHEAD = 16 * 1024  # boundary and headers of one part, generously

_log = logging.getLogger("scalekit.storage")


class FormOptions(TypedDict, total=False):
    """The keyword arguments of :func:`stream_form`."""

    max_file_size: int
    accept: Sequence[str]
    max_files: int
    max_fields: int
    max_field_size: int
    prefix: str


class Values(Mapping[str, V], Generic[V]):
    """Names and values of a form. ``[name]`` is a name's last value, :meth:`getlist` all of them in order."""

    def __init__(self) -> None:
        self._values: dict[str, list[V]] = {}

    def __getitem__(self, name: str) -> V:
        return self._values[name][-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"

    def getlist(self, name: str) -> list[V]:
        """All values of ``name``; an empty list if there is none."""
        return list(self._values.get(name, ()))

    def _add(self, name: str, value: V) -> None:
        self._values.setdefault(name, []).append(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadedFile:
    """A file of a form, stored.

    Args:
        key: where it is in the storage; keep this.
        url: an address at which it can be read now; it may expire.
        size: in bytes.
        content_type: what its content is, which need not be what the client said.
        filename: what the client calls it, without directories and invisible characters. For people only.
    """

    key: str
    url: str
    size: int
    content_type: str
    filename: str


class Form:
    """What a form contained."""

    def __init__(self) -> None:
        self.fields: Values[str] = Values()
        self.files: Values[UploadedFile] = Values()


@asynccontextmanager
async def stream_form(
    request: Request,
    storage: Storage,
    *,
    max_file_size: int = 50 * _MIB,
    accept: Sequence[str] = ("*/*",),
    max_files: int = 10,
    max_fields: int = 100,
    max_field_size: int = 64 * 1024,
    prefix: str = "",
) -> AsyncGenerator[Form, None]:
    """Read a ``multipart/form-data`` request, storing its files on the way.

    Args:
        request: a Starlette or FastAPI request whose body was not read yet, or ``(scope, receive)`` as any
            ASGI server passes them.
        storage: where the files go.
        max_file_size: bytes of one file.
        accept: media types such as ``"image/png"``, ``"image/*"`` or ``"*/*"`` (default), compared with the
            *content*. HTML, SVG and XML must be named, no ``*`` includes them.
        max_files, max_fields: how many of each; an input of type file that was left empty is none.
        max_field_size: bytes of one field's value.
        prefix: goes before the random keys, such as ``"avatars/"``.

    Raises:
        FileTooLarge: 413; a file, a field or the whole is over its limit. Stopped as soon as it is.
        UnsupportedMediaType: 415; a file is not of an accepted type, or the request is no such form.
        MalformedUpload: 400; cut short, of another length than declared, not well-formed, too many parts.
        UploadFailed: the storage failed.

    In Starlette and FastAPI the first three are an ``HTTPException`` as well, so that a refused upload is
    answered with its status without further code.
    """
    accepted, prefix = check_accept(accept), check_prefix(prefix)
    # More than this cannot belong to a form within the limits.
    limit = max_files * (max_file_size + _PART_OVERHEAD) + max_fields * (max_field_size + _PART_OVERHEAD)
    form, stored = Form(), list[str]()
    try:
        boundary = boundary_of(header(request, b"content-type") or "")
        async with aclosing(body_of(request, limit=limit)) as body:
            parts = PartReader(body, boundary, max_parts=max_files + max_fields)
            files = fields = 0
            while (part := await parts.next_part()) is not None:
                async with aclosing(parts.data()) as data:
                    if part.filename is None:
                        fields += 1
                        if fields > max_fields:
                            raise MalformedUpload(f"the form has more than {max_fields} fields")
                        form.fields._add(part.name, await _field(part, data, max_field_size))
                        continue
                    content = _limited(data, max_file_size)
                    head, rest = await _first_bytes(content)
                    if not part.filename and not head:
                        continue  # how browsers send an input that was left empty
                    files += 1
                    if files > max_files:
                        raise MalformedUpload(f"the form has more than {max_files} files")
                    kind = accepted_type(head, part.content_type, accepted)
                    key = random_key(extension_for(kind), prefix=prefix)
                    stored.append(key)
                    # Nobody else can know the key, so there is nothing that it could overwrite.
                    result = await storage.put(key, rest, content_type=kind, overwrite=True)
                    form.files._add(
                        part.name,
                        UploadedFile(
                            key=key,
                            url=await storage.url(key),
                            size=result.size,
                            content_type=result.content_type,
                            filename=clean_filename(part.filename),
                        ),
                    )
        yield form
    except BaseException as error:
        await settle(_remove(storage, stored))
        if isinstance(error, UploadRejected):
            raise http_error(error, request) from error.__cause__
        raise


async def _field(part: PartHead, data: AsyncIterator[Chunk], limit: int) -> str:
    value = bytearray()
    async for chunk in data:
        value += chunk
        if len(value) > limit:
            raise FileTooLarge(limit=limit, received=len(value), what=f"field {part.name!r:.100}")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise MalformedUpload(f"field {part.name!r:.100} is not UTF-8") from None


async def _limited(data: AsyncIterator[Chunk], limit: int) -> AsyncGenerator[Chunk, None]:
    received = 0
    async for chunk in data:
        received += len(chunk)
        if received > limit:
            raise FileTooLarge(limit=limit, received=received)
        yield chunk


async def _first_bytes(content: AsyncIterator[Chunk]) -> tuple[bytes, AsyncGenerator[Chunk, None]]:
    """The first bytes, as many as it takes to tell what it is, and the whole from its beginning."""
    first: list[Chunk] = []
    size = 0
    async for chunk in content:
        first.append(chunk)
        size += len(chunk)
        if size >= SNIFF_BYTES:
            break

    async def whole() -> AsyncGenerator[Chunk, None]:
        while first:
            yield first.pop(0)
        async for chunk in content:
            yield chunk

    return b"".join(first)[:SNIFF_BYTES], whole()


async def _remove(storage: Storage, keys: Sequence[str]) -> None:
    for key in keys:
        try:
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await storage.delete(key)
        except (StorageError, BackendError, TimeoutError, OSError) as error:
            _log.warning("%r of a refused form could not be removed: %s", key, type(error).__name__)
