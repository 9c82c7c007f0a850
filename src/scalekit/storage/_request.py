"""Requests as the frameworks hand them over, reduced to a header and a stream of bytes."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias

from scalekit._http import get
from scalekit.errors import (
    ConfigurationError,
    FileTooLarge,
    MalformedUpload,
    StorageError,
    UploadFailed,
    UploadRejected,
    UploadTooSlow,
)
from scalekit.types import Receive, Scope

_log = logging.getLogger("scalekit.storage")

IDLE_TIMEOUT = 30.0
"""Seconds."""

# Bytes a second; a client below this holds a server for hours with a single form.
_SLOWEST = 1024


class StreamingRequest(Protocol):
    """What is used of a Starlette or FastAPI request."""

    @property
    def scope(self) -> Any: ...

    def stream(self) -> AsyncGenerator[bytes, None]: ...


Request: TypeAlias = StreamingRequest | tuple[Scope, Receive]
"""A Starlette or FastAPI request, or the ``scope`` and ``receive`` of any ASGI application."""


class ClientHungUp(MalformedUpload):
    """The connection was closed in the middle of the body."""


def scope_of(request: Request) -> Scope:
    return request[0] if isinstance(request, tuple) else request.scope


def header(request: Request, name: bytes) -> str | None:
    """The value of a header, or ``None``."""
    value = get(scope_of(request)["headers"], name)
    return None if value is None else value.decode("latin-1")


async def body_of(
    request: Request, *, limit: int, idle_timeout: float = IDLE_TIMEOUT
) -> AsyncGenerator[bytes, None]:
    """The chunks of the body, never more than ``limit`` bytes, and as many as ``Content-Length`` says.

    Raises:
        FileTooLarge: the body is, or says that it is, longer than ``limit``.
        UploadTooSlow: the client keeps us waiting, see :func:`_patiently`.
        MalformedUpload: its length is not the one declared, or the client hung up.
    """
    declared = _declared_length(request)
    if declared is not None and declared > limit:
        raise FileTooLarge(limit=limit, received=0, what=f"the request body ({declared} bytes)")
    total = 0
    arriving = _receive(request[1]) if isinstance(request, tuple) else _stream(request)
    async with aclosing(arriving), aclosing(_patiently(arriving, idle_timeout)) as chunks:
        async for chunk in chunks:
            total += len(chunk)
            if total > limit:
                raise FileTooLarge(limit=limit, received=total, what="the request body")
            if declared is not None and total > declared:
                raise MalformedUpload(f"the body is longer than its Content-Length of {declared} bytes")
            if chunk:
                yield chunk
    if declared is not None and total != declared:
        raise MalformedUpload(f"the body ended after {total} of the {declared} bytes of its Content-Length")


def _declared_length(request: Request) -> int | None:
    value = header(request, b"content-length")
    return None if value is None else content_length(value)


def content_length(value: str) -> int:
    """The value of a ``Content-Length``; raises :class:`MalformedUpload` if it is none."""
    if not (value.isascii() and value.isdecimal()) or len(value) > 18:
        raise MalformedUpload(f"Content-Length {value!r:.40} is no length")
    return int(value)


async def _patiently(chunks: AsyncGenerator[bytes, None], seconds: float) -> AsyncGenerator[bytes, None]:
    """``chunks``, as long as none keeps us waiting for more than ``seconds``, and all together not for more
    than that and what the bytes would take at the slowest rate. Only waiting counts: a storage that is slow
    is not the client's fault."""
    clock = asyncio.get_running_loop().time
    received, waited = 0, 0.0
    while True:
        started = clock()
        left = seconds + received / _SLOWEST - waited
        try:
            async with asyncio.timeout(min(seconds, left)) as deadline:
                chunk = await anext(chunks, None)
        except TimeoutError:
            if not deadline.expired():
                raise  # the server's own
            raise UploadTooSlow(limit=seconds, received=received) from None
        if chunk is None:
            return
        waited += clock() - started
        received += len(chunk)
        yield chunk


async def _receive(receive: Receive) -> AsyncGenerator[bytes, None]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientHungUp("the client hung up before its request was complete")
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def _stream(request: StreamingRequest) -> AsyncGenerator[bytes, None]:
    from starlette.requests import ClientDisconnect

    # Through stream(), because Starlette keeps account of who has read the body.
    async with aclosing(request.stream()) as chunks:
        try:
            async for chunk in chunks:
                yield chunk
        except ClientDisconnect:
            raise ClientHungUp("the client hung up before its request was complete") from None
        except RuntimeError as error:
            if str(error) != "Stream consumed":
                raise
            raise already_read("by a parameter such as Form() or UploadFile, or by request.form()") from error


def already_read(how: str) -> ConfigurationError:
    """The error of a body that cannot be streamed. ``how`` it may have been read completes "was read"."""
    return ConfigurationError(
        f"the body of this request was read before, {how}; leave it to stream_form, and take fields from "
        "form.fields"
    )


def http_error(error: UploadRejected | UploadFailed, request: Request) -> StorageError:
    """``error`` as an exception that Starlette answers with its status, if Starlette is on the way.

    It stays what it was, too: ``except FileTooLarge`` and handlers for it work as anywhere else.
    """
    if "app" not in scope_of(request):
        return error
    detail = str(error)
    if isinstance(error, UploadFailed):
        # Starlette logs no error that has a status; and what this one names is not for clients.
        _log.error("%s", error, exc_info=error)
        detail = "the upload could not be stored"
    both = _with_status(type(error))
    raised = both.__new__(both)
    raised.args = error.args
    raised.__dict__.update(error.__dict__, status_code=error.status, detail=detail, headers=None)
    return raised


_BOTH: dict[type[StorageError], type[StorageError]] = {}


def _with_status(kind: type[StorageError]) -> type[StorageError]:
    if kind not in _BOTH:
        from starlette.exceptions import HTTPException

        _BOTH[kind] = type(
            kind.__name__, (kind, HTTPException), {"__module__": kind.__module__, "__str__": kind.__str__}
        )
    return _BOTH[kind]
