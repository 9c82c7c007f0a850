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
from dataclasses import dataclass, field
from typing import Generic, TypedDict, TypeVar

from scalekit._durations import Duration, seconds
from scalekit.errors import (
    BackendError,
    ConfigurationError,
    MalformedUpload,
    MissingPart,
    StorageError,
    UploadFailed,
    UploadRejected,
)
from scalekit.storage._contract import Storage
from scalekit.storage._extensions import extension_for
from scalekit.storage._form_parser import PartHead, PartReader, boundary_of
from scalekit.storage._given import check_storage
from scalekit.storage._media_types import SNIFF_BYTES, accepted_type, check_accept
from scalekit.storage._request import IDLE_TIMEOUT, Request, body_of, header, http_error
from scalekit.storage._shield import CLEAN_UP_SECONDS, settle
from scalekit.storage._source import chained, first_chunks, limited
from scalekit.storage._values import Chunk, Stored, UploadedFile
from scalekit.storage.content import put_by_content
from scalekit.storage.keys import check_prefix, clean_filename, random_key

V = TypeVar("V")

_MIB = 1024 * 1024
_PART_OVERHEAD = 16 * 1024  # boundary and headers of one part, generously
_EMPTY_INPUTS = 100

_log = logging.getLogger("scalekit.storage")


class FormOptions(TypedDict, total=False):
    """The keyword arguments of :func:`stream_form`."""

    max_file_size: int
    accept: Sequence[str]
    max_files: int
    max_fields: int
    max_field_size: int
    max_total_size: int | None
    idle_timeout: Duration
    prefix: str
    by_content: bool


class Values(Mapping[str, V], Generic[V]):
    """Names and values of a form. ``[name]`` is a name's last value, :meth:`getlist` all of them in order.

    A name that the client did not send is the client's fault: ``[name]`` raises
    :class:`~scalekit.errors.MissingPart`, a ``KeyError`` that is answered with 400. Where it may be missing,
    use ``get``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._values: dict[str, list[V]] = {}

    def __getitem__(self, name: str) -> V:
        if name not in self._values:
            raise MissingPart(name, kind=self._kind)
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


class Form:
    """What a form contained."""

    def __init__(self) -> None:
        self.fields: Values[str] = Values("field")
        self.files: Values[UploadedFile] = Values("file")


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
    max_total_size: int | None = None,
    idle_timeout: Duration = IDLE_TIMEOUT,
    prefix: str = "",
    by_content: bool = False,
) -> AsyncGenerator[Form, None]:
    """Read a ``multipart/form-data`` request, storing its files on the way.

    Args:
        request: a Starlette or FastAPI request whose body was not read yet, or ``(scope, receive)`` as any
            ASGI server passes them.
        storage: where the files go.
        max_file_size: bytes of one file.
        accept: media types such as ``"image/png"``, ``"image/*"`` or ``"*/*"`` (default), compared with the
            *content*. HTML, SVG and XML must be named, no ``*`` includes them.
        max_files, max_fields: how many of each. An input of type file that was left empty counts for nothing;
            there may be 100 of them.
        max_field_size: bytes of one field's value.
        max_total_size: bytes of all files together; default: as many as ``max_files`` of ``max_file_size``
            have.
        idle_timeout: seconds or ``timedelta`` that a client may keep the server waiting, for a chunk, and in
            all beyond what its bytes would take at 1 KiB a second; half a minute by default.
        prefix: goes before the random keys, such as ``"avatars/"``.
        by_content: store each content once, under its SHA-256 instead of a random key, see
            :func:`scalekit.storage.content.put_by_content`. Such files stay when the form is refused.

    Raises:
        FileTooLarge: 413; a file, a field or the whole is over its limit. Stopped as soon as it is.
        UploadTooSlow: 408; the client keeps the server waiting.
        UnsupportedMediaType: 415; a file is not of an accepted type, or the request is no such form.
        MalformedUpload: 400; cut short, of another length than declared, not well-formed, too many parts.
        UploadFailed: 503; the storage failed. Among them is StorageFull: 507.

        ConfigurationError: an option that could never work, or a body that was read before.

    In Starlette and FastAPI the first four are an ``HTTPException`` as well, so that a refused upload is
    answered with its status without further code. So is what the block raises of them, such as the
    ``MissingPart`` of ``form.files["photo"]``. An ``UploadFailed`` is one as well: its client learns no more
    than that, the rest is logged as an error of ``scalekit.storage``.
    """
    check_storage(storage)
    _check_limits(
        max_file_size=max_file_size, max_files=max_files, max_fields=max_fields, max_field_size=max_field_size
    )
    if max_total_size is not None:
        _check_limits(max_total_size=max_total_size)
    intake = _Intake(
        storage=storage,
        accept=check_accept(accept),
        max_file_size=max_file_size,
        max_files=max_files,
        max_fields=max_fields,
        max_field_size=max_field_size,
        max_total_size=max_files * max_file_size if max_total_size is None else max_total_size,
        idle_timeout=seconds(idle_timeout, name="idle_timeout"),
        prefix=check_prefix(prefix),
        by_content=by_content,
    )
    try:
        await intake.read(request)
        yield intake.form
    except BaseException as error:
        (await settle(intake.remove())).raise_if_cancelled()
        if isinstance(error, UploadRejected | UploadFailed):
            raise http_error(error, request) from error.__cause__
        raise


def _check_limits(**limits: object) -> None:
    for name, limit in limits.items():
        if type(limit) is not int or limit < 0:
            raise ConfigurationError(f"{name}={limit!r}; give a whole number, such as 50 * MiB for a size")


@dataclass(kw_only=True, slots=True)
class _Intake:
    """A form while it comes in: its limits, and what there is of it so far."""

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
            self.form.fields._add(part.name, value.decode())
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
        self.form.files._add(
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
