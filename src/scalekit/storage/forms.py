"""``stream_form``: a form whose files go straight to a storage, and are there before its block begins.

Rules:

* Nothing touches a disk on the way and no more than a few parts are in memory, whatever the client sends.
* What a file is, its first bytes say (:mod:`scalekit.storage._media_types`); a refused one has not reached
  the storage with a single byte.
* Keys are random; a client's file name is for people to read and never part of a key.
* All or nothing: when the form is refused, the client goes away or the block raises, its files are removed.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TypedDict

from scalekit._durations import Duration, seconds
from scalekit.errors import ConfigurationError, UploadFailed, UploadRejected
from scalekit.storage._contract import Storage
from scalekit.storage._form_intake import Intake
from scalekit.storage._form_values import Form, Values
from scalekit.storage._given import check_storage
from scalekit.storage._media_types import check_accept
from scalekit.storage._request import IDLE_TIMEOUT, Request, http_error
from scalekit.storage._shield import settle
from scalekit.storage.keys import check_prefix

__all__ = ["Form", "FormOptions", "Values", "stream_form"]

_MIB = 1024 * 1024


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
    intake = Intake(
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
