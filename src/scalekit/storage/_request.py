"""Requests as the frameworks hand them over, reduced to a header and a stream of bytes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias

from scalekit._http import get
from scalekit.errors import FileTooLarge, MalformedUpload, UploadRejected
from scalekit.types import Receive, Scope


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


async def body_of(request: Request, *, limit: int) -> AsyncGenerator[bytes, None]:
    """The chunks of the body, never more than ``limit`` bytes, and as many as ``Content-Length`` says.

    Raises:
        FileTooLarge: the body is, or says that it is, longer than ``limit``.
        MalformedUpload: its length is not the one declared, or the client hung up.
    """
    declared = _declared_length(request)
    if declared is not None and declared > limit:
        raise FileTooLarge(limit=limit, received=0, what=f"the request body ({declared} bytes)")
    total = 0
    async with aclosing(_receive(request[1]) if isinstance(request, tuple) else _stream(request)) as chunks:
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
    if value is None:
        return None
    if not value.isdecimal() or len(value) > 18:
        raise MalformedUpload(f"Content-Length {value!r:.40} is no length")
    return int(value)


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


def http_error(error: UploadRejected, request: Request) -> UploadRejected:
    """``error`` as an exception that Starlette answers with its status, if Starlette is on the way.

    It stays what it was, too: ``except FileTooLarge`` and handlers for it work as anywhere else.
    """
    if "app" not in scope_of(request):
        return error
    both = _with_status(type(error))
    raised = both.__new__(both)
    raised.args = error.args
    raised.__dict__.update(error.__dict__, status_code=error.status, detail=str(error), headers=None)
    return raised


_BOTH: dict[type[UploadRejected], type[UploadRejected]] = {}


def _with_status(kind: type[UploadRejected]) -> type[UploadRejected]:
    if kind not in _BOTH:
        from starlette.exceptions import HTTPException

        _BOTH[kind] = type(
            kind.__name__, (kind, HTTPException), {"__module__": kind.__module__, "__str__": kind.__str__}
        )
    return _BOTH[kind]
