"""The session of a test client: made, changed and looked at without a route of the application for it.

::

    client = login(TestClient(app), "ada", cart=["tea"])     # one line, and ada is logged in
    client.post("/cart/cup")
    with session_of(client) as session:                      # what the application has made of it
        assert session["cart"] == ["tea", "cup"]

It goes through the application's own store, keys and options, which are found in the application, and the
cookie goes through the client's own jar: what a test sees is what a browser would. Clients that it knows:
``starlette.testclient.TestClient`` (FastAPI's too), ``httpx.Client`` and ``httpx.AsyncClient`` over an
application, werkzeug's ``Client``, and the ``test_client()`` of Flask. Django's test client has its own:
``client.session`` and ``client.force_login(user)``.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID

from scalekit._steps import Steps, run, run_async
from scalekit.errors import SessionError
from scalekit.sessions.asgi import AsyncSession
from scalekit.sessions.session import Session
from scalekit.testing._applications import find
from scalekit.testing._jars import jar_of

Client = TypeVar("Client")
T = TypeVar("T")


def login(client: Client, user_id: str | int | UUID, /, **values: Any) -> Client:
    """Give ``client`` a session in which ``user_id`` is logged in, and which has ``values``.

    What the client's session had before stays, as after a log-in through the application.

    Returns:
        ``client``, so that it fits around its making: ``client = login(TestClient(app), "ada")``.

    Raises:
        TypeError: no client that is known, or an asynchronous one (``await login_async(client, ...)``).
        LookupError: no sessions of scalekit in its application; see :func:`session_of`.
    """
    with session_of(client) as session:
        session.login(user_id)
        session.update(values)
    return client


async def login_async(client: Client, user_id: str | int | UUID, /, **values: Any) -> Client:
    """What :func:`login` does, on this event loop: for ``httpx.AsyncClient``."""
    async with session_of(client) as session:
        session.login(user_id)
        session.update(values)
    return client


def session_of(client: Any, *, app: Any = None, base_url: str | None = None) -> "ClientSession":
    """The session that the next request of ``client`` will have, to read and to change.

    ``with session_of(client) as session:``, or ``async with`` on the event loop of ``httpx.AsyncClient``.
    What the block changes is saved at its end, log-in and log-out too; a block that raises saves nothing.

    Args:
        client: see :mod:`scalekit.testing.clients`.
        app: the session middleware, or an application that has it; ``None`` (default) looks in the client's.
            Needed where a function of your own stands between.
        base_url: where the requests will go; ``None`` (default) is the client's own. A cookie may depend on
            it: under HTTPS it is called ``__Host-session``.

    Raises:
        TypeError: no client that is known.
        LookupError: no sessions of scalekit in the application.
        ConfigurationError: the client would not send the cookie there (a ``Secure`` one needs HTTPS).
        BackendError: the store failed.
        SessionError: the application ended the session while the block ran; nothing was saved.
    """
    return ClientSession(client, app=app, base_url=base_url)


class ClientSession:
    """What :func:`session_of` gives: the session, for the time of a block."""

    def __init__(self, client: Any, *, app: Any, base_url: str | None) -> None:
        self._client = client
        self._jar = jar_of(client, base_url)
        self._found = found = find(app if app is not None else self._jar.app)
        https = self._jar.url(found.cookie).startswith("https:")
        header = self._jar.header(found.cookie, found.legacy)
        token = found.core.token([(b"cookie", header)] if header else [], https=https)
        self._session = found.make(token, https=https)

    def __enter__(self) -> Session:
        if inspect.iscoroutinefunction(getattr(self._client, "get", None)):
            raise TypeError(f"{type(self._client).__name__} is asynchronous: use `async with`, `login_async`")
        self._drive(self._load)
        return self._session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._keep(self._drive(self._commit))

    async def __aenter__(self) -> AsyncSession:
        if not isinstance(self._session, AsyncSession):
            raise TypeError("a WSGI application has synchronous sessions: use `with`, `login`")
        await run_async(self._load())
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._keep(await run_async(self._commit()))

    def _load(self) -> Steps[None]:
        yield from self._found.core.load(self._session)
        self._session._ready()  # a store that is down is an error here, in the test's own line

    def _commit(self) -> Steps[bool]:
        stored = yield from self._found.core.commit(self._session)
        self._found.finish(self._session)
        return stored

    def _keep(self, stored: bool) -> None:
        self._session._sealed = True
        if not stored:
            raise SessionError("the session was ended while the block ran; what it changed was not saved")
        for line in self._session._set_cookies:
            self._jar.keep(self._found.cookie, line.decode("latin-1"))

    def _drive(self, steps: Callable[[], Steps[T]]) -> T:
        if not isinstance(self._session, AsyncSession):
            return run(steps())

        async def body() -> T:
            return await run_async(steps())

        portal = getattr(self._client, "portal", None)
        if portal is not None:  # Starlette's, inside of `with TestClient(app)`: the application's event loop
            answer: T = portal.call(body)
            return answer
        return _on_a_loop(body)


def _on_a_loop(body: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of ``body`` on an event loop of its own, wherever this is called."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(body())).result()
