"""``StorageFiles`` for WSGI: the objects of a storage over HTTP, as :mod:`scalekit.storage.serve` answers."""

import os
from collections.abc import Callable
from functools import partial
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import TYPE_CHECKING, Literal

from scalekit._http import request_headers, to_wsgi
from scalekit._options import check_function
from scalekit.errors import ConfigurationError
from scalekit.storage._contract import Storage
from scalekit.storage._files import Answer, Files
from scalekit.storage._given import check_storage
from scalekit.storage._loop_thread import Caller
from scalekit.storage._values import Stored
from scalekit.storage.sync import SyncOpened, SyncStorage
from scalekit.types import Environ, WSGIBody

if TYPE_CHECKING:
    from scalekit.types import StartResponse

_BLOCK = 256 * 1024


class StorageFiles:
    """A WSGI application that answers GET and HEAD with objects.

    Mount it below a path, such as with Werkzeug's
    ``DispatcherMiddleware(app, {"/media": StorageFiles(files)})``.

    What it answers is what :class:`scalekit.storage.serve.StorageFiles` answers, and so are the arguments.
    Whole files of a :class:`~scalekit.storage.FileStorage` go through the server's ``wsgi.file_wrapper``, if
    it has one.

    Args:
        storage: any storage, or the :class:`~scalekit.storage.sync.SyncStorage` of one.
        authorize: a function of the WSGI environment and what is :class:`~scalekit.storage.Stored`. It runs
            in the thread of the request.

    Raises:
        ConfigurationError: ``authorize`` is a coroutine function or none at all, or ``refuse_with`` is
            neither 404 nor 403.
    """

    def __init__(
        self,
        storage: Storage | SyncStorage,
        *,
        cache_control: str = "no-cache",
        download: bool = False,
        redirect: bool = False,
        authorize: Callable[[Environ, Stored], bool] | None = None,
        refuse_with: Literal[403, 404] = 404,
    ) -> None:
        if not isinstance(storage, SyncStorage):
            check_storage(storage)
        if authorize is not None:
            check_function(authorize, option="authorize=", wanted="a function of environ and stored")
            if iscoroutinefunction(authorize):
                raise ConfigurationError(
                    "authorize= must be a plain function under WSGI, not a coroutine function"
                )
        self.storage = storage if isinstance(storage, SyncStorage) else storage.sync()
        self._authorize = authorize
        self._files = Files(
            self.storage.storage,
            cache_control=cache_control,
            download=download,
            redirect=redirect,
            private=authorize is not None,
            refuse_with=refuse_with,
        )

    def __call__(self, environ: Environ, start_response: "StartResponse") -> WSGIBody:
        answer = self.storage.call(partial(self._answer, environ))
        start_response(f"{answer.status.value} {answer.status.phrase}", to_wsgi(answer.headers))
        if answer.opened is None:
            return []
        opened, wrap = SyncOpened(self.storage, answer.opened), environ.get("wsgi.file_wrapper")
        # Some servers send the rest of a file whatever the range is.
        if wrap is None or answer.opened.fd is None or not answer.is_whole:
            return opened
        with opened:
            file = os.fdopen(os.dup(answer.opened.fd), "rb", buffering=0)
        body: WSGIBody = wrap(file, _BLOCK)
        return body

    async def _answer(self, environ: Environ, caller: Caller) -> Answer:
        allowed = None if self._authorize is None else partial(self._allowed, environ, caller)
        method = environ["REQUEST_METHOD"]
        return await self._files.answer(method, _key(environ), request_headers(environ), allowed)

    async def _allowed(self, environ: Environ, caller: Caller, stored: Stored) -> bool:
        assert self._authorize is not None
        answer: object = await caller.do(self._authorize, environ, stored)
        if isawaitable(answer):  # which would be true
            if iscoroutine(answer):
                answer.close()
            raise TypeError("authorize= gave an awaitable, which WSGI cannot wait for")
        return bool(answer)


def _key(environ: Environ) -> str:
    # What is no UTF-8 is no key either, nor what stands for it here.
    path = str(environ.get("PATH_INFO", "")).encode("latin-1").decode("utf-8", "surrogateescape")
    return path.removeprefix("/")
