"""``StorageFiles``: the objects of a storage over HTTP, for those that no web server or CDN serves.

Its twin for WSGI is :class:`scalekit.storage.wsgi.StorageFiles`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from typing import Literal

from anyio import move_on_after

from scalekit._options import check_function
from scalekit.storage._contract import Storage
from scalekit.storage._files import Files
from scalekit.storage._given import check_storage
from scalekit.storage._respond import path_below
from scalekit.storage._values import Opened, Stored
from scalekit.types import Receive, Scope, Send


class StorageFiles:
    """An ASGI application that answers GET and HEAD with objects.

    ``app.mount("/media", StorageFiles(storage))`` in Starlette or FastAPI.

    It understands one ``Range`` (206, 416; several are answered with the whole object) and every condition of
    RFC 9110 (304, 412). Browsers are told the object's ``filename``, to guess no type and to run nothing;
    types that could run something are offered for saving. It reads no faster than the client does, and stops
    when the client hangs up.

    Where the storage cannot be reached it answers 503, and logs why.

    Without ``authorize`` whoever can reach it can read every object whose key they know.

    Args:
        storage: any storage.
        cache_control: of the responses. The default asks every time whether the object changed. Where keys
            are never used again, as those of ``stream_form``, ``"max-age=31536000, immutable"`` saves that.
        download: offer every object for saving.
        redirect: send GET requests to the storage's signed address, which carries the file name, or to its
            ``base_url``, if that is on another host (``https://...``). What is to be saved and not shown goes
            to a signed address only. Where there is neither, the object is sent from here. A signed address
            is never kept longer than half of its time.
        authorize: tells whether the visitor may see the object: a function, or a coroutine function, of the
            ASGI scope and what is :class:`~scalekit.storage.Stored`. Responses are private to the visitor
            then.
        refuse_with: the status for a visitor who may not, 404 by default: as if there were no object. Or 403.

    Raises:
        ConfigurationError: ``authorize`` cannot be called, or ``refuse_with`` is something else.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        cache_control: str = "no-cache",
        download: bool = False,
        redirect: bool = False,
        authorize: Callable[[Scope, Stored], bool | Awaitable[bool]] | None = None,
        refuse_with: Literal[403, 404] = 404,
    ) -> None:
        check_storage(storage)
        if authorize is not None:
            check_function(authorize, option="authorize=", wanted="a function of scope and stored")
        self.storage = storage
        self._authorize = authorize
        self._files = Files(
            storage,
            cache_control=cache_control,
            download=download,
            redirect=redirect,
            private=authorize is not None,
            refuse_with=refuse_with,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"StorageFiles answers HTTP requests, not {scope['type']!r}")
        allowed = None if self._authorize is None else partial(self._allowed, scope)
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        answer = await self._files.answer(scope["method"], path_below(scope), headers, allowed)
        start = {"type": "http.response.start", "status": answer.status.value, "headers": answer.headers}
        if answer.opened is None:
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        async with answer.opened as opened:
            await send(start)
            if (
                opened.path is not None
                and answer.is_whole
                and self._files.keeps_names
                and _sends_files(scope)
            ):
                await send({"type": "http.response.pathsend", "path": opened.path})
            else:
                await _send(opened, receive, send)

    async def _allowed(self, scope: Scope, stored: Stored) -> bool:
        assert self._authorize is not None
        answer = self._authorize(scope, stored)
        return bool(await answer if isawaitable(answer) else answer)


def _sends_files(scope: Scope) -> bool:
    return "http.response.pathsend" in (scope.get("extensions") or {})


async def _send(opened: Opened, receive: Receive, send: Send) -> None:
    async for chunk in opened:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if await _hung_up(receive):
            return  # nobody reads the rest, so it need not be read from the storage either
    await send({"type": "http.response.body", "body": b""})


async def _hung_up(receive: Receive) -> bool:
    """Whether the client is gone, as far as the server knows without waiting for it."""
    kind = ""
    with move_on_after(0):
        kind = (await receive())["type"]
    return kind == "http.disconnect"
