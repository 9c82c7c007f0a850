"""Forms as clients send them, well-formed and not."""

from collections.abc import Iterable
from typing import Any

from scalekit.types import Message, Receive, Scope

BOUNDARY = "----formboundary7MA4YWxk"


def part(
    name: str,
    content: bytes | str,
    *,
    filename: str | None = None,
    content_type: str | None = None,
    extra: str = "",
) -> bytes:
    """One part, with its boundary."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"'
    if content_type is not None:
        head += f"\r\nContent-Type: {content_type}"
    content = content.encode() if isinstance(content, str) else content
    return f"{head}\r\n{extra}\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole body."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def request(
    body: Iterable[bytes] | bytes,
    *,
    content_type: str = f"multipart/form-data; boundary={BOUNDARY}",
    content_length: int | str | None = None,
    disconnect: bool = False,
    counted: list[int] | None = None,
) -> tuple[Scope, Receive]:
    """A raw ASGI request. ``disconnect``: at the end of ``body`` the client goes away, unfinished."""
    chunks = iter([body] if isinstance(body, bytes) else body)
    headers: list[tuple[bytes, bytes]] = [(b"content-type", content_type.encode("latin-1"))]
    if content_length is not None:
        headers.append((b"content-length", str(content_length).encode()))
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/", "headers": headers}

    async def receive() -> Message:
        for chunk in chunks:
            if counted is not None:
                counted.append(len(chunk))
            return {"type": "http.request", "body": chunk, "more_body": True}
        if disconnect:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    return scope, receive
