"""Requests as WSGI frameworks hand them over, as the scope and receive of an ASGI one.

Rules:

* A body is read once. For what the framework has read before a server would wait for ever: this is a mistake
  that is told, where the framework keeps account of it.
* No more is asked of the server than ``Content-Length`` promises.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from scalekit._http import request_headers
from scalekit.errors import ConfigurationError
from scalekit.storage._loop_thread import Caller
from scalekit.storage._request import already_read, content_length
from scalekit.types import Environ, Message, Receive, Scope

_CHUNK = 64 * 1024


class RequestOfWSGI(Protocol):
    """What is used of a request of Flask, Django and others."""

    @property
    def environ(self) -> Any: ...


WSGIRequest: TypeAlias = Environ | RequestOfWSGI
"""A WSGI environment, or the request that a framework has made of it."""


def environ_of(request: WSGIRequest) -> Environ:
    """The environment of a request whose body was not read yet.

    Raises:
        ConfigurationError: it is no WSGI request, or its body was read.
    """
    environ: Any = request if isinstance(request, Mapping) else getattr(request, "environ", None)
    if not isinstance(environ, dict) or "wsgi.input" not in environ:
        raise ConfigurationError(
            f"form() takes a WSGI request or its environment, not {type(request).__name__}; "
            "under ASGI it is `async with stream_form(request, storage)`"
        )
    # Django tells it of the request alone; Werkzeug leaves its request in the environment.
    parsed = getattr(environ.get("werkzeug.request"), "__dict__", {})
    if getattr(request, "_read_started", False) or "form" in parsed or "_cached_data" in parsed:
        raise already_read("by request.form or request.POST, or by what looks there for a CSRF token")
    return environ


def as_asgi(environ: Environ, caller: Caller) -> tuple[Scope, Receive]:
    """``environ``, whose body is read in the thread that ``caller`` waits in."""
    body = environ["wsgi.input"]
    length = environ.get("CONTENT_LENGTH") or ""
    # Without a length only a server that says so can be read to the end; another one would wait for ever.
    remaining: float = (
        content_length(length) if length else (float("inf") if environ.get("wsgi.input_terminated") else 0)
    )

    async def receive() -> Message:
        nonlocal remaining
        chunk = b""
        if remaining:
            chunk = await caller.do(body.read, int(min(_CHUNK, remaining)))
            remaining = remaining - len(chunk) if chunk else 0
        return {"type": "http.request", "body": chunk, "more_body": remaining > 0}

    scope: Scope = {"type": "http", "method": environ["REQUEST_METHOD"], "headers": request_headers(environ)}
    return scope, receive
