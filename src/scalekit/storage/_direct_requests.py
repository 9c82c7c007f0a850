"""What browsers ask of :class:`DirectUploads`, and what they are answered: JSON. Pure, but for the body."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from scalekit.errors import MalformedUpload
from scalekit.storage._content_type import essence_of
from scalekit.storage._direct_grant import Grant
from scalekit.storage._request import body_of, header
from scalekit.storage._respond import Refused
from scalekit.storage._values import UploadedFile
from scalekit.types import Receive, Scope, Send

MAX_REQUEST = 1024**2
"""Bytes. The ETags of 10,000 parts take half as many."""

MAX_NUMBERS = 100
"""How many addresses are given at once."""


async def asked(scope: Scope, receive: Receive) -> dict[str, Any]:
    """The body of a request, which is one JSON object.

    Raises:
        UploadRejected: it is not, or is too large, or arrives too slowly.
    """
    # A page of another origin cannot send this type unless it asks first, so that no form can forge it.
    if essence_of(header((scope, receive), b"content-type") or "") != "application/json":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON, with Content-Type: application/json")
    body = b"".join([chunk async for chunk in body_of((scope, receive), limit=MAX_REQUEST)])
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedUpload("the request's body is no JSON") from None
    if not isinstance(found, dict):
        raise MalformedUpload("the request's body is no JSON object; send one such as {...}")
    return found


def size_in(request: dict[str, Any]) -> int:
    """``size``: that of the file, in bytes."""
    size = request.get("size")
    if type(size) is not int or size < 1:
        raise MalformedUpload(f"size: {size!r:.40} is not the file's size; send a number of bytes, 1 or more")
    return size


def text_in(request: dict[str, Any], name: str) -> str:
    """A text that may be missing."""
    text = request.get(name, "")
    if not isinstance(text, str):
        raise MalformedUpload(f"{name}: {text!r:.40} is no text")
    return text[:1000].encode("utf-8", "replace").decode()


def numbers_in(request: dict[str, Any], grant: Grant) -> list[int]:
    """``numbers``: those of parts."""
    numbers = request.get("numbers")
    if (
        not isinstance(numbers, list)
        or len(numbers) > MAX_NUMBERS
        or any(type(number) is not int or not 1 <= number <= grant.parts for number in numbers)
    ):
        raise MalformedUpload(f"numbers: send up to {MAX_NUMBERS} numbers of parts, from 1 to {grant.parts}")
    return numbers


def etags_in(request: dict[str, Any], grant: Grant) -> dict[int, str]:
    """``etags``: for each part, in their order, what S3 answered."""
    etags = request.get("etags")
    if not isinstance(etags, list) or len(etags) > grant.parts:
        raise MalformedUpload(f"etags: send a list of {grant.parts}, one for each part")
    if any(not isinstance(etag, str) or not etag.strip('"') for etag in etags):
        raise MalformedUpload(
            "etags: one is empty; a page can read the header ETag of S3's answers only if the bucket's CORS "
            'rule has "ExposeHeaders": ["ETag"], as scalekit.storage.direct.cors_rule makes it'
        )
    return dict(enumerate(etags, start=1))


async def answer(send: Send, status: int, content: dict[str, Any] | None) -> None:
    """A whole response."""
    headers = [(b"cache-control", b"no-store")]
    body = b"" if content is None else json.dumps(content, separators=(",", ":")).encode()
    if content is not None:
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


def described(file: UploadedFile) -> dict[str, Any]:
    """A file, as its client gets to see it."""
    return {name: getattr(file, name) for name in ("key", "url", "size", "content_type", "filename")}


def first(numbers: Sequence[int]) -> list[int]:
    return list(numbers[:MAX_NUMBERS])
