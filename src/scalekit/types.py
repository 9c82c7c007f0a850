"""ASGI and WSGI types of our own, so that no module has to import a framework to be typed.

Every alias is structural: an application or a ``receive`` written for Starlette, Quart, Litestar or by
hand fits without a cast.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from wsgiref.types import StartResponse as StartResponse
    from wsgiref.types import WSGIApplication as WSGIApplication

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Environ: TypeAlias = dict[str, Any]
WSGIBody: TypeAlias = Iterable[bytes]

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""The shape of ``headers`` in ASGI messages: lower-case names, latin-1 bytes."""

Colour: TypeAlias = Literal["sync", "async"]
"""The two ways a client can answer: with a value, or with an awaitable of it."""

SecretKey: TypeAlias = str | bytes | Iterable[str] | Iterable[bytes]
"""One secret or a key ring, oldest first as in itsdangerous: every key verifies, the last one signs."""
