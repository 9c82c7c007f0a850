"""Requests to StorageFiles in either shell, so that a test holds for both."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

import httpx

from scalekit.storage import Storage, serve, wsgi

SHELLS = ("asgi", "wsgi")

Ask: TypeAlias = Callable[..., Awaitable[httpx.Response]]


@asynccontextmanager
async def asking(
    shell: str, storage: Storage, *, authorize: Callable[..., Any] | None = None, **options: Any
) -> AsyncGenerator[Ask, None]:
    """``await ask(path, method=, headers=)`` of one application. ``authorize`` gets the object alone."""
    check = None if authorize is None else lambda _, stored: authorize(stored)
    if shell == "asgi":
        app = serve.StorageFiles(storage, authorize=check, **options)
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

            async def ask(path: str, *, method: str = "GET", **given: Any) -> httpx.Response:
                return await client.request(method, path, **given)

            yield ask
        return
    files = storage.sync()
    plain = wsgi.StorageFiles(files, authorize=check, **options)

    async def ask_wsgi(path: str, *, method: str = "GET", **given: Any) -> httpx.Response:
        def by_the_book(environ: Any, start_response: Any) -> Any:
            # PEP 3333 has the bytes of the path one by one; httpx has decoded them.
            environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
            return plain(environ, start_response)

        def request() -> httpx.Response:
            with httpx.Client(transport=httpx.WSGITransport(by_the_book), base_url="http://test") as client:
                return client.request(method, path, **given)

        return await asyncio.to_thread(request)

    try:
        yield ask_wsgi
    finally:
        await asyncio.to_thread(files.close)


async def ask(
    shell: str,
    storage: Storage,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | None = None,
    **options: Any,
) -> httpx.Response:
    """The answer to one request."""
    async with asking(shell, storage, **options) as once:
        return await once(path, method=method, headers=headers)
